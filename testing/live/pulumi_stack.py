"""A stack that the genuine engine deploys, and the comparison of its objects with those of the embedded engine."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testing.live.deployment import UP_SECONDS, LiveStack

MARKS = [
    pytest.mark.live,
    pytest.mark.pulumi,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="needs the Pulumi CLI, which is not on PATH"),
]
# What Docker makes up for each container: identity, times, paths of its own, addresses handed out, checks under way.
MADE_UP = {
    "Id", "Created", "State", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "ExecIDs", "GraphDriver",
    "SandboxID", "SandboxKey", "NetworkID", "EndpointID", "MacAddress", "IPAddress", "Containers", "DNSNames",
}  # fmt: skip
# Lists without an order of their own; the provider hashes some of them.
UNORDERED = {"Env", "Mounts", "Aliases", "Binds"}
SHORT = 12  # digits
EMBEDDED_LABELS = "cslr.engine."

# What each leaves as it is right after an `up`.
NOTHING_TO_CHANGE = pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("preview",), id="preview"),
        pytest.param(("up", "--yes", "--skip-preview"), id="up"),
        pytest.param(("refresh", "--yes", "--skip-preview"), id="refresh"),
        pytest.param(("preview", "--refresh"), id="preview-after-refresh"),
    ],
)


class PulumiStack:
    """A stack that the genuine CLI deploys."""

    def __init__(self, stack: LiveStack, home: Path) -> None:
        self.live = stack
        self.state = home / "backend"
        self.state.mkdir()
        (stack.folder / ".venv").symlink_to(sys.prefix)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.live.environment,
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": "live",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }

    @classmethod
    def deployed(cls, live: LiveStack, backend: Path) -> "PulumiStack":
        """A new stack of the backend, after its first `up`."""
        stack = cls(live, backend)
        stack("stack", "init")
        stack("up", "--yes", "--skip-preview")
        return stack

    def __call__(self, *arguments: str) -> str:
        """Runs ``pulumi`` to its end and returns its output. Fails if it fails."""
        run = self.run(*arguments)
        assert run.returncode == 0, run.stdout
        return run.stdout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs ``pulumi`` to its end; its standard error is with its standard output."""
        return subprocess.run(
            ["pulumi", *arguments, "--stack", self.live.name, "--non-interactive"],
            cwd=self.live.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=UP_SECONDS, check=False,
        )  # fmt: skip

    def changes_nothing(self, *arguments: str) -> None:
        """Fails if such a run finds something to change, or recreates a container."""
        before = self.live.ids()
        self(*arguments, "--expect-no-changes")
        assert self.live.ids() == before


def inspected(stack: LiveStack) -> dict[str, Any]:
    """The stack's containers and network, without what Docker makes up."""
    found = {service: container.attrs for service, container in stack.containers().items()}
    found |= {name: stack.engine.networks.get(name).attrs for name in stack.networks()}
    return {name: without_chance(attributes, attributes["Id"]) for name, attributes in found.items()}


def without_chance(value: Any, identifier: str, key: str = "") -> Any:
    if isinstance(value, dict):
        return {
            name: without_chance(item, identifier, name)
            for name, item in value.items()
            if name not in MADE_UP and not name.startswith(EMBEDDED_LABELS)
        }
    if isinstance(value, list):
        # Docker adds the short form of a container's ID to its aliases.
        items = [without_chance(item, identifier) for item in value if item != identifier[:SHORT]]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if key in UNORDERED else items
    return value


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf by its path, so that a difference is one line."""
    if isinstance(value, dict):
        return {at: leaf for key, item in value.items() for at, leaf in flat(item, f"{path}/{key}").items()}
    return {path: value}


def differences(left: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Every leaf that is not the same in both, by its path."""
    one, other = flat(left), flat(expected)
    different = {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)}
    return {path: (one.get(path), other.get(path)) for path in different}
