/** Numbers and names as people read them. */

import type { State } from "./api/types";

/** `1:02:03.4`, or `2:03.4` below an hour; `digits` of a second. */
export function clock(seconds: number, digits = 1): string {
  const scale = 10 ** digits;
  const units = Math.max(0, Math.round(seconds * scale));
  const whole = Math.floor(units / scale);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const fraction = digits ? `.${String(units % scale).padStart(digits, "0")}` : "";
  const tail = `${String(rest).padStart(2, "0")}${fraction}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** Seconds of `1:02:03.4`, `2:03,4` or `63.4`; null for what is no time. */
export function parseClock(text: string): number | null {
  const parts = text.trim().replace(",", ".").split(":");
  if (parts.length > 3 || !parts.every((part, index) => pattern(index, parts.length).test(part))) return null;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

function pattern(index: number, count: number): RegExp {
  const last = index === count - 1;
  if (index === 0) return last ? /^\d+(\.\d+)?$/ : /^\d+$/;
  return last ? /^[0-5]?\d(\.\d+)?$/ : /^[0-5]?\d$/;
}

export function bytes(size: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let value = size;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit] ?? ""}`;
}

export const percent = (share: number): string => `${Math.floor(share * 100)} %`;
export const fileName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
export const stem = (path: string): string => fileName(path).replace(/\.[^.]*$/, "");

/** `3 files`, `1 file`. */
export const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
export const moment = (iso: string): string => MOMENT.format(new Date(iso));

export const STATES: Record<State, string> = {
  waiting: "Waiting",
  running: "Running",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

const LANGUAGES = new Intl.DisplayNames(["en"], { type: "language" });
export const languageName = (code: string): string => LANGUAGES.of(code) ?? code;

export const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
