"""How long the page's answers are kept."""

import asyncio
from typing import Any

from contracts.health import HealthSettings, Kind, WatchedService
from contracts.status import Reason
from entrypoints.health.failure import FailureError
from entrypoints.health.monitor import Monitor
from entrypoints.health.page import kept
from entrypoints.health.page.snapshot import Board

PROMETHEUS = WatchedService(name="prometheus", kind=Kind.PROMETHEUS, host="prometheus", port=9090)


class Asker:
    """Stands for a Prometheus that answers, or does not."""

    def __init__(self) -> None:
        self.well = False

    async def get(self, service: WatchedService, path: str) -> str:
        if not self.well:
            raise FailureError(Reason.TIMEOUT, "no answer within 2 s")
        return '{"data": {"result": []}}'

    async def in_time(self, question):
        return await question


def test_charts_that_prometheus_could_not_give_are_asked_for_again_soon(monkeypatch):
    asker, http = Asker(), None
    settings = HealthSettings(stack="dev", services=(PROMETHEUS,))
    monitor: Any = Monitor(settings, http)  # type: ignore[arg-type]
    monkeypatch.setattr(monitor, "asker", lambda _: asker)
    monkeypatch.setattr(kept, "FAILURE_SECONDS", 0.0)

    async def ask_twice() -> list[bool]:
        board = Board(monitor, settings)
        first: Any = await board.charts("week")
        asker.well = True
        second: Any = await board.charts("week")
        return [first.failure is None, second.failure is None]

    assert asyncio.run(ask_twice()) == [False, True]
