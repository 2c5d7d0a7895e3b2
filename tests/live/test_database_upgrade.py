"""A newer MLflow over the tables of an older one, and what is kept before: a stack of Postgres and MLflow."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.live.deployment import LiveStack, deployed, done, wait_until

pytestmark = pytest.mark.live

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-upgrade", "subnet": "10.237.0.0/24"},
    **{name: {"enabled": False} for name in ("redis", "marimo", "health", "keeper")},
    "ray": {"cpu": {"enabled": False}},
    "postgres": {"port": None},
    "mlflow": {"port": 25237},
}
# Makes the tables as an MLflow made them that did not know its last two migrations yet, with an experiment in them.
OLDER = """
import os, pathlib, mlflow, sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
url = "postgresql+psycopg2://mlflow@postgres:5432/mlflow"
engine = sqlalchemy.create_engine(url)
with engine.begin() as connection:
    connection.execute(sqlalchemy.text("DROP SCHEMA public CASCADE"))
    connection.execute(sqlalchemy.text("CREATE SCHEMA public"))
Base.metadata.create_all(engine)
config = _get_alembic_config(url)
revisions = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, revisions[2])
    connection.execute(sqlalchemy.text(
        "INSERT INTO experiments (name, artifact_location, lifecycle_stage)"
        " VALUES ('of-before', 'mlflow-artifacts:/7', 'active')"
    ))
print(revisions[2])
"""
ASK = """
import mlflow
mlflow.set_tracking_uri("http://127.0.0.1:5000")
print(sorted(one.name for one in mlflow.search_experiments() if one.name != "cslr-verification"))
"""


# Runs a statement as the queue does, which this stack does not have; its database is there all the same.
AS_QUEUE = (
    "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGPASSWORD=$(cat /run/secrets/postgres-queue) "
    'psql -h 127.0.0.1 -U queue -d queue -c "$0"'
)


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed("live-upgrade", SETTINGS, tmp_path_factory.mktemp("upgrade")) as stack:
        yield stack


def dumps(stack: LiveStack) -> list[Path]:
    return sorted((stack.state / "dumps").glob("*.dump"))


def python(stack: LiveStack, program: str) -> str:
    """Runs a program in the container of MLflow, with its access to Postgres; returns its last line."""
    code, said = stack.exec("mlflow", "sh", "-c", 'PGPASSFILE=/tmp/mlflow.pgpass exec python -c "$0"', program)
    assert code == 0, said
    return said.splitlines()[-1] if said else ""


def log_says(stack: LiveStack, text: str) -> bool:
    return text in stack.container("mlflow").logs().decode(errors="replace")


def next_image(stack: LiveStack, service: str) -> None:
    """Another image of a service, as a new version has one."""
    file = stack.folder / "images" / service / "Dockerfile"
    file.write_text(f'{file.read_text()}LABEL org.example.next="{time.time_ns()}"\n')


def test_a_new_database_is_not_kept(stack):
    assert dumps(stack) == []


def test_the_database_is_kept_before_another_mlflow_uses_it(stack):
    python(stack, "import mlflow; mlflow.set_tracking_uri('http://127.0.0.1:5000'); mlflow.create_experiment('mine')")
    next_image(stack, "mlflow")
    done_now = stack.ws("up", "--engine", "embedded", "--yes")
    assert done_now.returncode == 0, done_now.stdout
    (dump,) = dumps(stack)
    assert dump.name.endswith("-before-mlflow.dump")
    assert dump.read_bytes().startswith(b"PGDMP")
    assert dump.stat().st_mode & 0o777 == 0o600
    assert str(dump) in done_now.stdout.replace("\n", "")
    assert done(stack.up()) == {}


def test_both_databases_are_kept_before_another_postgres_serves_them(stack):
    assert not (stack.state / "dumps" / "queue").exists()  # it had no tables
    code, said = stack.exec("postgres", "sh", "-c", AS_QUEUE, "CREATE TABLE job AS SELECT 1 AS id")
    assert code == 0, said
    next_image(stack, "postgres")
    assert done(stack.up())["postgres-dump"] == "update"
    assert dumps(stack)[-1].name.endswith("-before-postgres.dump")
    (queue,) = (stack.state / "dumps" / "queue").iterdir()
    assert queue.read_bytes().startswith(b"PGDMP")
    assert "'mine'" in python(stack, ASK)


def test_tables_of_an_older_mlflow_are_brought_up_to_date_with_what_is_in_them(stack):
    revision = python(stack, OLDER)
    stack.container("mlflow").restart(timeout=20)
    wait_until(lambda: log_says(stack, f"older MLflow (schema {revision})"), "the upgrade")
    wait_until(lambda: stack.unhealthy() == {}, "MLflow is healthy", 120)
    assert python(stack, ASK) == "['Default', 'of-before']"
    assert log_says(stack, "the tables are up to date")


def test_a_dump_brings_back_what_was_there(stack):
    first, *_ = dumps(stack)
    restored = stack.ws("mlflow", "restore", str(first), "--yes")
    assert restored.returncode == 0, restored.stdout
    wait_until(lambda: stack.unhealthy() == {}, "MLflow is healthy", 120)
    assert python(stack, ASK) == "['Default', 'mine']"
    assert dumps(stack)[-1].name.endswith("-before-restore.dump")


def test_a_damaged_dump_changes_nothing(stack, tmp_path):
    damaged = tmp_path / "damaged.dump"
    damaged.write_bytes(dumps(stack)[0].read_bytes()[:2000])
    refused = stack.ws("mlflow", "restore", str(damaged), "--yes")
    assert refused.returncode == 1
    assert "was not restored; the database is as it was" in refused.stdout.replace("\n", " ")
    wait_until(lambda: stack.unhealthy() == {}, "MLflow is healthy", 120)
    assert python(stack, ASK) == "['Default', 'mine']"


def test_a_newer_postgres_has_everything_after_one_command(stack):
    former = stack.container("postgres").image.tags[0]
    newer = {"postgres": {"port": None, "version": 18}}
    stack.configure(newer)
    refused = stack.ws("up", "--engine", "embedded", "--yes")
    assert refused.returncode == 1
    assert "18 does not read the data of Postgres 17" in refused.stdout
    upgraded = stack.ws("postgres", "upgrade", "--yes")
    assert upgraded.returncode == 0, upgraded.stdout
    assert python(stack, ASK) == "['Default', 'mine']"
    code, said = stack.exec("postgres", "sh", "-c", AS_QUEUE, "SELECT * FROM job")
    assert (code, "(1 row)" in said) == (0, True), said
    assert stack.exec("postgres", "cat", "/var/lib/postgresql/data/main/PG_VERSION")[1].strip() == "18"
    assert "Nothing to do" in stack.ws("postgres", "upgrade", "--yes").stdout
    stack.configure({"postgres": {"port": None, "image": {"source": "pull", "reference": former}}})
    refused = stack.ws("up", "--engine", "embedded", "--yes")
    assert refused.returncode == 1
    assert "the image's Postgres 17 does not read the data of Postgres 18" in " ".join(refused.stdout.split())
    stack.configure(newer)


def test_tables_of_a_newer_mlflow_are_refused_and_stay(stack):
    newer = "UPDATE alembic_version SET version_num = 'ffffffffffff'"
    code, said = stack.exec(
        "postgres", "sh", "-c",
        "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGPASSWORD=$(cat /run/secrets/postgres-password) "
        'psql -h 127.0.0.1 -U postgres -d mlflow -c "$0"', newer,
    )  # fmt: skip
    assert code == 0, said
    stack.container("mlflow").restart(timeout=20)
    wait_until(lambda: log_says(stack, "of a newer MLflow (schema ffffffffffff)"), "a refusal")
