"""The lanes of the test suite: every test is in one, all run, and the last line sums them up."""

import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from testing import lanes, timeouts
from testing.lanes import LANES, Tally

PROJECT = Path(lanes.__file__).parents[1]
REPORT = """<testsuites><testsuite tests="10" failures="1" errors="0" skipped="2">
<testcase classname="tests.unit.test_y" name="a" time="1.2"/>
<testcase classname="tests.unit.config.test_x.TestA" name="a" time="1.0"/>
<testcase classname="tests.unit.config.test_x.TestB" name="a" time="2.0"/>
</testsuite></testsuites>"""


@pytest.fixture
def commands(monkeypatch):
    """Runs no pytest. What would have been run; those of the lane `process` fail."""
    done: list[list[str]] = []

    def record(command, check):
        done.append(command)
        return SimpleNamespace(returncode=int("tests/process" in command))

    monkeypatch.setattr(subprocess, "run", record)
    return done


class TestLanes:
    def test_every_folder_of_tests_is_a_lane_and_has_a_limit_of_time(self):
        folders = {path.relative_to(PROJECT).parts[1] for path in (PROJECT / "tests").glob("*/**/test_*.py")}
        assert {f"tests/{folder}" for folder in folders} <= {lane.folder for lane in LANES.values()}
        assert all(timeouts.limit(f"{lane.folder}/test_x.py") for lane in LANES.values())

    def test_nothing_is_set_up_for_unit_tests(self, commands):
        lanes.main(["unit"])
        (command,) = commands
        assert not [word for word in command if word.startswith("--set-up")]

    def test_programs_are_installed_once_before_a_parallel_run(self, commands):
        lanes.main(["process"])
        (command,) = commands  # the set-up failed, so that nothing ran
        assert "--set-up-only" in command
        assert "-n" not in command

    def test_all_run_although_one_fails(self, commands, capsys):
        assert lanes.main([]) == 1
        folders = {lane.folder for lane in LANES.values()}
        assert folders - {word for command in commands for word in command} == {"tests/chaos"}
        assert "failed lanes: process" in capsys.readouterr().out

    def test_arguments_reach_every_chosen_lane(self, commands):
        lanes.main(["unit", "live", "-k", "redis"])
        assert all(command[4:6] == ["-k", "redis"] for command in commands)

    def test_a_path_is_pytests(self, commands):
        assert lanes.main(["tests/unit/config", "-x"]) == 0
        (command,) = commands
        assert command[-2:] == ["tests/unit/config", "-x"]


class TestTally:
    def test_ends_as_pytest_does(self, tmp_path):
        report, tally = tmp_path / "report.xml", Tally()
        report.write_text(REPORT)
        tally.add("unit", 1, report, 61.0)
        tally.add("live", 0, tmp_path / "none.xml", 10.0)
        assert tally.counts == Counter(passed=7, failed=1, skipped=2, errors=0)
        assert tally.failed == ["unit"]
        assert tally.lines()[0] == "slowest files: tests/unit/config/test_x 3 s, tests/unit/test_y 1 s"
        *_, last = tally.lines()
        assert last.strip("= ") == "1 failed, 7 passed, 2 skipped in 71.00s (0:01:11)"
