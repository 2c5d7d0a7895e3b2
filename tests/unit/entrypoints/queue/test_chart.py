"""The chart of usage."""

import pytest

from contracts.queue import UsageRow
from entrypoints.queue.chart import COLOURS, HEIGHT, OTHERS, WIDTH, chart_of


def row(name: str, gpu_hours: float, cpu_hours: float = 0.0) -> UsageRow:
    return UsageRow(
        name=name, jobs=1, gpu_hours=gpu_hours, cpu_hours=cpu_hours, waited_hours=0.0, succeeded=1, failed=0
    )


class TestBars:
    def test_of_a_day_stand_on_each_other_within_the_drawing(self):
        chart = chart_of([(0.0, [row("ana", 3.0), row("bob", 1.0)]), (86400.0, [row("bob", 2.0)])])
        assert (chart.names, chart.unit, chart.top) == (("ana", "bob"), "GPU hours", 5.0)
        first, second, third = chart.bars
        assert second.y + second.height == pytest.approx(first.y)
        assert first.y + first.height == third.y + third.height == HEIGHT
        assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH and bar.y >= 0 for bar in chart.bars)
        assert third.title == "02 Jan, bob: 2.0 GPU hours"

    def test_users_beyond_the_colours_are_one(self):
        chart = chart_of([(0.0, [row(f"user{number}", 20.0 - number) for number in range(12)])])
        assert len(chart.names) == COLOURS
        assert chart.names[-1] == OTHERS
        assert sum(bar.height for bar in chart.bars) * chart.top / HEIGHT == pytest.approx(sum(range(9, 21)))

    def test_without_gpus_they_are_cpu_hours(self):
        assert chart_of([(0.0, [row("ana", 0.0, 5.0)])]).unit == "CPU hours"

    def test_nothing_used_is_no_bar(self):
        assert chart_of([(0.0, []), (86400.0, [row("ana", 0.0)])]).bars == ()
