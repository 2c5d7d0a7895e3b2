"""A restore drill: real work on a small stack, a backup, everything destroyed, and a restore under another name.

Backups and restores are killed on the way; the same command then completes them. In the order of this file.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.breakable_link import Link, breakable
from testing.live.deployment import LiveStack, deployed, wait_until
from testing.live.killed_restic import VARIABLE, killing_restic
from testing.s3_server import Server, serving
from ws.backup.throw_away import LABEL, PART

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which alone may read Docker's volumes"),
]

# Without Ray and the queue, whose deployments take a minute each: the queue's database is there all the same.
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-backup", "subnet": "10.246.0.0/24"},
    "ray": {"cpu": {"enabled": False}},
    **{name: {"enabled": False} for name in ("redis", "health", "keeper")},
    "postgres": {"port": None},
    "mlflow": {"port": 25246},
    "marimo": {"port": 25247},
}
COPY = "live-backup-copy"
KILLED = -9
ARTIFACT = os.urandom(3_000_000)
NOTEBOOK = "import marimo\n\napp = marimo.App()\n"
MLFLOW = f"http://127.0.0.1:{SETTINGS['mlflow']['port']}"
KEY = "$(head -n 1 /run/secrets/mlflow-gateway-key)"
# What MLflow's gateway uses of a secret that somebody entered, which its interface never shows.
GATEWAY = f"""\
export PGPASSFILE=/tmp/mlflow.pgpass MLFLOW_CRYPTO_KEK_PASSPHRASE={KEY}
exec /opt/venv/bin/python -W ignore -c '
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
store = SqlAlchemyStore("postgresql+psycopg2://mlflow@postgres:5432/mlflow", "/tmp/none")
print([store._get_decrypted_secret(one.secret_id) for one in store.list_secret_infos()])
'
"""
API_KEY = {"api_key": "sk-of-a-provider"}
PSQL = (
    "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGPASSWORD=$(cat /run/secrets/postgres-queue) "
    'psql --host=127.0.0.1 --username=queue --dbname=queue --tuples-only --no-align --command="$0"'
)


@dataclass(kw_only=True)
class Drill:
    """The stack that is destroyed, what was done in it, and its restored copy."""

    stack: LiveStack
    copy: LiveStack
    work: dict[str, Any]
    repository: tuple[str, ...]  # options that find it when nothing else is left
    password: Path  # a copy of the repository's


@dataclass(frozen=True, kw_only=True)
class S3:
    """A bucket elsewhere, which the stack reaches by a link that breaks."""

    server: Server
    link: Link


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with serving(tmp_path_factory.mktemp("s3")) as server, breakable(server.port) as link:
        yield S3(server=server.by(link.port), link=link)


@pytest.fixture(scope="module")
def drill(docker_engine: None, restic: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    at = tmp_path_factory.mktemp("backup")
    kept = at / "kept"
    kept.mkdir()
    settings = {**SETTINGS, "backup": {"repository": str(kept / "repository")}}
    with deployed("live-backup", settings, at) as stack:
        stack.variables["PATH"] = f"{killing_restic(restic, at / 'bin')}:{os.environ['PATH']}"
        copy = replace(stack, name=COPY)
        copy.remove()
        password = kept / "password"
        options = ("--repository", str(kept / "repository"), "--password-file", str(password))
        try:
            yield Drill(stack=stack, copy=copy, work=worked(stack), repository=options, password=password)
        finally:
            copy.remove()


def worked(stack: LiveStack) -> dict[str, Any]:
    """Does what people do; returns what a restored stack must show of it."""
    with httpx.Client(base_url=f"{MLFLOW}/api/2.0", timeout=30) as mlflow:
        experiment = answer(mlflow.post("/mlflow/experiments/create", json={"name": "drill"}))["experiment_id"]
        run = answer(mlflow.post("/mlflow/runs/create", json={"experiment_id": experiment, "start_time": 1}))
        name = run["run"]["info"]["run_id"]
        metrics = [{"key": "loss", "value": 1 / (step + 1), "timestamp": step, "step": step} for step in range(200)]
        parameters = [{"key": "rate", "value": "0.1"}]
        answer(mlflow.post("/mlflow/runs/log-batch", json={"run_id": name, "metrics": metrics, "params": parameters}))
        place = f"/mlflow-artifacts/artifacts/{experiment}/{name}/artifacts/weights.bin"
        answer(mlflow.put(place, content=ARTIFACT))
        secret = {"secret_name": "provider", "secret_value": API_KEY, "provider": "openai"}
        answer(mlflow.post(f"{MLFLOW}/api/3.0/mlflow/gateway/secrets/create", json=secret))
    write = (
        f"umask 077; printf '%s' '{NOTEBOOK}' > /workspace/notebooks/mine.py; ln -s missing ~/link; echo 7 > ~/results"
    )
    code, said = stack.exec("marimo", "sh", "-c", write)
    assert code == 0, said
    jobs = "CREATE TABLE job AS SELECT n, md5(n::text) AS id FROM generate_series(1, 1000) n"
    code, said = stack.exec("postgres", "sh", "-c", PSQL, jobs)
    assert code == 0, said
    return {"run": name, "artifact": place, "seen": seen(stack, name, place)}


def seen(stack: LiveStack, run: str, artifact: str) -> Mapping[str, Any]:
    """What a stack shows of the work."""
    with httpx.Client(base_url=f"{MLFLOW}/api/2.0", timeout=30) as mlflow:
        found = answer(mlflow.get("/mlflow/runs/get", params={"run_id": run}))["run"]["data"]
        losses = answer(mlflow.get("/mlflow/metrics/get-history", params={"run_id": run, "metric_key": "loss"}))
        intact = mlflow.get(artifact).content == ARTIFACT
    files = "cd /workspace/notebooks; cat mine.py ~/results; stat -c '%n %U %a %Y' mine.py ~/results; readlink ~/link"
    _, said = stack.heard("marimo", "sh", "-c", files)
    jobs = stack.heard("postgres", "sh", "-c", PSQL, "SELECT count(*), md5(string_agg(id, '' ORDER BY n)) FROM job")
    return {
        "parameters": found["params"],
        "losses": [(one["step"], one["value"]) for one in losses["metrics"]],
        "artifact": intact,
        "files": said,
        "jobs": jobs,
        "gateway": stack.heard("mlflow", "sh", "-c", GATEWAY)[1].splitlines()[-1],
    }


def answer(response: httpx.Response) -> Any:
    assert response.is_success, response.text
    return response.json() if response.content else {}


def killed_at(stack: LiveStack, stage: str, command: str, *arguments: str) -> None:
    """Runs a command that is killed while restic does what `stage` names."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(stack.variables, VARIABLE, stage)
        assert stack.ws(command, *arguments).returncode == KILLED, stack.output[-1]


def done(stack: LiveStack, *arguments: str, code: int = 0) -> str:
    found = stack.ws(*arguments)
    assert found.returncode == code, found.stdout
    return found.stdout


def temporary(stack: LiveStack) -> list[Any]:
    """The Postgres of `ws backup verify`, in whatever state, and its volume."""
    name = stack.identity.object_name(PART)
    return [
        *stack.engine.containers.list(all=True, filters={"name": name}, ignore_removed=True),
        *stack.engine.volumes.list(filters={"label": f"{LABEL}={name}"}),
    ]


def backups(stack: LiveStack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done(stack, "backup", "list", "--json"))
    return found


def test_rotated_key_opens_what_people_entered_in_the_gateway(drill):
    done(drill.stack, "secrets", "rotate", "mlflow-gateway-key", "--yes")
    keys = drill.work["keys"] = drill.stack.secrets()["mlflow-gateway-key"]
    first, former = keys.split()
    assert first != former
    assert seen(drill.stack, drill.work["run"], drill.work["artifact"]) == drill.work["seen"]
    assert drill.work["seen"]["gateway"] == str([API_KEY])


def test_first_backup_is_complete(drill):
    assert "Keep a copy of" in done(drill.stack, "backup")
    (made,) = backups(drill.stack)
    assert set(made["databases"]) == {"mlflow", "queue"}
    assert {"mlflow-artifacts", "marimo-notebooks", "home"} <= made["folders"].keys()


@pytest.mark.parametrize("stage", ["part=queue.sql", "part=manifest.json"])
def test_killed_backup_is_none_and_hinders_no_other(drill, stage):
    before = len(backups(drill.stack))
    killed_at(drill.stack, stage, "backup")
    assert len(backups(drill.stack)) == before


def test_next_backup_completes_and_what_killed_ones_left_is_removed(drill):
    done(drill.stack, "backup")
    assert len(backups(drill.stack)) == 2
    assert "interrupted" in done(drill.stack, "backup", "list")
    done(drill.stack, "backup", "prune", "--yes")
    assert "interrupted" not in done(drill.stack, "backup", "list")
    assert len(backups(drill.stack)) == 2


def test_backup_is_verified(drill):
    assert "no difference" in done(drill.stack, "backup", "verify")


def test_killed_verify_leaves_nothing(drill):
    """In the middle of a database, which is in a Postgres of its own."""
    killed_at(drill.stack, "/mlflow.sql", "backup", "verify")
    wait_until(lambda: temporary(drill.stack) == [], "the temporary Postgres is gone", 30)


def test_refused_credentials_of_s3_are_told(drill, s3):
    refused = s3.server.credentials(drill.password.with_name("refused"), secret="another")
    drill.stack.configure({"backup": {"repository": s3.server.location(), "s3_credentials": str(refused)}})
    said = done(drill.stack, "backup", code=1)
    assert f"refuses the credentials in {refused}" in said.replace("\n", " ")


def test_backup_on_s3_survives_a_connection_that_breaks(drill, s3):
    """restic goes on when the server is back, or says what to do. What follows, and the restore, is from there."""
    place, credentials = s3.server.location(), s3.server.credentials(drill.password.with_name("credentials"))
    drill.stack.configure({"backup": {"repository": place, "s3_credentials": str(credentials)}})
    with drill.stack.ws_started("backup") as process:
        wait_until(lambda: s3.link.sent > len(ARTIFACT) / 3, "a part of the backup is sent", 120)
        s3.link.fail()
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "restic tries again" in line:
                s3.link.mend()
        process.wait()
    s3.link.mend()
    assert process.returncode == 0 or "what is stored already stays" in "".join(lines), lines
    whole = len(backups(drill.stack))
    assert whole == (process.returncode == 0)
    done(drill.stack, "backup")
    made = backups(drill.stack)
    assert len(made) == whole + 1
    assert set(made[-1]["databases"]) == {"mlflow", "queue"}
    done(drill.stack, "backup", "prune", "--yes")
    drill.repository = (
        *("--repository", place, "--password-file", str(drill.password)),
        *("--s3-credentials", str(credentials)),
    )


def test_backup_of_a_stack_that_is_down_is_verified(drill):
    done(drill.stack, "down", "--yes")
    assert drill.stack.containers() == {}
    assert "no difference" in done(drill.stack, "backup", "verify")
    assert temporary(drill.stack) == []


def test_everything_is_destroyed(drill):
    shutil.copy(drill.stack.state / "generated/backup-password", drill.password)
    done(drill.stack, "down", "--volumes", "--yes")
    assert (drill.stack.containers(), drill.stack.volumes()) == ({}, [])
    shutil.rmtree(drill.stack.state_home)
    (drill.stack.folder / f"Pulumi.{drill.stack.name}.yaml").unlink()


def test_killed_restore_leaves_a_stack_that_nothing_uses(drill):
    """At its last step but one: folders and MLflow's database are those of the backup, the queue's is not yet."""
    killed_at(drill.copy, "/queue.sql", "restore", "--from", drill.stack.name, *drill.repository)
    assert {name for name, one in drill.copy.containers().items() if one.status == "running"} <= {
        "postgres",
        "firewall",
    }
    for command in (("up", "--yes"), ("backup",)):
        refused = done(drill.copy, *command, code=1).replace("\n", " ")
        assert "has not ended" in refused
        assert "ws restore" in refused


def test_same_restore_again_completes(drill):
    said = done(drill.copy, "restore", "--from", drill.stack.name, *drill.repository)
    assert "no difference" in said
    wait_until(lambda: drill.copy.unhealthy() == {}, "the restored stack is healthy", 120)
    assert drill.copy.preview().unchanged


def test_restored_stack_shows_what_was_done(drill):
    work = drill.work
    assert seen(drill.copy, work["run"], work["artifact"]) == work["seen"]


def test_restored_keys_alone_open_what_people_entered_in_the_gateway(drill):
    """With them, it was shown above."""
    assert drill.copy.secrets()["mlflow-gateway-key"] == drill.work["keys"]
    code, said = drill.copy.heard("mlflow", "sh", "-c", GATEWAY.replace(KEY, "a-key-of-somebody-else"))
    assert code != 0
    assert API_KEY["api_key"] not in said
