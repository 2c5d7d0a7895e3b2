"""How long the page's answers are kept."""

import asyncio
from typing import Any

from contracts.health import HealthSettings, Kind, WatchedService
from contracts.status import Reason
from entrypoints.health.failure import FailureError
from entrypoints.health.monitor import Monitor
from entrypoints.health.page import kept
from entrypoints.health.page.faults import FaultLog
from entrypoints.health.page.kept import Kept
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


def test_a_fault_that_several_readers_meet_is_logged_once_with_the_place_where_it_was_raised():
    said: list[str] = []
    log = FaultLog(lambda _, trace: said.append(trace))

    async def surprise() -> None:
        await asyncio.sleep(0)
        raise RuntimeError("surprise")

    async def read(question: Kept[None]) -> None:
        try:
            await question.get()
        except RuntimeError as error:
            log.tell("jobs", error)

    async def readers() -> None:
        question = Kept(surprise, 1.0)
        await asyncio.gather(*(read(question) for _ in range(3)))

    asyncio.run(readers())
    (trace,) = said
    assert "in surprise" in trace
