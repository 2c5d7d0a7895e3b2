"""Keys of MLflow's gateway in a real Postgres: whatever wrapped them, the stack's own opens them after a start.

MLflow is not installed here: of its module only the interface stands in. tests/live/test_backup.py has MLflow itself.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from entrypoints.mlflow_gateway import wrap_again
from testing.client_servers import HOST
from testing.postgres_entrypoint import Entrypoint, Server

MLFLOW = "of-mlflow"
SECRETS = {"postgres-password": "of-the-superuser", "postgres-mlflow": MLFLOW, "postgres-monitor": "of-those-who-watch"}
TABLE = "CREATE TABLE secrets (secret_id text, secret_name text, wrapped_dek bytea, kek_version int)"
PUBLISHED = "published"


class ClosedError(Exception):
    """As `MlflowException`."""


class Manager:
    """A key for each passphrase and version."""

    def __init__(self, *, passphrase: str, kek_version: int) -> None:
        self.key = f"{passphrase}/{kek_version}:".encode()

    def get_kek(self) -> bytes:
        return self.key


def unwrap(wrapped: bytes, key: bytes) -> bytes:
    if not wrapped.startswith(key):
        raise ClosedError
    return wrapped.removeprefix(key)


@pytest.fixture(scope="module")
def running(postgres: Path) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        entrypoint = Entrypoint(programs=postgres.resolve().parent, folder=Path(folder, "postgres"))
        entrypoint.prepare(SECRETS)
        with entrypoint.running() as server:
            yield server


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    crypto = SimpleNamespace(
        DEFAULT_KEK_PASSPHRASE=PUBLISHED,
        KEKManager=Manager,
        MlflowException=ClosedError,
        unwrap_dek=unwrap,
        wrap_dek=lambda plain, key: key + plain,
    )
    monkeypatch.setitem(sys.modules, "mlflow.utils.crypto", crypto)
    monkeypatch.setenv("PGPASSWORD", MLFLOW)
    with running.connect("mlflow", MLFLOW, "mlflow") as session:
        session.execute("DROP TABLE IF EXISTS secrets")
    return running


def started(server: Server, *known: str, version: int = 1) -> tuple[int, list[str]]:
    return wrap_again("psycopg", f"mlflow@{HOST}:{server.port}/mlflow", list(known), version)


def fill(server: Server, **wrapped: str) -> None:
    with server.connect("mlflow", MLFLOW, "mlflow") as session:
        session.execute(TABLE)
        for name, key in wrapped.items():
            value = f"{key}:dek of {name}".encode()
            session.execute("INSERT INTO secrets VALUES (%s, %s, %s, %s)", (name, name, value, int(key[-1])))


def found(server: Server) -> dict[object, object]:
    rows = server.ask("mlflow", MLFLOW, "mlflow", "SELECT secret_name, convert_from(wrapped_dek, 'UTF8') FROM secrets")
    return {row[0]: row[1] for row in rows}


def test_a_new_database_has_nothing_to_wrap(server):
    assert started(server, "new") == (0, [])
    fill(server)
    assert started(server, "new") == (0, [])


def test_all_that_a_known_key_opens_is_wrapped_with_the_stacks_own_and_once(server):
    fill(server, a="published/1", b="former/1", c="older/2", d="new/1")
    assert started(server, "new", "former", "older") == (3, [])
    assert found(server) == {name: f"new/1:dek of {name}" for name in "abcd"}
    assert started(server, "new", "former", "older") == (0, [])


def test_what_no_key_opens_is_named_and_stays(server):
    fill(server, a="lost/1", b="former/1")
    assert started(server, "new", "former") == (1, ["a"])
    assert found(server) == {"a": "lost/1:dek of a", "b": "new/1:dek of b"}


def test_a_rotation_that_never_started_loses_nothing(server):
    fill(server, a="first/1")
    assert started(server, "third", "second", "first") == (1, [])
    assert found(server) == {"a": "third/1:dek of a"}


def test_a_failure_on_the_way_changes_nothing(server, monkeypatch):
    fill(server, a="former/1", b="former/1")
    wrapped: list[bytes] = []

    def failing(plain: bytes, key: bytes) -> bytes:
        wrapped.append(plain)
        if len(wrapped) > 1:
            raise OSError("no")
        return key + plain

    monkeypatch.setattr(sys.modules["mlflow.utils.crypto"], "wrap_dek", failing)
    with pytest.raises(OSError, match="no"):
        started(server, "new", "former")
    assert found(server) == {name: f"former/1:dek of {name}" for name in "ab"}
