"""The table of charts, and what the browser gets of Prometheus' answers."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from contracts.health import Kind, WatchedService
from entrypoints.health.failure import FailureError
from entrypoints.health.page import charts
from entrypoints.health.page.charts import CHARTS, MOST_SERIES, RANGES, ask_charts, charts_with
from entrypoints.health.page.prometheus import latest

PROMETHEUS = WatchedService(name="prometheus", kind=Kind.PROMETHEUS, host="prometheus", port=9090)
EXPORTER = WatchedService(name="exporter", kind=Kind.EXPORTER, host="exporter", port=8080)
HOUR = RANGES["hour"]


class Asker:
    """Answers each question with the same result."""

    def __init__(self, result: Any) -> None:
        self.answer = json.dumps({"status": "success", "data": {"result": result}})
        self.asked: list[str] = []

    async def get(self, service: WatchedService, path: str) -> str:
        self.asked.append(path)
        return self.answer

    async def in_time(self, question):
        return await question


def series(start: int, *values: float | str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": [[start + 30 * at, str(value)] for at, value in enumerate(values)]}


def asked(result: Any, **chosen: Any) -> dict[str, Any]:
    found: dict[str, Any] = asyncio.run(ask_charts(chosen or {"disk": CHARTS["disk"]}, HOUR, PROMETHEUS, Asker(result)))  # type: ignore[arg-type]
    return found


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> int:
    """The first point of the last hour."""
    monkeypatch.setattr("time.time", lambda: 1_800_000_017.4)
    return 1_800_000_000 - 3600


class TestTable:
    def test_units_are_those_that_the_browser_knows(self):
        script = (Path(charts.__file__).parent / "assets" / "charts.js").read_text()
        known = script.split("const UNITS = {")[1].split("};")[0]
        assert {chart.unit for chart in CHARTS.values()} <= set(re.findall(r"^\s+(\w+):", known, re.MULTILINE))

    def test_ranges_are_bounded_in_their_points(self):
        spans = {name: one.step * (one.points - 1) for name, one in RANGES.items()}
        assert spans == {"hour": 3600, "day": 86400, "week": 604800}
        assert {one.points for one in RANGES.values()} == {121}

    def test_without_exporter_nothing_of_it_is_asked(self):
        left = charts_with(None)
        assert set(left) < set(charts_with(EXPORTER))
        asker = Asker([])
        asyncio.run(ask_charts(left, HOUR, PROMETHEUS, asker))  # type: ignore[arg-type]
        assert asker.asked
        assert not [
            path for path in asker.asked if "DCGM" in path or "container_" in path or "node_cpu_seconds" in path
        ]

    def test_each_question_has_its_window(self):
        asker = Asker([])
        asyncio.run(ask_charts(CHARTS, RANGES["week"], PROMETHEUS, asker))  # type: ignore[arg-type]
        assert not [path for path in asker.asked if "window" in path]
        assert any("5040s" in path for path in asker.asked)


class TestAnswer:
    def test_gaps_and_what_is_no_number_stay_empty(self, noon):
        found = asked([series(noon + 60, 1, "NaN", "+Inf", 2.00000001, host="gpu1", disk="scratch")])
        values = found["charts"]["disk"]["series"][0]["values"]
        assert values[:7] == [None, None, 1, None, None, 2, None]
        assert len(values) == found["points"] == 121
        assert (found["start"], found["step"]) == (noon, 30)

    def test_lines_are_named_by_their_labels(self, noon):
        (one,) = asked([series(noon, 1, host="gpu1", disk="scratch", other="x")])["charts"]["disk"]["series"]
        assert one["name"] == "gpu1 scratch"

    def test_a_label_that_lacks_is_left_out(self, noon):
        (one,) = asked([series(noon, 1, disk="scratch")])["charts"]["disk"]["series"]
        assert one["name"] == "scratch"

    def test_only_the_highest_lines_are_sent(self, noon):
        found = asked([series(noon, number, disk=f"d{number:02}") for number in range(MOST_SERIES + 3)])
        chart = found["charts"]["disk"]
        assert [one["name"] for one in chart["series"]] == [f"d{number:02}" for number in range(3, MOST_SERIES + 3)]
        assert chart["left_out"] == 3

    def test_a_line_without_figures_is_no_line(self, noon):
        assert asked([series(noon, "NaN", disk="scratch")])["charts"]["disk"]["series"] == []

    @pytest.mark.parametrize("answer", [[{}], [{"metric": {}, "values": [["x", "y"]]}], {}, [[]]], ids=str)
    def test_what_is_not_of_prometheus_is_refused(self, answer):
        with pytest.raises(FailureError, match="does not answer as Prometheus does"):
            asked(answer)

    def test_figures_of_now(self):
        answer = [{"metric": {"__name__": "up", "job": "ray"}, "value": [1, "0.5"]}]
        (one,) = asyncio.run(latest(PROMETHEUS, "up", Asker(answer)))  # type: ignore[arg-type]
        assert (one.name, one.labels["job"], one.value) == ("up", "ray", 0.5)
