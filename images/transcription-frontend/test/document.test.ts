import { describe, expect, it } from "vitest";
import type { Segment, Word } from "../src/api/types";
import * as edit from "../src/editor/document";

const words = (start: number, end: number, text: string): Word[] => {
  const parts = text.split(" ");
  const length = (end - start) / parts.length;
  return parts.map((word, index) => ({
    word,
    start: start + index * length,
    end: start + (index + 1) * length,
    probability: 0.9,
  }));
};
const segment = (start: number, end: number, text: string): Segment => ({
  start,
  end,
  text,
  words: words(start, end, text),
});
const THREE = [segment(0, 2, "Guten Abend"), segment(2, 6, "es regnet im Norden"), segment(7, 9, "elf Grad")];
const texts = (segments: readonly Segment[]): string[] => segments.map(({ text }) => text);

describe("setText", () => {
  it("drops the times of words that may be others", () => {
    expect(edit.setText(THREE, 0, " Guten   Morgen ")[0]).toEqual({ start: 0, end: 2, text: "Guten Morgen" });
  });
  it("keeps the words where the text is the same", () => {
    expect(edit.setText(THREE, 0, "Guten Abend")).toEqual(THREE);
  });
  it("removes a segment without text", () => {
    expect(texts(edit.setText(THREE, 1, "  "))).toEqual(["Guten Abend", "elf Grad"]);
  });
});

describe("setTimes", () => {
  it("keeps the order of segments", () => {
    expect(edit.setTimes(THREE, 1, { start: 8 }, 10)[1]).toMatchObject({ start: 7, end: 7.05 });
    expect(edit.setTimes(THREE, 1, { start: -1 }, 10)[1]).toMatchObject({ start: 0, end: 6 });
  });
  it("stays within the medium", () => {
    expect(edit.setTimes(THREE, 2, { end: 99 }, 10)[2]).toMatchObject({ start: 7, end: 10 });
  });
});

describe("split", () => {
  it("cuts where the word was heard", () => {
    expect(edit.split(THREE, 1, "es regnet im Norden", 9).slice(1, 3)).toEqual([
      { start: 2, end: 4, text: "es regnet" },
      { start: 4, end: 6, text: "im Norden" },
    ]);
  });
  it("cuts in proportion where the words are others", () => {
    const [, first, second] = edit.split(THREE, 1, "ab cd", 3);
    expect([first?.end, second?.start]).toEqual([4, 4]);
  });
  it("leaves a segment whole where a part would be empty", () => {
    expect(texts(edit.split(THREE, 0, "Guten Abend", 0))).toEqual(texts(THREE));
  });
});

it("joins two segments", () => {
  expect(edit.join(THREE, 1)[1]).toMatchObject({ start: 2, end: 9, text: "es regnet im Norden elf Grad" });
  expect(edit.join(THREE, 2)).toEqual(THREE);
});

it("finds what is spoken at a time", () => {
  expect([-1, 0, 1.9, 2, 6.5, 7, 99].map((time) => edit.indexAt(THREE, time))).toEqual([-1, 0, 0, 1, 1, 2, 2]);
});

it("puts between words what the text has there", () => {
  const shown = (text: string, heard: string): string =>
    edit
      .pieces({ start: 0, end: 1, text, words: words(0, 1, heard) })
      .map(({ before, word }) => before + word.word)
      .join("");
  expect(shown("im Norden-Osten, 20 Grad", "im Norden -Osten, 20 Grad")).toBe("im Norden-Osten, 20 Grad");
  expect(shown("ganz anders", "im Norden")).toBe("im Norden");
});

it("goes back and forth", () => {
  let history = edit.step(edit.step(edit.begun(1), 2), 3);
  history = edit.undo(edit.undo(edit.undo(history)));
  expect(history.present).toBe(1);
  expect(edit.redo(history).present).toBe(2);
  expect(edit.redo(edit.step(history, 9)).present).toBe(9);
});
