"""The guard of a container's process ids, on real processes."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from entrypoints.ray import process_guard
from entrypoints.ray.launcher import host_ids
from entrypoints.ray.process_guard import Entry, ProcessGuard, limit_for, programs

# One that starts that many children, each with a child that loses its parent, and waits.
BOMB = """
import os, sys, time
for _ in range(int(sys.argv[1])):
    if not os.fork():
        os.fork() and os._exit(0)
        break
time.sleep(300)
"""
SLEEPER = "import time; time.sleep(300)"


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started = []

    def start(*arguments: str, title: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", *arguments, title], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    kill_all("of-this-test")


def named(mark: str) -> list[int]:
    return [process for process in process_guard.entries() if mark in process_guard.title_of(process)]


def kill_all(mark: str) -> None:
    process_guard.signal_all(set(named(mark)), 9)


def until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def only_ours(monkeypatch):
    """Whatever else runs on this machine is needed."""
    monkeypatch.setattr(process_guard, "is_needed", lambda _, title: "of-this-test" not in title)


class TestMakingRoom:
    def test_the_largest_program_ends_with_its_orphans_and_all_others_go_on(self, start, only_ours, tmp_path):
        bomb = start(BOMB, "40", title="bomb-of-this-test")
        other = start(SLEEPER, title="work-of-this-test")
        until(lambda: len(named("bomb-of-this-test")) >= 41)
        (tmp_path / "pids.current").write_text("10")
        said: list[str] = []
        ProcessGuard(50, "ray-cpu", said.append, root=str(tmp_path)).make_room()
        assert bomb.wait(60) == -9
        until(lambda: not named("bomb-of-this-test"))
        assert other.poll() is None
        assert "too many processes" in said[0]
        assert "50 for all of ray-cpu" in said[0]
        assert "os.fork()" in said[0]

    def test_a_small_one_is_spared_since_its_end_would_not_help(self, start, only_ours, tmp_path):
        """As while those that were ended are not collected yet."""
        work = start(SLEEPER, title="work-of-this-test")
        until(lambda: named("work-of-this-test"))
        (tmp_path / "pids.current").write_text("60")
        said: list[str] = []
        guard = ProcessGuard(50, "ray-cpu", said.append, root=str(tmp_path))
        guard.make_room()
        guard.make_room()
        assert work.poll() is None
        assert said == ["50 process ids are taken, but no program holds many of them"]

    def test_it_is_told_where_the_user_looks(self, start, only_ours, tmp_path):
        bomb = start(BOMB, "3", title="bomb-of-this-test")
        until(lambda: len(named("bomb-of-this-test")) >= 4)
        (tmp_path / "pids.current").write_text("1")
        ProcessGuard(2, "ray-cpu", lambda _: None, root=str(tmp_path)).make_room()
        assert "[cslr] too many processes" in bomb.communicate(timeout=60)[1]

    def test_threads_take_ids_as_well(self, start, only_ours, tmp_path):
        threads = "import threading as t, time; [t.Thread(target=time.sleep, args=(300,)).start() for _ in range(30)]"
        many = start(threads, title="threads-of-this-test")
        one = start(SLEEPER, title="work-of-this-test")
        until(lambda: sum(process_guard.entries()[p].threads for p in named("threads-of-this-test")) > 30)
        (tmp_path / "pids.current").write_text("1")
        ProcessGuard(2, "ray-cpu", lambda _: None, root=str(tmp_path)).make_room()
        assert many.wait(60) == -9
        assert one.poll() is None


class TestPrograms:
    """1 is the init, 7 the node; 20 and 21 are Ray's workers, 22 has children, 30 and 31 lost their parent."""

    FOUND: ClassVar = {
        1: Entry(0, 1),
        7: Entry(1, 10),
        20: Entry(7, 20),
        21: Entry(7, 25),
        22: Entry(7, 20),
        23: Entry(22, 5),
        24: Entry(23, 5),
        30: Entry(7, 3),
        31: Entry(1, 3),
    }
    TITLES: ClassVar = {1: "init", 7: "node", 20: "ray::IDLE", 21: "ray::IDLE", 22: "ray::train", 23: "sh", 24: "sh"}

    def test_are_a_process_and_all_below_it_or_orphans_of_one_command(self, monkeypatch):
        monkeypatch.setattr(process_guard, "title_of", lambda process: self.TITLES.get(process, "bomb"))
        found = programs(self.FOUND, lambda process, _: process in (1, 7))
        sizes = {(program.title, program.ids, frozenset(program.members)) for program in found}
        assert sizes == {
            ("ray::IDLE", 20, frozenset({20})),
            ("ray::IDLE", 25, frozenset({21})),
            ("ray::train", 30, frozenset({22, 23, 24})),
            ("bomb", 6, frozenset({30, 31})),
        }

    def test_are_seen_without_a_name_of_their_own(self, monkeypatch):
        """A program that empties its command line would not be guarded; one that has ended has none either."""
        found = {1: Entry(0, 1), 40: Entry(1, 1), 41: Entry(40, 5), 50: Entry(1, 30), 60: Entry(1, 1)}
        monkeypatch.setattr(process_guard, "title_of", lambda process: {1: "init", 41: "sh"}.get(process, ""))
        [nameless] = programs(found, lambda process, _: process == 1)
        assert (nameless.ids, frozenset(nameless.members)) == (36, frozenset({40, 41, 50}))
        assert nameless.title.split()

    def test_keep_the_title_of_one_that_ends_while_they_are_read(self, monkeypatch):
        """A guard that fails on an empty one guards nothing any more."""
        asked = set()

        def title_of(process):
            title = "" if process in asked else self.TITLES.get(process, "bomb")
            asked.add(process)
            return title

        monkeypatch.setattr(process_guard, "title_of", title_of)
        assert all(program.title for program in programs(self.FOUND, lambda process, _: process in (1, 7)))


class TestCounting:
    @pytest.mark.parametrize("file", ["pids.current", "pids/pids.current"])
    def test_the_kernel_counts_in_either_version_of_cgroups(self, tmp_path, file):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("1234\n")
        assert ProcessGuard(1, "x", print, root=str(tmp_path)).count() == 1234

    def test_without_cgroups_processes_are_counted(self, tmp_path):
        assert ProcessGuard(1, "x", print, root=str(tmp_path)).count() > 1


class TestLimit:
    def test_it_grows_with_the_node_and_leaves_the_host_most_of_its_ids(self, monkeypatch):
        monkeypatch.setattr(process_guard, "host_ids", lambda: 4_000_000)
        assert limit_for(2, {}) == 5120
        assert limit_for(64, {}) == 36864
        monkeypatch.setattr(process_guard, "host_ids", lambda: 32768)
        assert limit_for(64, {}) == 8192

    def test_it_can_be_set(self):
        assert limit_for(64, {"PROCESS_ID_LIMIT": "3000"}) == 3000

    def test_the_kernel_refuses_more_than_half_of_the_host(self):
        code = "from entrypoints.ray.launcher import keep_half; import resource; keep_half();"
        code += "print(*resource.getrlimit(resource.RLIMIT_NPROC))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        most = host_ids() // 2 if hard == resource.RLIM_INFINITY else min(hard, host_ids() // 2)
        assert done.stdout.split()[1] == str(most)
