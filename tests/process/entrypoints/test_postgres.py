"""entrypoints/postgres.sh with a real Postgres: data that it makes, and data that earlier versions made."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from testing.postgres_entrypoint import Entrypoint

SECRETS = {"postgres-password": "a 'password'", "postgres-queue": "of-the-queue"}


@pytest.fixture
def entrypoint(postgres: Path) -> Iterator[Entrypoint]:
    # Not pytest's folder, which others than its owner may not enter; and in memory, since initdb waits for the disk.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        entrypoint = Entrypoint(programs=postgres.resolve().parent, folder=Path(folder, "postgres"))
        entrypoint.prepare(SECRETS)
        yield entrypoint


class TestChecksums:
    QUESTION = "SHOW data_checksums"

    def test_new_data_has_them(self, entrypoint):
        with entrypoint.running() as server:
            assert server.ask("mlflow", SECRETS["postgres-password"], "mlflow", self.QUESTION) == [("on",)]
            assert server.ask("queue", SECRETS["postgres-queue"], "queue", self.QUESTION) == [("on",)]
        entrypoint.run("pg_checksums", "--check", "-D", entrypoint.data / "main")

    def test_earlier_data_is_as_it_was_until_somebody_turns_them_on(self, entrypoint):
        with entrypoint.running():
            pass
        entrypoint.run("pg_checksums", "--disable", "-D", entrypoint.data / "main")
        with entrypoint.running() as server:
            assert server.ask("mlflow", SECRETS["postgres-password"], "mlflow", self.QUESTION) == [("off",)]
        entrypoint.run("pg_checksums", "--enable", "-D", entrypoint.data / "main")
        with entrypoint.running() as server:
            assert server.ask("mlflow", SECRETS["postgres-password"], "mlflow", self.QUESTION) == [("on",)]

    def test_a_damaged_page_is_an_error(self, entrypoint):
        secret = SECRETS["postgres-password"]
        with entrypoint.running() as server, server.connect("mlflow", secret, "mlflow") as session:
            session.execute("CREATE TABLE runs AS SELECT repeat('x', 500) FROM generate_series(1, 99)")
            ((path,),) = session.execute("SELECT pg_relation_filepath('runs')").fetchall()
        file = entrypoint.data / "main" / str(path)
        page = bytearray(file.read_bytes())
        page[4000] ^= 1
        file.write_bytes(page)
        with entrypoint.running() as server, pytest.raises(psycopg.errors.DataCorrupted, match="invalid page"):
            server.ask("mlflow", secret, "mlflow", "SELECT * FROM runs")


class TestStart:
    def test_a_start_that_was_interrupted_leaves_nothing_in_the_way(self, entrypoint):
        unfinished = entrypoint.data / "unfinished"
        unfinished.mkdir()
        entrypoint.give(unfinished)
        (unfinished / "PG_VERSION").write_text("17")
        with entrypoint.running() as server:
            assert server.ask("mlflow", SECRETS["postgres-password"], "mlflow", "SELECT 1") == [(1,)]

    def test_a_password_that_was_replaced_is_the_new_one(self, entrypoint):
        with entrypoint.running():
            pass
        entrypoint.prepare({name: f"new {value}" for name, value in SECRETS.items()})
        with entrypoint.running() as server:
            for user, file in (("mlflow", "postgres-password"), ("queue", "postgres-queue")):
                assert server.ask(user, f"new {SECRETS[file]}", user, "SELECT 1") == [(1,)]
                with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                    server.connect(user, SECRETS[file], user)
