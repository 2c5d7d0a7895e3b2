"""Records of a stack's runs: numbers, bounds, who, and runs whose process has gone."""

import os
import shutil
import stat
import time
from types import SimpleNamespace

import pytest

from contracts.document import load
from contracts.facts import PastRuns
from stack import history
from stack.history import Changed, History, Operation, Outcome, Record, before, first_line, who
from stack.identity import StackIdentity

IDENTITY = StackIdentity(project="cslr", stack="dev")


@pytest.fixture
def kept(tmp_path, monkeypatch) -> History:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return History(IDENTITY)


def record(**values: object) -> Record:
    return Record.model_validate(
        {"operation": "up", "engine": "embedded", "who": "anna", "started": time.time(), "version": "1.0.0", **values}
    )


class TestRecords:
    def test_of_a_stack_that_never_ran_are_none(self, kept):
        assert kept.records() == []
        assert not kept.folder.exists()

    def test_are_numbered_and_read_back_as_they_were(self, kept):
        first, second = kept.begin(record()), kept.begin(record(operation="down"))
        kept.write(first.ended(Outcome.DONE, counts={"create": 3}, files={"Pulumi.dev.yaml": "config: {}\n"}))
        assert [one.number for one in kept.records()] == [first.number, second.number] == [1, 2]
        found = kept.records()[0]
        assert (found.outcome, found.counts, found.process) == (Outcome.DONE, {"create": 3}, None)
        assert found.seconds is not None

    def test_are_private(self, kept):
        kept.begin(record())
        (file,) = kept.folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700

    def test_that_were_removed_meanwhile_stay_away(self, kept):
        begun = kept.begin(record())
        kept.remove(begun)
        kept.write(begun.ended(Outcome.DONE))
        assert kept.records() == []

    def test_of_another_version_or_damaged_are_passed_over_and_named(self, kept):
        kept.begin(record())
        damaged = [kept.folder / f"{number:06}.json" for number in (2, 3, 4)]
        for path, text in zip(damaged, ("{", '{"operation": "teleport"}', ""), strict=True):
            path.write_text(text)
            os.utime(path, (1.7e9, 1.7e9))
        assert [one.number for one in kept.records()] == [1]
        assert kept.unreadable() == damaged
        assert kept.begin(record()).number == 5

    def test_whose_number_was_just_taken_are_not_damaged(self, kept):
        kept.begin(record())
        (kept.folder / "000002.json").touch()
        assert kept.unreadable() == []

    def test_keep_their_numbers_beyond_the_bound(self, kept, monkeypatch):
        monkeypatch.setattr(history, "MOST_RECORDS", 3)
        for _ in range(5):
            kept.begin(record())
        assert [one.number for one in kept.records()] == [3, 4, 5]

    def test_are_bounded_in_bytes_but_for_the_last_deployment(self, kept, monkeypatch):
        monkeypatch.setattr(history, "MOST_BYTES", 3000)
        deployed = kept.begin(record(files={"Pulumi.dev.yaml": "x" * 1000}))
        kept.write(deployed.ended(Outcome.DONE))
        for _ in range(6):
            kept.write(kept.begin(record(files={"Pulumi.dev.yaml": "x" * 1000})).ended(Outcome.FAILED))
        numbers = [one.number for one in kept.records()]
        assert numbers[0] == deployed.number
        assert numbers[-1] == 7
        assert len(numbers) < 4


class TestInterrupted:
    def test_is_a_run_whose_process_has_gone(self, kept):
        kept.begin(record(process=2**22 + 1))
        assert kept.records()[0].outcome is Outcome.INTERRUPTED

    def test_is_one_whose_number_a_later_process_has(self, kept):
        kept.begin(record(process=os.getpid(), started=1.0))
        assert kept.records()[0].outcome is Outcome.INTERRUPTED

    def test_is_none_that_still_runs(self, kept):
        kept.begin(record(process=os.getpid()))
        assert kept.records()[0].outcome is Outcome.RUNNING

    def test_is_no_plain_run_of_pulumi(self, kept):
        kept.begin(record(outcome="unknown"))
        assert kept.records()[0].outcome is Outcome.UNKNOWN


class TestWho:
    @pytest.fixture(autouse=True)
    def users(self, monkeypatch):
        names = {0: "root", 1000: "anna"}
        monkeypatch.setattr("stack.history.pwd.getpwuid", lambda uid: SimpleNamespace(pw_name=names[uid]))
        monkeypatch.setattr(history, "_audited", lambda: "")
        monkeypatch.setattr("stack.history.os.getuid", lambda: 0)

    def test_is_who_called_sudo(self):
        assert who({"SUDO_USER": "anna"}) == "anna (as root)"
        assert who({"DOAS_USER": "anna"}) == "anna (as root)"

    def test_is_who_logged_in_before_su(self, monkeypatch):
        monkeypatch.setattr(history, "_audited", lambda: "anna")
        assert who({}) == "anna (as root)"

    def test_is_the_user_of_the_process_otherwise(self, monkeypatch):
        assert who({}) == "root"
        monkeypatch.setattr("stack.history.os.getuid", lambda: 1000)
        assert who({"SUDO_USER": "anna"}) == "anna"

    def test_without_a_name_is_a_number(self, monkeypatch):
        monkeypatch.setattr("stack.history.os.getuid", lambda: 1234)
        assert who({}) == "1234"


@pytest.mark.parametrize("outcome", ["done", "unknown"])
def test_config_is_compared_with_the_last_run_that_deployed_files(outcome):
    files = {"f": ""}
    up = record(number=1, files=files, outcome=outcome)
    down = record(number=2, operation="down", outcome="done")
    failed = record(number=3, files=files, outcome="failed")
    interrupted = record(number=4, files=files, outcome="interrupted")
    records = [up, down, failed, interrupted, record(number=5, files=files)]
    assert [before(records, number) for number in (5, 3, 1)] == [up, up, None]


def test_an_error_is_kept_without_the_log_that_follows():
    assert first_line("is not healthy\nThe end of its log:\nPASSWORD=x") == "is not healthy"
    assert len(first_line("x" * 5000)) == history.MOST_ERROR
    assert first_line(ValueError()) == "ValueError"


def test_only_successful_deployments_can_be_returned_to():
    assert record(outcome="done").deployed
    assert record(operation=Operation.ROLLBACK, outcome="done").deployed
    assert not record(operation="down", outcome="done").deployed
    assert not record(outcome="failed").deployed


class TestTold:
    """What the health service shows of the last runs."""

    def told(self, kept: History) -> PastRuns:
        return load(PastRuns, (kept.folder.parent / "facts/history.json").read_text())

    def test_is_the_last_five_the_newest_first_as_they_are_now(self, kept):
        for _ in range(6):
            kept.begin(record(outcome="done"))
        running = kept.begin(record(process=os.getpid()))
        assert [(one.number, one.outcome) for one in self.told(kept).runs] == [
            (7, "running"), (6, "done"), (5, "done"), (4, "done"), (3, "done"),
        ]  # fmt: skip
        kept.remove(running)
        assert [one.number for one in self.told(kept).runs] == [6, 5, 4, 3, 2]

    def test_says_who_what_and_how_but_neither_error_nor_files(self, kept):
        begun = kept.begin(record(files={"Pulumi.dev.yaml": "hunter2"}, images={"redis": {"identifier": "sha256:1"}}))
        names = [f"redis-{number}" for number in range(12)]
        changed = [Changed(name=name, kind="container", action="create") for name in names]
        changed.append(Changed(name="mlflow", kind="container", action="update", failed=True))
        ended = begun.ended(Outcome.FAILED, counts={"create": 12}, changed=tuple(changed), error="hunter2: no password")
        kept.write(ended)
        (one,) = self.told(kept).runs
        assert (one.who, one.operation, one.outcome, one.counts) == ("anna", "up", "failed", {"create": 12})
        assert one.changed == tuple(names[:8])
        assert one.failed == ("mlflow",)
        assert "hunter2" not in (kept.folder.parent / "facts/history.json").read_text()

    def test_of_a_killed_run_is_told_anew_when_somebody_reads(self, kept, monkeypatch):
        kept.begin(record(process=os.getpid()))
        monkeypatch.setattr(history, "_lives", lambda _: False)
        kept.tell()
        assert [one.outcome for one in self.told(kept).runs] == ["interrupted"]

    def test_does_not_bring_back_a_folder_that_was_removed(self, kept):
        begun = kept.begin(record())
        shutil.rmtree(kept.folder.parent)
        kept.write(begun.ended(Outcome.DONE))
        kept.remove(begun)
        assert not kept.folder.parent.exists()

    def test_that_cannot_be_written_stops_no_run(self, kept):
        kept.folder.parent.mkdir(parents=True)
        (kept.folder.parent / "facts").touch()
        assert kept.begin(record()).number == 1
