"""A client of Prometheus' API. The browser never asks it itself: anybody who reaches it can read all figures."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from contracts.health import WatchedService
from contracts.status import Reason
from entrypoints.health.asker import Asker
from entrypoints.health.failure import FailureError


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The latest figure of a series."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Figures of a series at equal distances; None where there is none."""

    labels: Mapping[str, str]
    values: list[float | None]


async def latest(prometheus: WatchedService, expression: str, asker: Asker) -> list[Sample]:
    """The figures of an expression now; raises FailureError."""
    found = await _ask(prometheus, "/api/v1/query", {"query": expression}, asker)
    try:
        return [
            Sample(name=str(one["metric"].get("__name__", "")), labels=one["metric"], value=float(one["value"][1]))
            for one in found
        ]
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _strange(prometheus) from None


async def stretch(
    prometheus: WatchedService, expression: str, start: int, step: int, points: int, asker: Asker
) -> list[Stretch]:
    """The figures of an expression from start on, so many points, step seconds apart; raises FailureError."""
    times = {"start": start, "end": start + step * (points - 1), "step": step}
    found = await _ask(prometheus, "/api/v1/query_range", {"query": expression, **times}, asker)
    try:
        return [Stretch(labels=one["metric"], values=_values(one["values"], start, step, points)) for one in found]
    except (LookupError, TypeError, ValueError):
        raise _strange(prometheus) from None


def _values(pairs: list[tuple[float, str]], start: int, step: int, points: int) -> list[float | None]:
    values: list[float | None] = [None] * points
    for time, text in pairs:
        value = float(text)
        if math.isfinite(value):
            values[round((time - start) / step)] = value
    return values


async def _ask(prometheus: WatchedService, path: str, query: Mapping[str, Any], asker: Asker) -> list[dict[str, Any]]:
    text = await asker.in_time(asker.get(prometheus, f"{path}?{urlencode(query)}"))
    try:
        found = json.loads(text)["data"]["result"]
    except (LookupError, TypeError, ValueError):
        found = None
    if not isinstance(found, list):
        raise _strange(prometheus)
    return found


def _strange(prometheus: WatchedService) -> FailureError:
    return FailureError(Reason.WRONG_ANSWER, f"{prometheus.host}:{prometheus.port} does not answer as Prometheus does")
