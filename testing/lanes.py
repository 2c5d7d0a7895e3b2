"""The lanes of the test suite, and one summary of them all: ``python -m testing.lanes [LANE...] [options of pytest]``.

A lane is a folder of tests that need the same of a machine. Those that share no server, port or Docker run in parallel.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

SLOWEST = 25  # tests to name at the end of a lane
SLOWEST_FILES = 8  # to name at the end of all
FAILED, NO_TESTS = 1, 5  # pytest's exit codes where tests failed, and where none was chosen
FEW = 3  # failures that chance explains; more are a defect
# File after file, the longest first (tests/process/conftest.py); xdist alone begins files of few tests last.
PARALLEL = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
# Three deployments at a time, the longest group of tests first (testing/live/groups.py).
GROUPS = ("-n", "3", "--dist", "loadscope", "--no-loadscope-reorder")
KINDS = {"failures": "failed", "errors": "errors", "skipped": "skipped"}  # of JUnit's → pytest's word


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Tests that run in one pytest."""

    folder: str
    options: Sequence[str] = ()
    set_up: bool = True  # whether programs and Docker may be installed for it
    unasked: bool = True  # whether it runs where no lane is named
    again: bool = False  # whether a few that failed beside others run once more, alone: docs/decisions/0054-rerun.md

    def runs(self, arguments: Sequence[str], report: Path) -> list[list[str]]:
        """The command lines of pytest, one after the other."""
        command = [sys.executable, "-m", "pytest", self.folder, *arguments]
        run = [*command, f"--durations={SLOWEST}", f"--junitxml={report}", *self.options]
        if not self.set_up:
            return [run]
        # The processes of a parallel run would all install the same.
        return [[*command, "--set-up-only", "-q"], run] if self.options else [[*run, "--set-up"]]

    def rerun(self, arguments: Sequence[str], report: Path) -> list[str]:
        """The command line of pytest for the tests that failed, one after the other."""
        chosen = ("--last-failed", "--last-failed-no-failures=none", f"--junitxml={report}")
        set_up = ["--set-up"] if self.set_up else []
        return [sys.executable, "-m", "pytest", self.folder, *arguments, *chosen, *set_up]


LANES = {
    "unit": Lane(folder="tests/unit", options=("-n", "auto"), set_up=False),
    "process": Lane(folder="tests/process", options=PARALLEL, again=True),
    "cluster": Lane(folder="tests/cluster"),  # builds the small images that others find
    "images": Lane(folder="tests/images"),
    "live": Lane(folder="tests/live", options=GROUPS, again=True),
    # A longer form of what tests/live/test_queue.py does.
    "chaos": Lane(folder="tests/chaos", unasked=False),
}


@dataclass(kw_only=True)
class Tally:
    """The results of the lanes."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    flaky: list[str] = field(default_factory=list)  # tests that failed, and passed when they ran alone
    files: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # file of tests → seconds

    def add(self, name: str, code: int, report: Path, seconds: float, again: Path | None = None) -> None:
        """Counts one lane. `again`: the report of its failures, which all passed when they ran alone."""
        self.seconds[name] = seconds
        if code not in (0, NO_TESTS):
            self.failed.append(name)
        if not report.exists():
            return
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            found = Counter({word: int(suite.get(kind, 0)) for kind, word in KINDS.items()})
            if again:
                found = Counter(skipped=found["skipped"], rerun=found["failed"] + found["errors"])
            self.counts.update(found)
            self.counts["passed"] += int(suite.get("tests", 0)) - found.total() + found["rerun"]
            for case in suite.iter("testcase"):
                self.files[_file_of(case.get("classname", ""))] += float(case.get("time", 0))
        if again:
            cases = ElementTree.parse(again).getroot().iter("testcase")
            self.flaky += [f"{case.get('classname')}::{case.get('name')}" for case in cases]

    def lines(self) -> list[str]:
        """The slowest files, seconds of each lane, then a line as pytest ends with."""
        total = sum(self.seconds.values())
        lanes = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        counts = [
            f"{self.counts[word]} {word}"
            for word in ("failed", "passed", "skipped", "errors", "rerun")
            if self.counts[word]
        ]
        flaky = [f"flaky, passed when run again alone: {name}" for name in self.flaky]
        failed = [f"failed lanes: {', '.join(self.failed)}"] if self.failed else []
        minutes = f"{int(total) // 3600}:{int(total) // 60 % 60:02}:{int(total) % 60:02}"
        summary = f" {', '.join(counts) or 'no tests ran'} in {total:.2f}s ({minutes}) "
        slowest = sorted(self.files.items(), key=lambda entry: -entry[1])[:SLOWEST_FILES]
        slow = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in slowest)
        files = [f"slowest files: {slow}"] if slow else []
        return [*files, f"lanes: {lanes}", *flaky, *failed, f"{summary:=^100}"]


def _file_of(classname: str) -> str:
    """The file of a test, as JUnit's report names its class: ``tests.live.test_owner.TestX``."""
    parts = classname.split(".")
    return "/".join(parts[: 1 + next((n for n, part in enumerate(parts) if part.startswith("test_")), len(parts))])


def run(names: Sequence[str], arguments: Sequence[str]) -> int:
    """Runs the lanes, also after one that failed. Returns 0 where all passed."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            began, report, code = time.monotonic(), Path(folder, f"{name}.xml"), 0
            for command in LANES[name].runs(arguments, report):
                code = subprocess.run(command, check=False).returncode
                if code:
                    break
            again = report.with_suffix(".again.xml") if LANES[name].again and code == FAILED and _few(report) else None
            if again:
                # Where none ran, the failures stand.
                code = FAILED if subprocess.run(LANES[name].rerun(arguments, again), check=False).returncode else 0
            tally.add(name, code, report, time.monotonic() - began, again=None if code else again)
    sys.stdout.write("\n".join(tally.lines()) + "\n")
    return 1 if tally.failed else 0


def _few(report: Path) -> bool:
    """Whether a report has so few failures that chance may explain them."""
    suites = ElementTree.parse(report).getroot().iter("testsuite") if report.exists() else ()
    return 0 < sum(int(suite.get(kind, 0)) for suite in suites for kind in ("failures", "errors")) <= FEW


def main(words: Sequence[str]) -> int:
    """Runs the lanes that the first words name, or the usual ones. If the first is a path, pytest runs alone on it."""
    names = []
    rest = list(words)
    while rest and rest[0] in LANES:
        names.append(rest.pop(0))
    if rest and not names and not rest[0].startswith("-"):
        command = [sys.executable, "-m", "pytest", "--set-up", f"--durations={SLOWEST}", *rest]
        return subprocess.run(command, check=False).returncode
    return run(names or [name for name, lane in LANES.items() if lane.unasked], rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
