"""entrypoints/ray/memory_guard.py: which process it ends when memory runs out, and which it never ends."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from entrypoints.ray import memory_guard
from entrypoints.ray.memory_guard import Cgroup, MemoryGuard, Process

LIMIT = 1000 * 2**20
HOLD = """
import time
held = bytearray({size})
for place in range(0, len(held), 4096):
    held[place] = 1
print("held", flush=True)
time.sleep(60)
"""


def cgroup(folder: Path, *, version: int, used: int, file: int = 0) -> Cgroup:
    """The files of a cgroup as the kernel has them."""
    if version == 2:
        (folder / "memory.current").write_text(f"{used + file}\n")
        (folder / "memory.max").write_text(f"{LIMIT}\n")
        (folder / "memory.stat").write_text(f"anon {used}\ninactive_file {file}\nactive_file 0\nshmem 0\n")
    else:
        memory = folder / "memory"
        memory.mkdir(exist_ok=True)
        (memory / "memory.usage_in_bytes").write_text(f"{used + file}\n")
        (memory / "memory.limit_in_bytes").write_text(f"{LIMIT}\n")
        (memory / "memory.stat").write_text(f"inactive_file 7\ntotal_inactive_file {file}\ntotal_active_file 0\n")
    found = Cgroup.find(folder)
    assert found
    return found


class Hog:
    """A process that holds memory, as a user's program."""

    def __init__(self, size: int, *words: str) -> None:
        code = HOLD.format(size=size)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "held\n"

    @property
    def number(self) -> int:
        return self.process.pid

    def ended_with(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def hogs(monkeypatch):
    """Starts hogs; only they, of all processes of this machine, are seen."""
    started: list[Hog] = []

    def start(*sizes: int, words: tuple[str, ...] = ()) -> list[Hog]:
        started.extend(Hog(size, *words) for size in sizes)
        numbers = {hog.number for hog in started}
        real = Process.read
        monkeypatch.setattr(memory_guard, "processes", lambda: iter([p for n in numbers if (p := real(n)) is not None]))
        return started

    yield start
    for hog in started:
        hog.end()


class TestCgroup:
    @pytest.mark.parametrize("version", [1, 2])
    def test_pages_of_files_on_disk_do_not_count(self, tmp_path, version):
        found = cgroup(tmp_path, version=version, used=300 * 2**20, file=500 * 2**20)
        assert (found.used_bytes(), found.limit_bytes()) == (300 * 2**20, LIMIT)

    def test_without_a_limit_there_is_nothing_to_keep(self, tmp_path):
        found = cgroup(tmp_path, version=2, used=1)
        (tmp_path / "memory.max").write_text("max\n")
        assert found.limit_bytes() is None

    def test_without_its_files_there_is_none(self, tmp_path):
        assert Cgroup.find(tmp_path) is None


class TestGuard:
    def test_the_largest_process_ends_and_its_user_reads_why(self, tmp_path, hogs):
        small, large = hogs(30 * 2**20, 150 * 2**20)
        told: list[str] = []
        files = cgroup(tmp_path, version=2, used=LIMIT)
        (tmp_path / "memory.current").write_text(f"{LIMIT}\n")
        guard = MemoryGuard(files, "ray-cpu", told.append)
        memory_guard_wait(guard, tmp_path)
        code, said = large.ended_with()
        assert code == -9
        assert "out of memory" in said
        assert "ray-cpu" in said
        assert small.process.poll() is None
        assert len(told) == 1

    def test_a_worker_s_user_reads_it_in_the_log_that_ray_sends_to_the_driver(self, tmp_path, hogs):
        (worker,) = hogs(150 * 2**20)
        log = tmp_path / f"worker-0a1b-01000000-{worker.number}.err"
        log.write_text("before\n")
        files = cgroup(tmp_path, version=2, used=LIMIT)
        (tmp_path / "memory.current").write_text(f"{LIMIT}\n")
        memory_guard_wait(MemoryGuard(files, "ray-cpu", lambda _: None, logs=tmp_path), tmp_path)
        code, said = worker.ended_with()
        assert (code, said) == (-9, "")
        assert log.read_text().startswith("before\n[cslr] out of memory: process")

    def test_files_that_were_left_behind_go_before_small_processes(self, tmp_path, hogs, monkeypatch):
        (small,) = hogs(30 * 2**20)
        folder = tmp_path / "shm"
        folder.mkdir()
        left, new, opened = (folder / name for name in ("left", "new", "opened"))
        for path in (left, new, opened):
            path.write_bytes(b"x" * 10_000)
        for path in (left, opened):
            os.utime(path, (time.time() - 3600,) * 2)
        monkeypatch.setattr(memory_guard, "IN_MEMORY", (folder,))
        told: list[str] = []
        with opened.open("rb"):
            MemoryGuard(cgroup(tmp_path, version=2, used=LIMIT), "ray-cpu", told.append).make_room(LIMIT)
        assert (left.exists(), new.exists(), opened.exists()) == (False, True, True)
        assert small.process.poll() is None
        assert str(left) in told[0]

    def test_where_nothing_would_help_it_says_so_once(self, tmp_path, hogs, monkeypatch):
        monkeypatch.setattr(memory_guard, "IN_MEMORY", ())
        monkeypatch.setattr(memory_guard, "processes", lambda: iter(()))
        monkeypatch.setattr(memory_guard, "LONGEST_SLEEP", 0.0)
        told: list[str] = []
        guard = MemoryGuard(cgroup(tmp_path, version=2, used=LIMIT), "ray-cpu", told.append)
        guard.make_room(LIMIT)
        guard.make_room(LIMIT)
        assert len(told) == 1
        assert "/dev/shm" in told[0]


def memory_guard_wait(guard: MemoryGuard, folder: Path) -> None:
    """Make room where the kernel's figure falls, as it does some time after a process has ended."""
    (folder / "later").write_text("0\n")
    threading.Timer(0.3, lambda: (folder / "later").replace(folder / "memory.current")).start()
    guard.make_room(LIMIT)


class TestProcesses:
    @pytest.mark.parametrize(
        "words",
        [
            ("/venv/ray/dashboard/dashboard.py",),
            ("ray-dashboard-JobHead-0",),
            ("ray::DashboardAgent",),
            ("-m", "entrypoints.ray.node"),
            ("ray start --head",),
            ("ray.util.client.server", "--mode=proxy"),
        ],
    )
    def test_what_the_node_needs_is_never_seen(self, words):
        hog = Hog(2**20, *words)
        try:
            assert Process.read(hog.number) is None
        finally:
            hog.end()

    @pytest.mark.parametrize("words", [(), ("--mode=specific-server",), ("ray::train",)])
    def test_users_programs_are(self, words):
        hog = Hog(50 * 2**20, *words)
        try:
            found = Process.read(hog.number)
            assert found
            assert 50 * 2**20 <= found.own < 90 * 2**20
        finally:
            hog.end()

    def test_one_that_has_ended_is_not(self):
        hog = Hog(2**20)
        hog.end()
        assert Process.read(hog.number) is None
