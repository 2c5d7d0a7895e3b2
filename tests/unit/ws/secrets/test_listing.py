"""Where secrets come from, and that no value is shown."""

import json
import os
from dataclasses import replace

import pytest

from config.encryption import Passphrase, encrypted
from stack.running_work import Deployed
from testing.stack_files import configured, written
from ws.secrets import view
from ws.secrets.catalogue import secrets_of
from ws.secrets.listing import Listed, Origin, listed

PLATFORM = "config:\n  cslr:platform: {ray: {env_secrets: [HF_TOKEN, OTHER, NONE]}}\n"
PASSPHRASE = {"PULUMI_CONFIG_PASSPHRASE": "correct horse"}


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "cslr" / "cslr" / "dev"
    for name, value in (("generated/marimo-token", "of-marimo"), ("env-secrets/OTHER", "of-other")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(value)
        os.utime(folder / name, (1000, 1000))
    return folder


@pytest.fixture(scope="module")
def file() -> str:
    """The text of a stack file with secrets."""
    secure, salt = encrypted("in-the-stack-file", None, "Pulumi.dev.yaml", Passphrase(PASSPHRASE))
    return f"""encryptionsalt: {salt}
{PLATFORM}\
  cslr:redisPassword: {{secure: "{secure}"}}
  rayToken: in-plain-text
  cslr:envSecrets: {{HF_TOKEN: {{secure: "{secure}"}}}}
"""


def found(file: str, *services: Deployed) -> dict[str, Listed]:
    stack = replace(configured(file), file=replace(written(file), passphrase=Passphrase(PASSPHRASE)))
    return {one.name: listed(one, stack, services) for one in secrets_of(stack)}


def test_the_stack_file_goes_first(state, file):
    kinds = {name: one.origin for name, one in found(file).items()}
    assert kinds["redis-password"] is Origin.STACK_FILE
    assert kinds["ray-token"] is Origin.PLAIN  # by its key without the project, as Pulumi takes it too
    assert kinds["HF_TOKEN"] is Origin.STACK_FILE
    assert kinds["OTHER"] is Origin.ENV_SECRETS
    assert kinds["NONE"] is Origin.NOWHERE
    assert kinds["marimo-token"] is Origin.GENERATED


def test_a_file_of_its_own_says_how_old_it_is(state, file):
    assert found(file)["marimo-token"].since == 1000
    assert found(file)["postgres-password"].since is None  # not made yet


def test_another_is_as_old_as_what_containers_have(state, tmp_path, file):
    mounted = tmp_path / "mounted"
    mounted.write_text("x")
    os.utime(mounted, (2000, 2000))
    health = Deployed(
        service="health", name="h", running=True, healthy=True, mounts={"/run/secrets/ray-token": str(mounted)}
    )
    assert (found(file, health)["ray-token"].services, found(file, health)["ray-token"].since) == (("health",), 2000)


def test_no_value_is_shown(state, file):
    shown = json.dumps(view.rows(found(file).values()))
    columns = view.table(found(file).values(), now=4600.0).columns
    shown += str([list(column.cells) for column in columns])
    assert "1 h 00 min" in shown
    assert not [
        value for value in ("of-marimo", "of-other", "in-plain-text", "in-the-stack-file", "v1:") if value in shown
    ]
