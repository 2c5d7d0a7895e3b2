/** Short messages at the edge of the page, also read aloud. */

import { signal } from "@preact/signals";

export interface Notice {
  id: number;
  kind: "info" | "error";
  text: string;
}

const SECONDS = { info: 5, error: 15 };
let next = 0;

export const notices = signal<Notice[]>([]);

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

export function notify(kind: Notice["kind"], text: string): void {
  const id = (next += 1);
  notices.value = [...notices.value.filter((notice) => notice.text !== text), { id, kind, text }];
  setTimeout(() => dismiss(id), SECONDS[kind] * 1000);
}
