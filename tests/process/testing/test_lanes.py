"""What failed beside other tests runs once more, alone. With real tests, one of which fails as often as a file says."""

import pytest

from testing import lanes
from testing.lanes import FEW, LANES, Lane

TEST = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range(COUNT))
def test_by_chance(number):
    file = Path(__file__).with_name(f"{number}")
    failed = int(file.read_text()) if file.exists() else 0
    file.write_text(str(failed + 1))
    assert failed >= FAILURES

def test_fine():
    pass
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs a lane in which that many tests fail so often. The exit code and the last lines."""

    def run(count: int, *, failures: int, again: bool = True) -> tuple[int, list[str]]:
        (tmp_path / "test_x.py").write_text(TEST.replace("COUNT", str(count)).replace("FAILURES", str(failures)))
        monkeypatch.setitem(LANES, "own", Lane(folder=str(tmp_path), set_up=False, again=again))
        code = lanes.run(["own"], ["-q", f"--rootdir={tmp_path}"])
        return code, capfd.readouterr().out.splitlines()[-2:]

    return run


def test_one_that_passes_alone_is_no_failure_and_is_named(run):
    code, (flaky, last) = run(1, failures=1)
    assert code == 0
    assert flaky.startswith("flaky, passed when run again alone: ")
    assert flaky.endswith("test_x::test_by_chance[0]")
    assert last.strip("= ").startswith("2 passed, 1 rerun in ")


def test_one_that_fails_twice_is_a_failure(run):
    code, (failed, last) = run(1, failures=2)
    assert (code, failed) == (1, "failed lanes: own")
    assert last.strip("= ").startswith("1 failed, 1 passed in ")


def test_one_that_was_not_run_again_is_a_failure(run, monkeypatch):
    """As where pytest could not note which failed."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-o cache_dir=/dev/null/none")
    code, (failed, last) = run(1, failures=1)
    assert (code, failed) == (1, "failed lanes: own")
    assert last.strip("= ").startswith("1 failed, 1 passed in ")


def test_many_are_a_failure_at_once(run):
    code, (failed, last) = run(FEW + 1, failures=1)
    assert (code, failed) == (1, "failed lanes: own")
    assert last.strip("= ").startswith(f"{FEW + 1} failed, 1 passed in ")


def test_a_lane_without_it_runs_once(run):
    assert run(1, failures=1, again=False)[0] == 1
