"""The chart of usage: GPU hours of each day as stacked bars, a colour for each of the users who used most."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.queue import UsageRow

COLOURS = 8  # of the pages' style
WIDTH, HEIGHT = 900.0, 160.0
OTHERS = "others"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A user's part of a day's bar, in the units of the drawing."""

    colour: int
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn, and the same in words."""

    unit: str  # GPU hours, or CPU hours where no GPU was used
    names: tuple[str, ...]  # of colours 1, 2, …
    bars: tuple[Bar, ...]
    top: float  # the value at the upper edge
    labels: tuple[tuple[float, str], ...]  # where a day stands, and its date
    width: float = WIDTH
    height: float = HEIGHT


def chart_of(days: Sequence[tuple[float, Sequence[UsageRow]]]) -> Chart:
    """The chart of days: when each begins, and what users used in it."""
    on_gpus = any(row.gpu_hours for _, rows in days for row in rows)
    unit = "GPU hours" if on_gpus else "CPU hours"
    used = [(begin, {row.name: row.gpu_hours if on_gpus else row.cpu_hours for row in rows}) for begin, rows in days]
    totals: dict[str, float] = {}
    for _, hours in used:
        for name, value in hours.items():
            totals[name] = totals.get(name, 0.0) + value
    ranked = [name for name in sorted(totals, key=lambda name: (-totals[name], name)) if totals[name] > 0]
    names = tuple(ranked) if len(ranked) <= COLOURS else (*ranked[: COLOURS - 1], OTHERS)
    top = _round_up(max((sum(hours.values()) for _, hours in used), default=0.0))
    step = WIDTH / max(1, len(used))
    bars = []
    for index, (begin, hours) in enumerate(used):
        parts = dict.fromkeys(names, 0.0)
        for name, value in hours.items():
            if value > 0:
                parts[name if name in parts else OTHERS] += value
        y = HEIGHT
        for colour, (name, value) in enumerate(parts.items(), 1):
            if value:
                height = value / top * HEIGHT
                y -= height
                title = f"{_date(begin)}, {name}: {value:.1f} {unit}"
                x, width = index * step + step * 0.1, step * 0.8
                bars.append(Bar(colour=colour, x=x, y=y, width=width, height=height, title=title))
    labels = tuple((index * step, _date(begin)) for index, (begin, _) in enumerate(used) if index % 7 == 0)
    return Chart(unit=unit, names=names, bars=tuple(bars), top=top, labels=labels)


def _round_up(value: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= value)


def _date(begin: float) -> str:
    return time.strftime("%d %b", time.gmtime(begin))
