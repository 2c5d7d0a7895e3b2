"""entrypoints/postgres.sh with a real Postgres: data that it makes, and data that earlier versions made."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from testing.postgres_entrypoint import Entrypoint, Server

SUPERUSER = "a 'password'"
SECRETS = {
    "postgres-password": SUPERUSER,
    "postgres-mlflow": "of-mlflow",
    "postgres-queue": "of-the-queue",
    "postgres-monitor": "of-those-who-watch",
}
MLFLOW, QUEUE, MONITOR = (SECRETS[f"postgres-{role}"] for role in ("mlflow", "queue", "monitor"))


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
            assert server.ask("mlflow", MLFLOW, "mlflow", self.QUESTION) == [("on",)]
            assert server.ask("queue", QUEUE, "queue", self.QUESTION) == [("on",)]
        entrypoint.run("pg_checksums", "--check", "-D", entrypoint.data / "main")

    def test_earlier_data_is_as_it_was_until_somebody_turns_them_on(self, entrypoint):
        with entrypoint.running():
            pass
        entrypoint.run("pg_checksums", "--disable", "-D", entrypoint.data / "main")
        with entrypoint.running() as server:
            assert server.ask("mlflow", MLFLOW, "mlflow", self.QUESTION) == [("off",)]
        entrypoint.run("pg_checksums", "--enable", "-D", entrypoint.data / "main")
        with entrypoint.running() as server:
            assert server.ask("mlflow", MLFLOW, "mlflow", self.QUESTION) == [("on",)]

    def test_a_damaged_page_is_an_error(self, entrypoint):
        with entrypoint.running() as server, server.connect("mlflow", MLFLOW, "mlflow") as session:
            session.execute("CREATE TABLE runs AS SELECT repeat('x', 500) FROM generate_series(1, 99)")
            ((path,),) = session.execute("SELECT pg_relation_filepath('runs')").fetchall()
        file = entrypoint.data / "main" / str(path)
        page = bytearray(file.read_bytes())
        page[4000] ^= 1
        file.write_bytes(page)
        with entrypoint.running() as server, pytest.raises(psycopg.errors.DataCorrupted, match="invalid page"):
            server.ask("mlflow", MLFLOW, "mlflow", "SELECT * FROM runs")


class TestStart:
    def test_a_start_that_was_interrupted_leaves_nothing_in_the_way(self, entrypoint):
        unfinished = entrypoint.data / "unfinished"
        unfinished.mkdir()
        entrypoint.give(unfinished)
        (unfinished / "PG_VERSION").write_text("17")
        with entrypoint.running() as server:
            assert server.ask("mlflow", MLFLOW, "mlflow", "SELECT 1") == [(1,)]

    def test_the_pid_of_a_killed_one_may_be_that_of_another_process_now(self, entrypoint):
        """In a container, often that of the entry program itself: PIDs begin anew with each start."""
        with entrypoint.running():
            pass
        with subprocess.Popen(["sleep", "60"], user=entrypoint.user) as other:
            file = entrypoint.data / "main/postmaster.pid"
            file.write_text(f"{other.pid}\n/var/lib/postgresql/data/main\n")
            entrypoint.give(file)
            with entrypoint.running() as server:
                assert server.ask("mlflow", MLFLOW, "mlflow", "SELECT 1") == [(1,)]
            other.kill()

    def test_a_password_that_was_replaced_is_the_new_one(self, entrypoint):
        with entrypoint.running():
            pass
        entrypoint.prepare({name: f"new {value}" for name, value in SECRETS.items()})
        with entrypoint.running() as server:
            for user, file in (("postgres", "postgres-password"), ("mlflow", "postgres-mlflow")):
                assert server.ask(user, f"new {SECRETS[file]}", "mlflow", "SELECT 1") == [(1,)]
                with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                    server.connect(user, SECRETS[file], "mlflow")

    def test_a_password_that_is_missing_is_said(self, entrypoint):
        entrypoint.prepare({"postgres-password": SUPERUSER})
        assert "secrets/postgres-mlflow is missing" in entrypoint.fails()
        assert not (entrypoint.data / "main").exists()


ROLES = "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1"
OWNERS = "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate ORDER BY 1"
EXPECTED_ROLES = [
    ("mlflow", False, False, False),
    ("monitor", False, False, False),
    ("postgres", True, True, True),
    ("queue", False, False, False),
]
EXPECTED_OWNERS = [("mlflow", "mlflow"), ("postgres", "postgres"), ("queue", "queue")]
# As MLflow's and the queue's, and as people's who knew the password of `mlflow`.
OF_BEFORE = """\
CREATE SCHEMA lab;
CREATE TABLE runs (run_uuid text PRIMARY KEY, name text);
CREATE TABLE metrics (id serial PRIMARY KEY, number int GENERATED ALWAYS AS IDENTITY, v float);
ALTER TABLE metrics ADD COLUMN run_uuid text REFERENCES runs;
CREATE TABLE lab.parts (n int) PARTITION BY RANGE (n);
CREATE TABLE lab.part PARTITION OF lab.parts FOR VALUES FROM (0) TO (10);
CREATE INDEX ON metrics (v);
CREATE SEQUENCE lab."Free one";
CREATE VIEW lab.best AS SELECT max(v) FROM metrics;
CREATE MATERIALIZED VIEW lab.kept AS SELECT count(*) FROM metrics;
CREATE TYPE lab.state AS ENUM ('a', 'b');
CREATE TYPE lab.pair AS (a int, b lab.state);
CREATE DOMAIN lab.positive AS int CHECK (VALUE > 0);
CREATE FUNCTION lab.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
CREATE AGGREGATE lab.longest(int) (SFUNC = int4larger, STYPE = int);
CREATE EXTENSION pg_trgm;
SELECT lo_create(4711);
INSERT INTO runs SELECT 'run ' || n, 'name ' || n FROM generate_series(1, 500) n;
INSERT INTO metrics (run_uuid, v) SELECT 'run ' || n, n FROM generate_series(1, 500) n;
"""
OF_SUPERUSER = """\
WITH place AS (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'lab')),
own AS (
    SELECT relname AS name, oid FROM pg_class WHERE relowner = 10 AND relnamespace IN (TABLE place)
    UNION ALL SELECT nspname, oid FROM pg_namespace WHERE nspowner = 10 AND oid IN (TABLE place)
    UNION ALL SELECT typname, coalesce(nullif(typelem, 0), oid) FROM pg_type
        WHERE typowner = 10 AND typnamespace IN (TABLE place)
    UNION ALL SELECT proname, oid FROM pg_proc WHERE proowner = 10 AND pronamespace IN (TABLE place)
    UNION ALL SELECT 'large object', oid FROM pg_largeobject_metadata WHERE lomowner = 10
)
SELECT name FROM own WHERE oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e')
"""


class TestRoles:
    def test_of_new_data_are_one_superuser_and_others_that_own_a_database_each(self, entrypoint):
        with entrypoint.running() as server:
            assert server.ask("postgres", SUPERUSER, "postgres", ROLES) == EXPECTED_ROLES
            assert server.ask("postgres", SUPERUSER, "postgres", OWNERS) == EXPECTED_OWNERS

    def test_of_mlflow_cannot_do_what_a_superuser_can(self, entrypoint):
        with entrypoint.running() as server:
            for forbidden in (
                "COPY (SELECT 1) TO PROGRAM 'true'",
                "SELECT pg_read_file('/etc/passwd')",
                "ALTER ROLE queue PASSWORD 'x'",
                "SET ROLE postgres",
                "CREATE ROLE mine",
                "DROP DATABASE queue",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    server.ask("mlflow", MLFLOW, "mlflow", forbidden)

    def test_of_monitor_sees_figures_and_no_rows(self, entrypoint):
        with entrypoint.running() as server:
            with server.connect("mlflow", MLFLOW, "mlflow") as session:
                session.execute("CREATE TABLE runs (name text)")
                (found,) = server.ask(
                    "monitor", MONITOR, "mlflow", "SELECT query FROM pg_stat_activity WHERE usename = 'mlflow'"
                )
                assert found == ("CREATE TABLE runs (name text)",)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                server.ask("monitor", MONITOR, "mlflow", "SELECT * FROM runs")


def made_before(entrypoint: Entrypoint) -> None:
    """Data as the version before made it, where `mlflow` was the superuser."""
    own = {"postgres-password": SUPERUSER, "postgres-queue": QUEUE}
    entrypoint.prepare(own)
    data = entrypoint.data / "main"
    entrypoint.run("initdb", "-D", data, "-U", "mlflow", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
                   "--auth=scram-sha-256", "--pwfile", entrypoint.folder / "secrets/postgres-password")  # fmt: skip
    with (data / "pg_hba.conf").open("a") as file:
        file.write("host all all all scram-sha-256\n")
    made = "CREATE DATABASE mlflow;\nCREATE ROLE queue LOGIN PASSWORD '{}';\nCREATE DATABASE queue OWNER queue;\n"
    alone(entrypoint, "postgres", made.format(QUEUE))
    alone(entrypoint, "mlflow", OF_BEFORE)
    alone(entrypoint, "queue", "SET ROLE queue;\nCREATE TABLE jobs AS SELECT 1 AS n;\n")
    entrypoint.prepare(SECRETS)


def alone(entrypoint: Entrypoint, database: str, statements: str) -> str:
    """What Postgres says, while no server runs, to statements of a line each."""
    options = ("--single", "-F", "-c", "exit_on_error=on", "-D", entrypoint.data / "main", database)
    return entrypoint.run("postgres", *options, text=statements)


class TestDataOfBefore:
    def test_goes_to_the_roles_and_nothing_is_lost(self, entrypoint):
        made_before(entrypoint)
        assert alone(entrypoint, "mlflow", OF_SUPERUSER.replace("\n", " ")).count(' = "') > 20
        for _ in range(2):  # the second time nothing is left to do
            with entrypoint.running() as server:
                assert server.ask("postgres", SUPERUSER, "postgres", ROLES) == EXPECTED_ROLES
                assert server.ask("postgres", SUPERUSER, "postgres", OWNERS) == EXPECTED_OWNERS
                assert server.ask("postgres", SUPERUSER, "mlflow", OF_SUPERUSER) == []
                count = "SELECT count(*), sum(v) FROM runs JOIN metrics USING (run_uuid)"
                assert server.ask("mlflow", MLFLOW, "mlflow", count) == [(500, 125250.0)]
                assert server.ask("queue", QUEUE, "queue", "SELECT n FROM jobs") == [(1,)]

    def test_is_mlflows_to_change(self, entrypoint):
        made_before(entrypoint)
        with entrypoint.running() as server, server.connect("mlflow", MLFLOW, "mlflow") as session:
            session.execute("ALTER TABLE runs ADD COLUMN more int")
            session.execute("DROP SCHEMA lab CASCADE")
            session.execute("INSERT INTO metrics (run_uuid, v) VALUES ('run 1', 1)")
            assert session.execute("SELECT id, number FROM metrics ORDER BY id DESC LIMIT 1").fetchall() == [(501, 501)]
            session.execute("DROP TABLE metrics, runs")

    def test_the_former_password_no_longer_opens_mlflows(self, entrypoint):
        made_before(entrypoint)
        with (
            entrypoint.running() as server,
            pytest.raises(psycopg.OperationalError, match="password authentication failed"),
        ):
            server.connect("mlflow", SUPERUSER, "mlflow")

    def test_is_handed_over_whole_where_a_start_was_killed(self, entrypoint):
        """At each of its steps, and some of them in the middle."""
        made_before(entrypoint)
        for milliseconds in range(100, 2000, 150):
            entrypoint.killed_after(milliseconds / 1000)
        with entrypoint.running() as server:
            assert server.ask("postgres", SUPERUSER, "postgres", ROLES) == EXPECTED_ROLES
            assert server.ask("postgres", SUPERUSER, "postgres", OWNERS) == EXPECTED_OWNERS
            assert server.ask("postgres", SUPERUSER, "mlflow", OF_SUPERUSER) == []

    def test_with_a_role_of_somebody_that_has_the_superusers_name_is_not_changed(self, entrypoint):
        made_before(entrypoint)
        alone(entrypoint, "postgres", "CREATE ROLE postgres;\n")
        said = entrypoint.fails()
        assert 'role "postgres" already exists' in said
        assert "the roles and passwords could not be set" in said


class TestAnotherVersion:
    """There is one Postgres here: data is said to be of an earlier one."""

    FORMER = "9"
    QUESTION = "SELECT count(*), sum(n) FROM runs"

    @pytest.fixture
    def dumped(self, entrypoint):
        with entrypoint.running() as server:
            self.add(server, 1000)
        entrypoint.dump()
        return entrypoint

    @staticmethod
    def add(server: Server, rows: int) -> None:
        with server.connect("mlflow", MLFLOW, "mlflow") as session:
            session.execute("CREATE TABLE IF NOT EXISTS runs (n int)")
            session.execute("INSERT INTO runs SELECT generate_series(1, %s)", [rows])

    def of_former_version(self, entrypoint: Entrypoint) -> None:
        (entrypoint.data / "main/PG_VERSION").write_text(f"{self.FORMER}\n")

    def test_begins_with_the_dump_and_the_former_data_is_kept(self, dumped):
        self.of_former_version(dumped)
        for _ in range(2):
            with dumped.running() as server:
                assert server.ask("mlflow", MLFLOW, "mlflow", self.QUESTION) == [(1000, 500500)]
                assert server.ask("postgres", SUPERUSER, "postgres", ROLES) == EXPECTED_ROLES
                assert server.ask("postgres", SUPERUSER, "postgres", "SHOW data_checksums") == [("on",)]
        assert {path.name for path in dumped.data.iterdir()} == {"main", f"main-{self.FORMER}", "lock"}

    def test_has_the_superusers_present_password(self, dumped):
        self.of_former_version(dumped)
        dumped.prepare({**SECRETS, "postgres-password": "another"})
        with dumped.running() as server:
            assert server.ask("postgres", "another", "mlflow", self.QUESTION) == [(1000, 500500)]

    def test_is_refused_without_a_dump(self, entrypoint):
        with entrypoint.running():
            pass
        self.of_former_version(entrypoint)
        said = entrypoint.fails()
        assert f"was written by Postgres {self.FORMER}" in said
        assert "ws postgres upgrade" in said

    def test_does_not_count_where_the_same_one_has_written_since(self, dumped):
        with dumped.running() as server:
            self.add(server, 1)
        self.of_former_version(dumped)
        assert "was written by" in dumped.fails()

    def test_loses_nothing_where_its_first_start_is_killed(self, dumped):
        self.of_former_version(dumped)
        for milliseconds in range(100, 3000, 400):
            dumped.killed_after(milliseconds / 1000)
        with dumped.running() as server:
            assert server.ask("mlflow", MLFLOW, "mlflow", self.QUESTION) == [(1000, 500500)]

    def test_a_dump_that_cannot_be_restored_leaves_the_data_alone(self, dumped):
        self.of_former_version(dumped)
        file = dumped.data / "upgrade.sql"
        whole = file.read_text()
        for damaged in (whole.replace("CREATE TABLE public.runs", "CREATE TABEL public.runs"), whole[:-2000]):
            file.write_text(damaged)
            assert "could not be restored" in dumped.fails()
        assert (dumped.data / "main/PG_VERSION").read_text() == f"{self.FORMER}\n"


def test_two_at_once_are_refused(entrypoint):
    with entrypoint.running() as server:
        assert "another Postgres runs on" in entrypoint.fails()
        assert server.ask("mlflow", MLFLOW, "mlflow", "SELECT 1") == [(1,)]
