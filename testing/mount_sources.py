"""Asks for tests which folders of the host a container may mount."""

import pytest

from config.load import load
from config.problems import SettingsError
from preflight.host import check
from preflight.host_facts import HostFacts

FILE = "Pulumi.dev.yaml"


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home/state"))
    (tmp_path / "home/state/cslr").mkdir(parents=True)
    return tmp_path / "home/state/cslr"


def refused(raw: object, facts: HostFacts | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        check(load(raw, stack_file=FILE), facts or HostFacts(), FILE)
    return str(caught.value)


def volume(source: object, *, read_only: bool = False) -> dict[str, object]:
    return {"marimo": {"volumes": [{"source": str(source), "target": "/mnt/x", "read_only": read_only}]}}
