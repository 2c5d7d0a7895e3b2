"""scratch.py and janitor.py: use of the scratch folder, what is removed when it is full, which job ends."""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from entrypoints.ray import janitor, scratch
from entrypoints.ray.janitor import Janitor
from entrypoints.ray.jobs import Job
from entrypoints.ray.scratch import Layout, Use, job_of, measure

MB = 10**6


class FakeJobs:
    """Ray's API, as far as the janitor asks it; `error` where no head answers."""

    def __init__(self, *jobs: Job, actors: Iterable[str] = (), error: Exception | None = None) -> None:
        self.jobs, self.actors, self.error = list(jobs), set(actors), error
        self.stopped: list[str] = []

    def all(self) -> list[Job]:
        if self.error:
            raise self.error
        return self.jobs

    def with_actors(self) -> set[str]:
        return self.actors

    def stop(self, job: Job) -> None:
        self.stopped.append(job.submission)


def job(identifier: str, submission: str = "", *, running: bool = True) -> Job:
    return Job(identifier=identifier, submission=submission, running=running, process=None, address="")


@pytest.fixture
def layout(tmp_path) -> Layout:
    found = Layout("ray-cpu", tmp_path)
    found.make()
    (found.ray / "session_1/ray_spilled_objects_abc").mkdir(parents=True)
    (found.ray / "session_1/logs").mkdir()
    (found.ray / "session_latest").symlink_to(found.ray / "session_1")
    return found


def spill(layout: Layout, job_id: str, size: int) -> Path:
    name = f"{job_id}-{os.urandom(16).hex()}-multi-2"
    return write(layout.ray / "session_1/ray_spilled_objects_abc" / name, size)


def write(path: Path, size: int, *, age: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def look(layout: Layout, limit: int, jobs: FakeJobs) -> tuple[Use, list[str]]:
    told: list[str] = []
    return Janitor(layout, limit, jobs, told.append).look(), told  # type: ignore[arg-type]


class TestMeasure:
    def test_counts_the_blocks_on_disk_by_part(self, layout):
        write(layout.root / "packages/one", MB)
        write(layout.temporary / "two", 2 * MB)
        use = measure(layout, 10 * MB)
        assert use.parts["packages"] == pytest.approx(MB, rel=0.1)
        assert 3 * MB <= use.used < 3.3 * MB
        assert not use.full

    def test_a_file_with_several_names_counts_once(self, layout):
        path = write(layout.caches / "uv/wheel", 4 * MB)
        os.link(path, layout.temporary / "linked")
        assert measure(layout, 10 * MB).used < 4.3 * MB

    def test_a_file_without_a_name_counts_while_it_is_open(self, layout):
        path = write(layout.temporary / "unlinked", 3 * MB)
        with path.open("rb"):
            path.unlink()
            assert measure(layout, 10 * MB).parts["unlinked"] >= 3 * MB
        assert measure(layout, 10 * MB).parts["unlinked"] == 0

    def test_a_full_one_is_said_by_figures(self, layout):
        write(layout.temporary / "big", 5 * MB)
        use = measure(layout, 4 * MB)
        assert use.full
        assert use.message.startswith("scratch full: 0.0 of 0.0 GB")

    def test_a_disk_that_has_less_room_lowers_the_limit_and_is_named(self, layout, monkeypatch):
        full = type("Usage", (), {"total": 10**12, "used": 10**12, "free": scratch.SPARE - 1})
        monkeypatch.setattr("shutil.disk_usage", lambda _: full)
        use = measure(layout, 40 * 10**9)
        assert use.full
        assert "its disk has 2.0 GB left" in use.message

    def test_the_report_is_json_for_the_health_service(self, layout):
        measure(layout, 10 * MB).write(layout.report)
        said = json.loads(layout.report.read_text())
        assert {"used", "limit", "time", "full", "message"} <= said.keys()

    @pytest.mark.parametrize(
        ("size", "text"), [(0, "0.0"), (1_600_000_000, "1.6"), (40 * 10**9, "40"), (9_960_000_000, "10.0")]
    )
    def test_sizes_read_as_people_write_them(self, size, text):
        assert scratch.gigabytes(size) == text


class TestObjectsOfEndedJobs:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("0a000000-3f1c-multi-2", "0a000000"),
            ("3f1c0d2e4b5a69788796a5b4c3d2e1f0-multi-2", ""),
            ("notes.txt", ""),
            ("-multi-1", ""),
        ],
    )
    def test_the_name_of_a_spilled_file_begins_with_its_job(self, name, expected):
        assert job_of(name) == expected

    def test_they_go_a_while_after_the_end_and_nothing_else_does(self, layout, monkeypatch):
        monkeypatch.setattr(janitor, "ENDED_SECONDS", -1.0)
        ended, living, detached = (spill(layout, number, 1000) for number in ("01000000", "02000000", "03000000"))
        foreign = write(ended.parent / "somebody-s", 1000)
        jobs = FakeJobs(job("01000000", running=False), job("02000000"), actors=["03000000"])
        look(layout, 10 * MB, jobs)
        assert [path.exists() for path in (ended, living, detached, foreign)] == [False, True, True, True]

    def test_without_a_head_nobody_knows_who_lives_and_all_stay(self, layout, monkeypatch):
        monkeypatch.setattr(janitor, "ENDED_SECONDS", -1.0)
        path = spill(layout, "01000000", 1000)
        look(layout, 10 * MB, FakeJobs(error=OSError("no head")))
        assert path.exists()


class TestFull:
    def test_caches_go_before_any_job(self, layout):
        write(layout.caches / "uv/old/wheel", 3 * MB, age=100)
        spill(layout, "01000000", 2 * MB)
        jobs = FakeJobs(job("01000000", "raysubmit_a"))
        use, _ = look(layout, 4 * MB, jobs)
        assert not use.full
        assert jobs.stopped == []

    def test_the_job_that_holds_the_most_ends_and_its_log_says_why(self, layout):
        spill(layout, "01000000", 3 * MB)
        spill(layout, "02000000", MB)
        log = write(layout.ray / "session_1/logs/job-driver-raysubmit_a.log", 10)
        jobs = FakeJobs(job("01000000", "raysubmit_a"), job("02000000", "raysubmit_b"))
        use, told = look(layout, 4 * MB, jobs)
        assert use.full
        assert jobs.stopped == ["raysubmit_a"]
        assert "ray-cpu: scratch full" in log.read_text(errors="replace")
        assert "ray.scratch_limit" in told[-1]

    def test_the_next_one_ends_only_when_the_first_had_time_to(self, layout):
        spill(layout, "01000000", 3 * MB)
        spill(layout, "02000000", 2 * MB)
        jobs = FakeJobs(job("01000000", "raysubmit_a"), job("02000000", "raysubmit_b"))
        cleaner = Janitor(layout, 4 * MB, jobs, lambda _: None)  # type: ignore[arg-type]
        cleaner.look()
        cleaner.look()
        assert jobs.stopped == ["raysubmit_a"]

    def test_a_temporary_file_of_yesterday_goes_and_one_of_today_stays(self, layout):
        old = write(layout.root / "marimo/tmp/old", 3 * MB, age=2 * 24 * 3600)
        new = write(layout.temporary / "new", 2 * MB)
        look(layout, 4 * MB, FakeJobs())
        assert (old.exists(), new.exists()) == (False, True)

    def test_results_and_uploads_never_go(self, layout):
        upload = write(layout.root / "packages/one.zip", 5 * MB, age=10**6)
        look(layout, 4 * MB, FakeJobs())
        assert upload.exists()

    def test_that_there_is_room_again_is_said(self, layout):
        path = write(layout.temporary / "big", 5 * MB)
        told: list[str] = []
        cleaner = Janitor(layout, 4 * MB, FakeJobs(), told.append)  # type: ignore[arg-type]
        cleaner.look()
        path.unlink()
        cleaner.look()
        assert told[0].startswith("scratch full")
        assert "room again" in told[1]


class TestLogs:
    def test_the_oldest_output_goes_first_and_that_of_jobs_last(self, layout, monkeypatch):
        monkeypatch.setattr(janitor, "LOGS_SHARE", 0.3)
        logs = layout.ray / "session_1/logs"
        of_a_job = write(logs / "job-driver-raysubmit_a.log", MB, age=300)
        old, new = write(logs / "worker-1.out", 2 * MB, age=200), write(logs / "worker-2.out", MB, age=100)
        opened = write(logs / "worker-0.out", 1000, age=400)
        with opened.open("ab"):
            look(layout, 10 * MB, FakeJobs())
        assert [path.exists() for path in (of_a_job, old, new, opened)] == [True, False, True, True]

    def test_output_in_folders_below_counts_as_well(self, layout):
        logs = layout.ray / "session_1/logs"
        aside, new = write(logs / "old/worker-1.out", 3 * MB, age=200), write(logs / "worker-2.out", MB, age=100)
        look(layout, 20 * MB, FakeJobs())
        assert (aside.exists(), new.exists()) == (False, True)

    def test_a_full_folder_keeps_the_logs_of_sessions_that_ended_lately(self, layout):
        for name, age in (("session_2", 3600), ("session_3", 3 * 24 * 3600)):
            write(layout.ray / name / "logs/job-driver-a.log", 1000, age=age)
            write(layout.ray / name / "runtime_resources/env", 1000, age=age)
            for folder in ("logs", "runtime_resources", "."):
                os.utime(layout.ray / name / folder, (time.time() - age,) * 2)
        write(layout.ray / "session_1/in-use", 3 * MB)
        look(layout, 2 * MB, FakeJobs())
        assert (layout.ray / "session_2/logs/job-driver-a.log").exists()
        assert not (layout.ray / "session_2/runtime_resources").exists()
        assert not (layout.ray / "session_3").exists()

    def test_a_long_log_gives_its_beginning_back_and_keeps_its_length(self, tmp_path):
        log = write(tmp_path / "job-driver-a.log", 5 * MB)
        end = log.read_bytes()[-MB:]
        with log.open("ab") as writer:
            scratch.shorten(log, kept=MB)
            writer.write(b"more")
        assert log.stat().st_size == 5 * MB + 4
        assert log.stat().st_blocks * 512 < 1.5 * MB
        assert log.read_bytes()[-MB - 4 :] == end + b"more"

    def test_a_short_one_stays_whole(self, tmp_path):
        log = write(tmp_path / "job-driver-a.log", MB)
        before = log.read_bytes()
        scratch.shorten(log, kept=MB)
        assert log.read_bytes() == before


class TestLastRun:
    def test_all_of_it_goes_but_its_logs(self, layout):
        objects = spill(layout, "01000000", 1000)
        log = write(layout.ray / "session_1/logs/job-driver-a.log", 10)
        environment = write(layout.ray / "session_1/runtime_resources/pip/x/file", 10)
        temporary = write(layout.temporary / "left", 10)
        layout.forget_last_run()
        kept = [path.exists() for path in (objects, log, environment, temporary)]
        assert kept == [False, True, False, False]
        assert layout.temporary.is_dir()
