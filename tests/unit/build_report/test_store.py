"""The store of builds: records are read back as written, with concurrent writers and from any earlier version."""

import dataclasses
import logging
import multiprocessing
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from build_report import schema, store
from build_report.records import BuildRecord, Sample, subject_of
from build_report.runs import RUN, current_run, new_run
from build_report.store import Store, StoreError, record_build
from contracts.document import load
from contracts.facts import Builds
from testing.build_report_builds import BEGAN, GB, MB, SIZES, STEPS, USAGE, built, image, subject
from ws.environment import prepare_environment

WRITERS, BUILDS = 3, 8


@pytest.fixture
def kept(tmp_path):
    return Store(tmp_path / "state" / "builds.sqlite")


def write(path: Path, writer: int) -> None:
    kept = Store(path)
    for number in range(BUILDS):
        built(kept, image({"base": 10 * writer + number + 1}), of=subject(f"image{writer}"), run=f"run{writer}")


class TestWhatIsKept:
    def test_a_build_comes_back_as_it_was_recorded(self, kept):
        recorded = built(kept, image(SIZES))
        assert kept.builds_of_run(recorded.run) == [recorded]
        assert (recorded.steps, recorded.usage, recorded.seconds) == (STEPS, USAGE, 72)

    def test_an_image_comes_back_as_it_was_measured(self, kept):
        measured = image(SIZES, packages={"torch": ("2.13.0", 1154 * MB), "ray": ("2.60.0", 240 * MB)})
        kept.add_image(measured)
        back = kept.image(measured.image_id)
        assert (back.layers, back.labels, back.size) == (measured.layers, measured.labels, sum(SIZES.values()))
        assert {package.name: package for package in back.packages} == {p.name: p for p in measured.packages}

    def test_an_image_measured_again_replaces_what_was_kept(self, kept):
        measured = image(SIZES, packages={"ray": ("2.60.0", MB)})
        kept.add_image(measured)
        kept.add_image(dataclasses.replace(measured, packages=()))
        assert kept.image(measured.image_id).packages == ()

    def test_what_was_never_measured_is_none(self, kept):
        assert kept.image("sha256:unknown") is None
        assert kept.image(None) is None

    def test_an_empty_store_has_no_run_and_no_build(self, kept):
        assert (kept.builds_of_run("x"), kept.builds_since(5), kept.newest(), kept.last_run()) == ([], [], [], None)
        assert kept.step_names() == set()

    def test_steps_are_known_by_name(self, kept):
        built(kept, image(SIZES))
        assert "[pyg 1/1] RUN python install.py pyg" in kept.step_names()

    def test_an_images_compressed_size_is_known_when_all_its_layers_are(self, kept):
        measured = image({"base": 100, "cuda": 200})
        kept.add_image(measured)
        first, second = (layer.diff_id for layer in measured.layers)
        kept.add_compressed([(first, 40)], "zstd -3")
        assert kept.image(measured.image_id).compressed is None
        kept.add_compressed([(second, 80)], "zstd -3")
        assert kept.image(measured.image_id).compressed == 120

    def test_a_registrys_compressed_size_beats_a_measured_one_and_not_the_other_way_round(self, kept):
        measured = image({"base": 100})
        kept.add_image(measured)
        diff_id = measured.layers[0].diff_id
        for size, method in ((40, "zstd -3"), (50, "registry"), (41, "zstd -3")):
            kept.add_compressed([(diff_id, size)], method)
        assert kept.image(measured.image_id).compressed == 50


class TestPrevious:
    def test_is_the_build_before_of_the_same_image_variant_flavour_and_platform(self, kept):
        first = built(kept, image(SIZES))
        built(kept, image(SIZES | {"ray": MB}), of=subject("ray-runtime"), after=100)
        built(kept, image(SIZES | {"base": MB}), of=subject(variant="cuda12.8.1-py3.13"), after=200)
        last = built(kept, image(SIZES | {"pyg": 40 * MB}), after=300)
        assert kept.previous(last) == first
        assert kept.previous(first) is None

    def test_passes_over_failed_builds(self, kept):
        first = built(kept, image(SIZES))
        built(kept, None, after=100)
        assert kept.previous(built(kept, image(SIZES | {"pyg": MB}), after=200)) == first

    def test_newest_has_each_image_once_and_no_failed_build(self, kept):
        built(kept, image(SIZES))
        last = built(kept, image(SIZES | {"pyg": MB}), after=100)
        other = built(kept, image({"base": MB}), of=subject("devel"), after=200)
        built(kept, None, after=300)
        assert kept.newest() == [last, other]


class TestRuns:
    def test_a_command_makes_one_that_child_processes_share(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setenv(RUN, "")  # so that it is as before in the end
        monkeypatch.delenv(RUN)
        prepare_environment()
        assert os.environ[RUN] == current_run()

    def test_a_process_that_nothing_named_one_for_is_one_of_its_own(self, monkeypatch):
        monkeypatch.delenv(RUN, raising=False)
        assert current_run() == current_run()
        assert current_run().endswith(f"-{os.getpid()}")
        assert RUN not in os.environ

    def test_a_given_run_is_used(self, kept, monkeypatch):
        monkeypatch.setenv(RUN, "ci-42")
        assert kept.add_build(built(kept, None)).run == "ci-42"

    def test_names_are_in_the_order_of_time(self):
        assert new_run(BEGAN, 9) < new_run(BEGAN + 1, 1)

    def test_the_last_runs_are_those_with_the_last_builds_however_old_their_images(self, kept):
        for position, run in enumerate(("c", "a", "b")):
            built(kept, None, run=run, after=-100 * position)
        assert {build.run for build in kept.builds_since(2)} == {"a", "b"}
        assert kept.last_run() == "b"


class TestTags:
    @pytest.mark.parametrize(
        ("tag", "expected"),
        [
            ("cslr/ray-runtime:cuda13.1.1-py3.14-0123456789ab", ("ray-runtime", "cuda13.1.1-py3.14", "cuda")),
            ("localhost:5000/a/runtime:cuda12.8.1-py3.13-cpu-0123456789ab", ("runtime", "cuda12.8.1-py3.13", "cpu")),
            ("cslr/redis:0123456789ab", ("redis", None, "cuda")),
        ],
    )
    def test_a_tag_names_image_variant_and_flavour(self, tag, expected):
        found = subject_of(tag, platform="linux/amd64")
        assert (found.image, found.variant, found.flavour) == expected


class TestSamples:
    def test_usage_is_that_of_the_time_asked_for(self, kept):
        for second, cpu in enumerate((10.0, 90.0, 50.0, 100.0)):
            kept.add_sample("run", Sample(time=BEGAN + second, cpu=cpu, memory=second * MB, disk=10 * GB - second))
        usage = kept.usage("run", BEGAN, BEGAN + 2)
        assert (usage.cpu_peak, usage.cpu_mean, usage.memory_peak) == (90, 50, 2 * MB)
        assert (usage.disk_before, usage.disk_after) == (10 * GB, 10 * GB - 2)

    def test_where_nobody_looked_there_is_none(self, kept):
        assert kept.usage("run", BEGAN, BEGAN + 2) is None


class TestSeveralProcesses:
    def test_all_builds_of_all_writers_are_kept(self, tmp_path):
        path = tmp_path / "builds.sqlite"  # made by the first one
        spawn = multiprocessing.get_context("spawn")
        writers = [spawn.Process(target=write, args=(path, number)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        assert [writer.exitcode for writer in writers] == [0] * WRITERS
        kept = Store(path)
        assert sum(len(kept.builds_of_run(f"run{number}")) for number in range(WRITERS)) == WRITERS * BUILDS
        assert {build.number for build in kept.builds_since(99)} == set(range(1, WRITERS * BUILDS + 1))


class TestFile:
    def test_is_closed_to_others_as_is_its_folder(self, kept):
        built(kept, None)
        assert [stat.S_IMODE(path.stat().st_mode) for path in (kept.path.parent, kept.path)] == [0o700, 0o600]

    def test_a_store_of_an_older_version_is_brought_up_to_date_and_keeps_its_builds(self, kept, monkeypatch):
        before = built(kept, image(SIZES))
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE builds ADD COLUMN note TEXT"))
        monkeypatch.setattr(store, "MIGRATIONS", schema.MIGRATIONS)
        assert kept.builds_of_run(before.run) == [before]
        with sqlite3.connect(kept.path) as db:
            assert db.execute("SELECT note FROM builds").fetchall() == [(None,)]

    def test_a_migration_that_fails_leaves_the_store_as_it_was(self, kept, monkeypatch):
        before = built(kept, None)
        wrong = "ALTER TABLE builds ADD COLUMN note TEXT; CREATE TABLE builds (run TEXT)"
        with monkeypatch.context() as patch:
            patch.setattr(store, "MIGRATIONS", (*schema.MIGRATIONS, wrong))
            with pytest.raises(StoreError, match="already exists"):
                kept.newest()
        assert kept.builds_of_run(before.run) == [before]

    def test_a_store_of_a_newer_version_is_refused_and_not_touched(self, kept):
        built(kept, None)
        with sqlite3.connect(kept.path) as db:
            db.execute("PRAGMA user_version = 99")
        with pytest.raises(StoreError, match=r"newer version of this project \(schema 99.*update the project"):
            kept.newest()

    def test_a_file_that_is_no_store_is_named(self, kept):
        kept.path.parent.mkdir()
        kept.path.write_text("no database at all, but long enough to be mistaken for one")
        with pytest.raises(StoreError, match=rf"{kept.path}.*not a database.*remove it"):
            kept.newest()

    def test_what_failed_is_told_where_sqlite_has_undone_it_already(self, kept):
        def fill_the_disk() -> None:
            with kept._open() as db:
                db.execute("ROLLBACK")
                raise sqlite3.OperationalError("database or disk is full")

        with pytest.raises(StoreError, match="disk is full"):
            fill_the_disk()

    def test_a_store_that_fails_is_a_warning_for_the_engine(self, kept, tmp_path, monkeypatch, caplog):
        build = built(kept, None)
        (tmp_path / "cslr").write_text("a file where the folder should be")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        with caplog.at_level(logging.WARNING):
            record_build(build)
        assert build.tag in caplog.text

    def test_the_health_service_is_told_the_last_result_of_each_image(self, kept, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        build = built(kept, None)
        fields = {field.name: getattr(build, field.name) for field in dataclasses.fields(BuildRecord)}
        for image_name, results in (("a", ("failed", "built")), ("b", ("built", "failed"))):
            for result in results:
                record_build(BuildRecord(**{**fields, "subject": subject(image_name), "result": result}))
        told = load(Builds, (tmp_path / "cslr" / "facts" / "builds.json").read_text())
        assert {name: fact.succeeded for name, fact in told.images.items()} == {
            subject("a").title: True,
            subject("b").title: False,
        }
