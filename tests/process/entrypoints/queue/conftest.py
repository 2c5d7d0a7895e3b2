"""A real Postgres, and a stand-in for Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from testing.postgres_server import PASSWORD, Postgres, running_postgres
from testing.ray_jobs_api import FakeRay


@pytest.fixture(scope="session")
def database_server(postgres: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One server for all tests."""
    # Not pytest's folder, which others than its owner may not enter.
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with running_postgres(postgres, Path(folder, "postgres")) as server:
            yield server


@pytest.fixture
def database(database_server: Postgres) -> Postgres:
    """The server, without any table."""
    with psycopg.connect(database_server.database, password=PASSWORD, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return database_server


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    """A cluster of one node with four CPUs."""
    cluster = FakeRay()
    yield cluster
    cluster.close()
