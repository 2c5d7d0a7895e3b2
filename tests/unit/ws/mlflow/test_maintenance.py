"""`ws mlflow`, with a simulated Docker Engine."""

from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import APIError
from rich.console import Console

from stack.identity import StackIdentity
from ws import inside
from ws.errors import WsError
from ws.mlflow import maintenance as mlflow

DEV = StackIdentity(project="cslr", stack="dev")


@pytest.fixture
def engine(monkeypatch) -> Any:
    """What the program in the container prints, complains of and ends with; what was run is kept."""
    answer = SimpleNamespace(output=[(b"PGDMP", None), (b"rest", None)], code=0, ran=[], error=None)

    def create(container: str, command: list[str]) -> dict[str, str]:
        if answer.error:
            raise answer.error
        answer.ran.append((container, command))
        return {"Id": "1"}

    api = SimpleNamespace(
        exec_create=create,
        exec_start=lambda *_, **__: iter(answer.output),
        exec_inspect=lambda _: {"ExitCode": answer.code},
    )
    monkeypatch.setattr(docker, "from_env", lambda **_: SimpleNamespace(api=api))
    answer.found = [
        SimpleNamespace(service=name, name=f"cslr-dev-{name}", identifier=name, state="running", status="Up")
        for name in ("mlflow", "postgres")
    ]
    monkeypatch.setattr(inside, "containers", lambda _: answer.found)
    return answer


class TestDump:
    def test_is_a_file_of_ones_own(self, engine, tmp_path):
        assert mlflow.database_dump(DEV, tmp_path / "a.dump") == 9
        assert (tmp_path / "a.dump").read_bytes() == b"PGDMPrest"
        assert (tmp_path / "a.dump").stat().st_mode & 0o777 == 0o600
        assert engine.ran[0][0] == "postgres"

    def test_that_failed_leaves_the_one_before(self, engine, tmp_path):
        (tmp_path / "a.dump").write_bytes(b"before")
        engine.code, engine.output = 1, [(b"PG", None), (None, b"pg_dump: error: connection refused\n")]
        with pytest.raises(WsError, match="postgres of stack dev could not do it: pg_dump: error: connection refused"):
            mlflow.database_dump(DEV, tmp_path / "a.dump")
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]

    def test_has_no_password_in_its_command(self, engine, tmp_path):
        mlflow.database_dump(DEV, tmp_path / "a.dump")
        *_, script, database = engine.ran[0][1]
        assert "/run/secrets/postgres-password" in script
        assert database == "mlflow"


class TestGarbageCollection:
    def test_runs_where_the_artifacts_are(self, engine):
        mlflow.garbage_collection(DEV, ["--older-than=30d"], Console(quiet=True))
        assert engine.ran == [
            ("mlflow", ["sh", "/run/cslr/with_python.sh", "/run/cslr/mlflow_server.py", "gc", "--older-than=30d"])
        ]

    def test_failure_is_one_line(self, engine):
        engine.code, engine.output = (
            1,
            [(None, b"Traceback (most recent call last):\n  File\nMlflowException: no run abc\n")],
        )
        with pytest.raises(WsError, match=r"could not do it: MlflowException: no run abc$"):
            mlflow.garbage_collection(DEV, [], Console(quiet=True))


class TestWithoutAContainer:
    @pytest.mark.parametrize(("state", "reason"), [(None, "has no service mlflow"), ("exited", "does not run")])
    def test_is_said(self, engine, state, reason):
        if state is None:
            del engine.found[0]
        else:
            engine.found[0].state = state
        with pytest.raises(WsError, match=reason):
            mlflow.garbage_collection(DEV, [], Console(quiet=True))

    def test_a_refusal_of_docker_is_one_sentence(self, engine):
        engine.error = APIError("409", explanation="container is paused")
        with pytest.raises(WsError, match="cannot run a program: container is paused"):
            mlflow.garbage_collection(DEV, [], Console(quiet=True))
