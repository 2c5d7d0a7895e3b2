"""What of a stack is backed up, and where it lies."""

from typing import Any

from config.load import load
from stack.identity import StackIdentity
from ws.backup.parts import named_places, parts

IDENTITY = StackIdentity(project="cslr", stack="dev")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS ann"


def places(**platform: Any) -> dict[str, str]:
    return {part.name: part.location for part in named_places(IDENTITY, load(platform, stack_file=""))}


def test_host_keys_of_devel_are_kept():
    """Else ssh would warn everybody of another host after a restore."""
    settings = load({"devel": {"enabled": True, "keys": [KEY]}}, stack_file="")
    assert "cslr-dev-devel-host-keys" in [part.location for part in parts(IDENTITY, settings)]


def test_volumes_of_the_stack_itself_are_no_named_places():
    assert places() == {}


def test_folders_and_volumes_that_the_stack_file_names_are_told():
    assert places(
        ray={"home": "/srv/home"}, mlflow={"artifacts": "artifacts-of-all"}, postgres={"data": "/srv/postgres"}
    ) == {"home": "/srv/home", "mlflow-artifacts": "artifacts-of-all", "postgres": "/srv/postgres"}
