"""The reader of Ray's files: order, filters, tails, and what it says of itself."""

import os
import time
import tracemalloc
from typing import Any

import pytest

from tests.unit.ws.logs.ray_sessions import CLOCK, NEW, OLD, WORKER
from ws.logs import kinds
from ws.logs.files import first_data, last_lines
from ws.logs.query import Query
from ws.logs.reader import Reader

JOB = ("raysubmit_A1", "01000000")


def texts(found: Any) -> list[str]:
    return [entry.text.splitlines()[0].rpartition(": ")[2].rpartition(" -- ")[2] for entry in found[0]]


class TestOrder:
    def test_files_of_all_sessions_are_merged_by_time(self, read):
        assert texts(read(sources=("raylet*", "dashboard.log"))) == [
            "raylet of yesterday", "before it rotated", "raylet starts", "dashboard starts", "it failed", "again",
            "on the GPUs", "slow, job_id=01000000",
        ]  # fmt: skip

    def test_times_never_decrease(self, read):
        times = [entry.time for entry in read()[0]]
        assert times == sorted(times)

    def test_lines_without_any_time_have_that_of_the_file(self, read):
        entries, _ = read(sources=("job-driver-*",))
        assert [(entry.text, entry.time) for entry in entries] == [
            ("the driver begins", CLOCK + 7),
            ("the driver ends", CLOCK + 7),
        ]

    def test_a_file_of_no_log_is_not_read(self, read):
        assert not [entry for entry in read()[0] if "no log" in entry.text]

    def test_a_zone_is_that_of_the_container(self, read, monkeypatch):
        before = read(sources=("dashboard.log",))[0][0].time
        monkeypatch.setenv("TZ", "UTC-2")  # two hours east
        time.tzset()
        kinds._minute.cache_clear()
        assert read(sources=("dashboard.log",))[0][0].time == before - 7200


class TestEntries:
    def test_a_traceback_stays_with_the_line_before_it(self, read):
        entries, _ = read(level="error")
        assert [entry.text.splitlines()[-1] for entry in entries] == ["OSError: in use"]
        assert entries[0].lines == 5

    def test_what_follows_a_line_of_ray_belongs_to_it(self, read):
        entries, _ = read(level="warning", sources=("raylet.out",))
        assert [entry.text.splitlines()[1] for entry in entries] == ["  and its details"]

    def test_a_worker_says_whose_task_it_is(self, read):
        entries, _ = read(sources=(f"{WORKER}.out",))
        assert [(entry.job, entry.task, entry.text) for entry in entries] == [
            ("01000000", "square", "square of 3"),
            ("01000000", "cube", "cube of 3"),
        ]


class TestFilters:
    def test_job(self, read):
        entries, summary = read(jobs=JOB)
        assert {entry.source for entry in entries} == {f"{WORKER}.out", "job-driver-raysubmit_A1.log"}
        assert len(entries) == 4
        assert summary["aside"] == 2, "lines of raylet.out"

    @pytest.mark.parametrize("asked", [{"everything": True}, {"level": "warning"}, {"sources": ("raylet*",)}])
    def test_job_with_what_ray_says_of_itself(self, read, asked):
        entries, summary = read(jobs=JOB, **asked)
        assert "slow, job_id=01000000\n  and its details" in "".join(entry.text for entry in entries)
        assert summary["aside"] == 0

    def test_job_with_errors_of_rays_own(self, scratch, read):
        with (scratch / f"ray-cpu/ray/{NEW}/logs/raylet.out").open("a") as raylet:
            raylet.write("[2026-11-28 03:00:10,000 E 7 7] (raylet) worker_pool.cc:9: no worker for job 01000000\n")
        assert "no worker for job 01000000" in read(jobs=JOB)[0][-1].text

    def test_job_without_repetitions_of_what_its_tasks_print(self, scratch, read):
        with (scratch / f"ray-cpu/ray/{NEW}/logs/job-driver-raysubmit_A1.log").open("a") as driver:
            driver.write("\x1b[36m(square pid=4711)\x1b[0m square of 3\n(square pid=9, ip=10.0.0.11) square of 4\n")
        entries, summary = read(jobs=JOB)
        said = [entry.text for entry in entries if "square of" in entry.text]
        assert sorted(said) == ["(square pid=9, ip=10.0.0.11) square of 4", "square of 3"]
        assert summary["aside"] == 3
        entries, _ = read(jobs=JOB, read_at=("", "10.0.0.11"))
        assert [entry.text for entry in entries if "square of" in entry.text] == ["square of 3"]

    def test_task(self, read):
        assert texts(read(task="cu*")) == ["cube of 3"]

    def test_service_node_and_source(self, read):
        assert texts(read(services=("ray-gpu",))) == texts(read(nodes=("*-gpu",))) == ["on the GPUs"]
        assert texts(read(sources=("raylet.1.out",))) == ["before it rotated"]

    def test_grep_also_finds_in_further_lines(self, read):
        assert texts(read(grep="^OSError")) == ["it failed"]

    def test_since_and_until(self, read):
        assert texts(read(since=CLOCK + 2, until=CLOCK + 4)) == ["dashboard starts", "it failed", "again"]

    def test_a_file_that_did_not_change_since_is_not_read(self, read):
        assert read(since=CLOCK + 8)[1]["read"] == {}


class TestTail:
    def test_is_of_each_service(self, read):
        entries, _ = read(tail=1)
        assert {entry.service for entry in entries} == {"ray-cpu", "ray-gpu"}

    @pytest.mark.parametrize("tail", [0, 1, 3, 1000])
    def test_with_what_it_left_out_is_everything(self, read, tail):
        entries, summary = read(tail=tail)
        everything = sum(entry.lines for entry in read()[0])
        assert sum(entry.lines for entry in entries) + summary["left_out"] == everything

    def test_of_a_large_file_reads_its_end(self, scratch, read):
        path = scratch / f"ray-cpu/ray/{NEW}/logs/gcs_server.out"
        with path.open("w") as file:
            file.writelines(f"[2026-11-28 03:00:01,000 I 7 7] line {number}\n" for number in range(10_000))
        entries, summary = read(tail=2, sources=("gcs_server.out",))
        assert [entry.text.rpartition("] ")[2] for entry in entries] == ["line 9998", "line 9999"]
        assert summary["left_out"] == 9998

    @pytest.mark.parametrize("lines", [1, 2, 5])
    def test_begins_at_a_line(self, tmp_path, lines):
        path = tmp_path / "log"
        path.write_bytes(b"one\ntwo\nthree")
        with path.open("rb") as file:
            file.seek(last_lines(file, 0, lines))
            assert file.read() == b"\n".join([b"one", b"two", b"three"][-lines:])

    def test_a_released_beginning_is_no_data(self, tmp_path):
        path = tmp_path / "log"
        with path.open("wb") as file:
            file.truncate(2**20)
            file.seek(2**20)
            file.write(b"data")
        with path.open("rb") as file:
            assert first_data(file) in (0, 2**20)  # a file system may not tell


class TestSummary:
    def test_names_sessions_and_counts_files(self, read):
        _, summary = read(services=("ray-cpu",))
        assert summary["read"] == {"ray-cpu": {OLD: 1, NEW: 6}}
        assert summary["problems"] == []

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_names_what_it_may_not_read(self, scratch, read):
        path = scratch / f"ray-cpu/ray/{NEW}/logs/dashboard.log"
        path.chmod(0)
        assert read()[1]["problems"] == [f"{path}: Permission denied"]


class TestMemory:
    def test_does_not_grow_with_the_logs(self, scratch):
        path = scratch / f"ray-cpu/ray/{NEW}/logs/gcs_server.out"
        with path.open("w") as file:
            file.writelines(f"[2026-11-28 03:00:01,000 I 7 7] line {'x' * 1000}\n" for _ in range(10_000))
        reader = Reader(scratch, {}, Query())
        tracemalloc.start()
        assert sum(1 for _ in reader.history()) > 10_000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * 10**6


class TestFollowing:
    def test_yields_what_is_new_also_in_new_files_and_after_a_rotation(self, scratch):
        reader = Reader(scratch, {}, Query(follow=True, services=("ray-gpu",)))
        assert len(list(reader.history())) == 1
        logs = scratch / f"ray-gpu/ray/{NEW}/logs"
        assert reader.news() == []
        (logs / "worker-aa-02000000-5.out").write_text("half a")
        assert reader.news() == []
        with (logs / "worker-aa-02000000-5.out").open("a") as file:
            file.write(" line\n")
        (logs / "raylet.out").rename(logs / "raylet.1.out")
        (logs / "raylet.out").write_text("[2026-11-28 03:00:06,000 I 8 8] (raylet) main.cc:1: in a new file\n")
        assert texts((reader.news(),)) == ["in a new file", "half a line"]
        assert reader.news() == []
