/** What the next job is made of: media and folders, and subtitles for them. */

import { computed, signal } from "@preact/signals";
import type { Entry, JobRequest, Shift, Where } from "../api/types";
import { stem } from "../text";

export interface Options {
  model: string;
  language: string;
  prompt: string;
  subtitlesBeside: boolean;
  shift: Shift;
  where: Where | null; // null: where the stack has jobs run
}

export const chosen = signal<Entry[]>([]);
/** Medium → subtitles, as the person set them; "" for none. What is not here is found by name. */
export const assigned = signal<Record<string, string>>({});

export const media = computed(() => chosen.value.filter((entry) => entry.kind !== "subtitles"));
export const subtitles = computed(() => chosen.value.filter((entry) => entry.kind === "subtitles"));

export function toggle(entry: Entry): void {
  if (chosen.value.some(({ path }) => path === entry.path)) drop(entry.path);
  else chosen.value = [...chosen.value, entry];
}

export function drop(path: string): void {
  chosen.value = chosen.value.filter((entry) => entry.path !== path);
}

export function clear(): void {
  chosen.value = [];
  assigned.value = {};
}

export function assign(medium: string, path: string): void {
  assigned.value = { ...assigned.value, [medium]: path };
}

/** The subtitles of a medium: those that were set, else those of its name. */
export function subtitlesOf(medium: Entry): string {
  const set = assigned.value[medium.path];
  const paths = subtitles.value.map(({ path }) => path);
  if (set !== undefined && (set === "" || paths.includes(set))) return set;
  return paths.find((path) => stem(path) === stem(medium.path)) ?? "";
}

export function request(options: Options): JobRequest {
  const pairs = media.value
    .filter(({ kind }) => kind === "media")
    .map((medium) => [medium.path, subtitlesOf(medium)] as const)
    .filter(([, path]) => path);
  const { start, end } = options.shift;
  return {
    paths: media.value.map(({ path }) => path),
    model: options.model || null,
    language: options.language || null,
    prompt: options.prompt.trim() || null,
    subtitles: Object.fromEntries(pairs),
    subtitles_beside: options.subtitlesBeside,
    shift: start || end ? { start, end } : null,
    where: options.where,
  };
}
