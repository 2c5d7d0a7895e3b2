/** Who is signed in, and which stack this is. */

import { signal } from "@preact/signals";
import { ApiError, getSession, onSignedOut, signIn as enter, signOut as leave } from "../api/client";
import type { Session } from "../api/types";

export type Access =
  | { state: "asking" }
  | { state: "in"; session: Session }
  | { state: "out" }
  | { state: "unreachable"; message: string };

export const access = signal<Access>({ state: "asking" });

onSignedOut.call = () => {
  access.value = { state: "out" };
};

export async function look(): Promise<void> {
  try {
    access.value = { state: "in", session: await getSession() };
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) access.value = { state: "out" };
    else access.value = { state: "unreachable", message: error instanceof Error ? error.message : String(error) };
  }
}

/** Throws ApiError where the token is wrong. */
export async function signIn(token: string): Promise<void> {
  await enter(token.trim());
  await look();
}

export async function signOut(): Promise<void> {
  await leave();
  access.value = { state: "out" };
}

/** A token in the address (`#token=…`) signs in, and leaves the address and the history. */
export async function begin(): Promise<void> {
  const token = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (token) {
    history.replaceState(null, "", location.pathname + location.search);
    try {
      await enter(decodeURIComponent(token));
    } catch {
      // The form asks for another.
    }
  }
  await look();
}
