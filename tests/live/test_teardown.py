"""Taking down the whole platform, and the data that survives. The last tests on that deployment; about two minutes."""

from typing import Any

import pytest
import requests

from testing.live.deployment import FULL, done

pytestmark = pytest.mark.live

MLFLOW = f"http://127.0.0.1:{FULL['mlflow']['port']}/api/2.0/mlflow"
NOTEBOOK = "/workspace/notebooks/kept.py"


def mlflow(path: str, **body: object) -> dict[str, Any]:
    answer = requests.post(f"{MLFLOW}/{path}", json=body, timeout=30)
    answer.raise_for_status()
    return dict(answer.json())


def test_down_leaves_the_data_alone_and_up_finds_it_again(platform):
    experiment = mlflow("experiments/create", name="kept")["experiment_id"]
    run = mlflow("runs/create", experiment_id=experiment, start_time=0)["run"]["info"]["run_id"]
    mlflow("runs/log-parameter", run_id=run, key="alpha", value="0.5")
    assert platform.exec("marimo", "sh", "-c", f"echo kept > {NOTEBOOK}") == (0, "")
    volumes = platform.volumes()
    assert len(volumes) == 6

    down = platform.ws("down")
    assert down.returncode == 0, down.stdout
    assert platform.containers() == {}
    assert platform.networks() == []
    assert platform.volumes() == volumes

    assert set(done(platform.up()).values()) <= {"create", "update"}
    assert platform.unhealthy() == {}
    found = mlflow("runs/search", experiment_ids=[experiment])["runs"]
    assert [(r["info"]["run_id"], r["data"]["params"]) for r in found] == [(run, [{"key": "alpha", "value": "0.5"}])]
    assert platform.exec("marimo", "cat", NOTEBOOK) == (0, "kept\n")


def test_down_with_volumes_leaves_nothing(platform):
    down = platform.ws("down", "--volumes", "--yes")
    assert down.returncode == 0, down.stdout
    assert platform.containers() == {}
    assert platform.networks() == []
    assert platform.volumes() == []
    assert not platform.state.exists()
    assert platform.ws("down", "--volumes", "--yes").returncode == 0
