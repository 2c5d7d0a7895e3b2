/** Edits of a transcript: pure functions from segments to segments, and their history. */

import type { Segment, Word } from "../api/types";

export const SHORTEST = 0.05; // seconds of a segment

const round = (seconds: number): number => Math.round(seconds * 1000) / 1000;
const tidy = (text: string): string => text.replace(/\s+/g, " ").trim();

function replaced(segments: readonly Segment[], index: number, ...by: Segment[]): Segment[] {
  return [...segments.slice(0, index), ...by, ...segments.slice(index + 1)];
}

function at(segments: readonly Segment[], index: number): Segment {
  const segment = segments[index];
  if (!segment) throw new RangeError(`There is no segment ${index}.`);
  return segment;
}

/** Other words; their times come from the service. An empty text removes the segment. */
export function setText(segments: readonly Segment[], index: number, text: string): Segment[] {
  const { start, end, text: before } = at(segments, index);
  const after = tidy(text);
  if (after === before) return [...segments];
  return after ? replaced(segments, index, { start, end, text: after }) : replaced(segments, index);
}

/** Other times: at least SHORTEST long, within the medium, and in the same order with the segments around. */
export function setTimes(
  segments: readonly Segment[],
  index: number,
  times: { start?: number; end?: number },
  duration: number,
): Segment[] {
  const segment = at(segments, index);
  const earliest = segments[index - 1]?.start ?? 0;
  const latest = Math.min(segments[index + 1]?.start ?? Infinity, duration - SHORTEST);
  const start = Math.max(earliest, Math.min(times.start ?? segment.start, latest));
  const end = Math.max(start + SHORTEST, Math.min(times.end ?? segment.end, duration));
  return replaced(segments, index, { ...segment, start: round(start), end: round(end) });
}

/** Two segments instead of one, before and after `position` in its text. Unchanged where one would be empty. */
export function split(segments: readonly Segment[], index: number, text: string, position: number): Segment[] {
  const segment = at(segments, index);
  const [before, after] = [tidy(text.slice(0, position)), tidy(text.slice(position))];
  if (!before || !after) return setText(segments, index, text);
  const time = splitTime(segment, before, after);
  return replaced(
    segments,
    index,
    { start: segment.start, end: time, text: before },
    { start: time, end: segment.end, text: after },
  );
}

/** Where the second part begins: at its first word as it was heard, else in proportion to the length of the text. */
function splitTime(segment: Segment, before: string, after: string): number {
  const words: Word[] = segment.words ?? [];
  const [countBefore, countAfter] = [before.split(" ").length, after.split(" ").length];
  const first = words[countBefore];
  if (first && words.length === countBefore + countAfter) {
    return round(Math.min(Math.max(first.start, segment.start), segment.end));
  }
  const share = before.length / (before.length + after.length);
  return round(segment.start + share * (segment.end - segment.start));
}

/** One segment instead of this one and the next. */
export function join(segments: readonly Segment[], index: number): Segment[] {
  const next = segments[index + 1];
  if (!next) return [...segments];
  const { start, end, text, words } = at(segments, index);
  const all = words && next.words ? { words: [...words, ...next.words] } : {};
  const joined = { start, end: Math.max(end, next.end), text: tidy(`${text} ${next.text}`), ...all };
  return [...segments.slice(0, index), joined, ...segments.slice(index + 2)];
}

export function remove(segments: readonly Segment[], index: number): Segment[] {
  at(segments, index);
  return replaced(segments, index);
}

/** The last segment that has begun at `time`; -1 before the first. Segments are in order of their start. */
export function indexAt(spans: readonly { start: number }[], time: number): number {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((spans[middle]?.start ?? Infinity) <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** A text in pieces: each word, and what stands before it. Words that the text lacks, or has elsewhere, get a space. */
export function pieces({ text, words = [] }: Segment): { before: string; word: Word }[] {
  let position = 0;
  return words.map((word, index) => {
    const found = text.indexOf(word.word.trim(), position);
    const before = found < 0 ? "" : text.slice(position, found);
    if (found < 0 || before.trim()) return { before: index ? " " : "", word };
    position = found + word.word.trim().length;
    return { before, word };
  });
}

/** A value with what it was before, and what was undone. */
export interface History<T> {
  past: readonly T[];
  present: T;
  future: readonly T[];
}

const KEPT = 200; // steps back

export const begun = <T>(present: T): History<T> => ({ past: [], present, future: [] });

export const step = <T>(history: History<T>, present: T): History<T> => ({
  past: [...history.past, history.present].slice(-KEPT),
  present,
  future: [],
});

export function undo<T>({ past, present, future }: History<T>): History<T> {
  const before = past[past.length - 1];
  if (before === undefined) return { past, present, future };
  return { past: past.slice(0, -1), present: before, future: [present, ...future] };
}

export function redo<T>({ past, present, future }: History<T>): History<T> {
  const [after, ...rest] = future;
  if (after === undefined) return { past, present, future };
  return { past: [...past, present], present: after, future: rest };
}
