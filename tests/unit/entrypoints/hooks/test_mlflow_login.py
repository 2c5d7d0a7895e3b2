"""The login of tasks and notebooks, as in the client of MLflow 3.17.2."""

import json
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from contracts import mlflow_login as contract
from entrypoints.hooks import mlflow_login

INSIDE = "http://mlflow:5000"


@dataclass
class Creds:
    """As much of MLflow's class as says who asks."""

    host: str
    username: str | None = None
    password: str | None = None
    token: str | None = None
    auth: str | None = None
    aws_sigv4: bool = False


@pytest.fixture
def credentials(monkeypatch, tmp_path) -> Any:
    module: Any = ModuleType("credentials")
    module.get_default_host_creds = Creds
    monkeypatch.setattr(mlflow_login, "LINKS", tmp_path / "mlflow.json")
    monkeypatch.setattr(mlflow_login, "PASSWORD", tmp_path / "mlflow-password")
    (tmp_path / "mlflow.json").write_text(json.dumps({"inside": INSIDE}))
    (tmp_path / "mlflow-password").write_text("of the platform\n")
    mlflow_login.hook_credentials(module)
    return module


@pytest.mark.parametrize("uri", [INSIDE, f"{INSIDE}/", f"{INSIDE}/api/2.0/mlflow-artifacts/artifacts/1"])
def test_the_platforms_server_is_told_its_account(credentials, uri):
    creds = credentials.get_default_host_creds(uri)
    assert (creds.username, creds.password) == (contract.SERVICE, "of the platform")


@pytest.mark.parametrize(
    "uri", ["http://mlflow:50001", f"{INSIDE}.evil.example", "https://elsewhere.example", "file:/x"]
)
def test_no_other_server_is_told(credentials, uri):
    assert credentials.get_default_host_creds(uri).password is None


@pytest.mark.parametrize("own", [{"username": "ben", "password": "bens"}, {"token": "t"}, {"auth": "a"}])
def test_what_a_program_sets_goes_first(credentials, own, monkeypatch):
    module: Any = ModuleType("credentials")
    module.get_default_host_creds = lambda uri: Creds(uri, **own)
    mlflow_login.hook_credentials(module)
    assert module.get_default_host_creds(INSIDE) == Creds(INSIDE, **own)


@pytest.mark.parametrize("missing", ["LINKS", "PASSWORD"])
def test_without_logins_nothing_changes(credentials, missing):
    getattr(mlflow_login, missing).unlink()
    assert credentials.get_default_host_creds(INSIDE) == Creds(INSIDE)


def test_account_and_file_are_those_of_the_contract():
    assert contract.SERVICE == mlflow_login.USER
    assert str(contract.FILE) == "/run/secrets/mlflow-password"
