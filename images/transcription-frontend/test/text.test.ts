import { expect, it } from "vitest";
import { bytes, clock, parseClock, stem } from "../src/text";

it.each([
  [0, "0:00.0"],
  [59.96, "1:00.0"],
  [3723.45, "1:02:03.5"],
])("shows %d s", (seconds, text) => expect(clock(seconds)).toBe(text));

it.each([
  ["63.5", 63.5],
  ["1:03,5", 63.5],
  ["1:02:03", 3723],
  ["1:63", null],
  ["a", null],
  ["", null],
  ["1:2:3:4", null],
])("reads %s", (text, seconds) => expect(parseClock(text)).toBe(seconds));

it("reads what it shows", () => {
  for (const seconds of [0, 0.04, 59.99, 60, 3599.99, 3600, 86_399.5]) {
    expect(parseClock(clock(seconds, 2))).toBeCloseTo(seconds, 2);
  }
});

it("shows sizes", () => expect([999, 1000, 147_300_000].map(bytes)).toEqual(["999 B", "1.0 kB", "147 MB"]));
it("finds a file's name without its ending", () => expect(stem("a/b.c/talk.de.vtt")).toBe("talk.de"));
