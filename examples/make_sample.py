"""Draws the sample in `data`: 24 clips of three invented signs, each a puppet with coloured joints.

No person was filmed, and nothing was taken from a data set. `python make_sample.py` draws the same clips again; it
needs what every Ray node has.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import av
import cv2
import numpy as np

from signs import COLOURS, DATA, SIZE

CLIPS, FRAMES, RATE = 8, 16, 8  # clips of each sign; frames of a clip; frames in a second
TEST_CLIPS = 2  # of each sign
Point = tuple[float, float]


def hands(sign: str, phase: float) -> tuple[Point, Point]:
    """Where the left and the right hand are, at a phase from 0 to 1. The body is one unit wide."""
    turn = 2 * math.pi * phase
    if sign == "hello":  # the right hand waves beside the head
        return (-0.35, 0.9), (0.5 + 0.2 * math.sin(2 * turn), -0.35)
    if sign == "circle":  # both hands draw a circle before the body
        aside, height = 0.3 - 0.2 * math.cos(turn), 0.5 + 0.25 * math.sin(turn)
        return (-aside, height), (aside, height)
    return (-0.35, 0.9), (0.05 + 0.35 * phase, 0.1 + 0.5 * phase)  # thanks: from the chin forward


def puppet(sign: str, phase: float, rng: np.random.Generator) -> list[Point]:
    """The joints, in the order of `COLOURS`."""
    left, right = hands(sign, phase)
    shoulders = (-0.4, 0.2), (0.4, 0.2)
    elbows = [
        ((s[0] + h[0]) / 2 + side, (s[1] + h[1]) / 2 + 0.12)
        for s, h, side in zip(shoulders, (left, right), (-0.12, 0.12), strict=True)
    ]
    joints = [(0.0, -0.2), *shoulders, *elbows, left, right]
    return [(x + dx, y + dy) for (x, y), (dx, dy) in zip(joints, rng.normal(0, 0.02, (len(joints), 2)), strict=True)]


def draw(path: Path, sign: str, rng: np.random.Generator) -> None:
    """One clip, at a pace, a size and a place of its own."""
    scale = rng.uniform(34, 42)
    place = rng.uniform(-6, 6, 2) + np.array([SIZE / 2, SIZE * 0.4])
    start = rng.uniform(0, 0.15)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=RATE, options={"crf": "28"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(FRAMES):
            image = np.zeros((SIZE, SIZE, 3), np.uint8)
            for point, colour in zip(puppet(sign, min(start + number / FRAMES, 1), rng), COLOURS, strict=True):
                x, y = (int(value) for value in scale * np.array(point) + place)
                cv2.circle(image, (x, y), 5, colour, -1)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        film.mux(stream.encode(None))


def main() -> None:
    """Draws the clips and their table."""
    DATA.mkdir(exist_ok=True)
    rows = []
    for sign in ("hello", "circle", "thanks"):
        for number in range(CLIPS):
            clip = f"{sign}-{number}.mp4"
            draw(DATA / clip, sign, np.random.default_rng([number, *map(ord, sign)]))
            rows.append((clip, sign, "test" if number >= CLIPS - TEST_CLIPS else "train"))
    with (DATA / "clips.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("clip", "sign", "split"), *rows])


if __name__ == "__main__":
    main()
