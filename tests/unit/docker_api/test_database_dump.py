"""What is kept of MLflow's database before an image changes, with a simulated Docker Engine."""

import tarfile
import time
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from components.database_dump import IMAGE
from docker_api import database_dump
from docker_api.database_dump import COUNT_TABLES, DUMP, KEPT, keep, main
from testing.harness import COMMAND, deploy


class Engine:
    """Answers each program that runs in the container of Postgres."""

    def __init__(self, state: str | None = "running", tables: bytes = b"40\n", code: int = 0) -> None:
        self._answers = {COUNT_TABLES: tables, DUMP: b"PGDMP..."}
        self._state, self._code = state, code
        self._ran: list[str] = []
        self.containers = self.api = self

    def get(self, name: str) -> Any:
        if self._state is None:
            raise docker.errors.NotFound(name)
        return SimpleNamespace(status=self._state)

    def exec_create(self, _: str, command: list[str]) -> dict[str, str]:
        self._ran.append(command[2])
        return {"Id": "1"}

    def exec_start(self, *_: Any, **__: Any) -> Any:
        complaint = b"pg_dump: error: no space left\n" if self._code else None
        return iter([(self._answers[self._ran[-1]], complaint)])

    def exec_inspect(self, _: str) -> dict[str, int]:
        return {"ExitCode": self._code}


class TestProgram:
    """Docker notes the end of a program a moment after its output has ended."""

    def test_is_waited_for(self, monkeypatch):
        engine: Any = Engine()
        codes = iter([None, None, 3])
        monkeypatch.setattr(engine, "exec_inspect", lambda _: {"ExitCode": next(codes)})
        monkeypatch.setattr(time, "sleep", lambda _: None)
        with pytest.raises(database_dump.DumpError, match="exit code 3"):
            list(database_dump.output(engine, "c", ["sh", "-c", DUMP]))

    def test_whose_end_is_unknown_has_not_succeeded(self, monkeypatch):
        engine: Any = Engine()
        monkeypatch.setattr(engine, "exec_inspect", lambda _: {"ExitCode": None})
        monkeypatch.setattr(database_dump, "EXIT_SECONDS", 0.0)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        with pytest.raises(database_dump.DumpError, match="end is unknown"):
            list(database_dump.output(engine, "c", ["sh", "-c", DUMP]))


class TestKeep:
    def test_is_a_file_that_only_its_owner_reads(self, tmp_path):
        engine: Any = Engine()
        file = Path(keep(engine, "cslr-dev-postgres", tmp_path / "dumps", "mlflow"))
        assert file.name.endswith("Z-before-mlflow.dump")
        assert file.read_bytes() == b"PGDMP..."
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize(
        ("engine", "said"),
        [
            (Engine(None), "there is no database yet"),
            (Engine("exited"), "cslr-dev-postgres does not run"),
            (Engine(tables=b"0\n"), "has no tables yet"),
        ],
    )
    def test_is_nothing_where_there_is_nothing(self, tmp_path, engine, said):
        assert said in keep(engine, "cslr-dev-postgres", tmp_path / "dumps", "mlflow")
        assert not (tmp_path / "dumps").exists()

    def test_the_newest_stay(self, tmp_path):
        engine: Any = Engine()
        old = [tmp_path / f"2026-01-0{day}T000000Z-before-mlflow.dump" for day in range(1, KEPT + 3)]
        for file in old:
            file.touch()
        new = Path(keep(engine, "cslr-dev-postgres", tmp_path, "mlflow"))
        assert set(tmp_path.iterdir()) == {*old[-KEPT + 1 :], new}

    def test_a_failure_leaves_no_file_and_says_why(self, tmp_path, monkeypatch, capsys):
        engine = Engine(code=1)
        monkeypatch.setattr(docker, "from_env", lambda **_: engine)
        assert main(["cslr-dev-postgres", str(tmp_path), "mlflow"]) == 1
        assert "before mlflow changes: pg_dump: error: no space left" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


def test_a_dump_to_restore_is_sent_in_parts(tmp_path):
    file = tmp_path / "runs.dump"
    content = b"PGDMP" + bytes(range(256)) * 10_000
    file.write_bytes(content)
    sent: list[bytes] = []
    container = SimpleNamespace(
        attrs={"Config": {"User": "1000:1001"}}, put_archive=lambda _, parts: sent.extend(parts)
    )
    engine: Any = Engine()
    engine.get = lambda _: container
    engine.exec_start = lambda *_, **__: iter(())
    database_dump.restore(engine, "cslr-dev-postgres", file)
    assert len(sent) > 3
    with tarfile.open(fileobj=BytesIO(b"".join(sent))) as archive:
        (member,) = archive.getmembers()
        assert (member.uid, member.gid, member.mode) == (1000, 1001, 0o600)
        unpacked = archive.extractfile(member)
        assert unpacked
        assert unpacked.read() == content


class TestQueue:
    """Its database, beside MLflow's."""

    def test_is_kept_in_a_folder_of_its_own(self, tmp_path):
        engine: Any = Engine()
        file = Path(keep(engine, "cslr-dev-postgres", tmp_path, "queue", "queue"))
        assert file.parent == tmp_path / "queue"
        assert file.name.endswith("Z-before-queue.dump")

    @pytest.mark.parametrize(("what", "folders"), [("postgres", {"", "queue"}), ("queue", {"queue"}), ("mlflow", {""})])
    def test_is_kept_with_what_uses_it(self, tmp_path, monkeypatch, what, folders):
        monkeypatch.setattr(docker, "from_env", lambda **_: Engine())
        assert main(["cslr-dev-postgres", str(tmp_path), what]) == 0
        kept = {str(file.parent.relative_to(tmp_path)) for file in tmp_path.rglob("*.dump")}
        assert kept == {folder or "." for folder in folders}


@pytest.mark.parametrize("settings", [{}, {"queue": {"enabled": True, "users": {"anna": {}}}}])
def test_is_kept_before_an_image_changes(tmp_path, settings):
    program = deploy(settings, state_home=tmp_path)
    commands = program.of_type(COMMAND)
    users = ("mlflow", *settings)
    for service in ("postgres", *users):
        container = program.containers[service]
        assert f"{service}-dump" in program.needs(container)
        assert commands[f"{service}-dump"].inputs["environment"][IMAGE] == container.inputs["image"]
    # Of the Postgres that runs before; of the new one, which is healthy, for those that use it.
    for user in users:
        assert "postgres-container" in program.needs(commands[f"{user}-dump"])
    assert "postgres-container" not in program.needs(commands["postgres-dump"])
