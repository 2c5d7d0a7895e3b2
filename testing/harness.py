"""Runs the unchanged program on Pulumi's mocks and records what it asks the engine for.

Unlike `pulumi.runtime.Mocks`, which sees type, name and inputs, this sees what decides about order and replacement too.
Nothing is made, and nothing outside a temporary state folder is read or written.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import yaml

from components.keeper import DockerSocket
from config.load import load
from config.platform import PlatformSettings
from config.stack_file import StackConfig
from embedded_engine.program import Monitor, Outcome, run_program
from embedded_engine.registration import Registration, plain
from stack.pulumi_internals import deserialized

PROJECT = Path(__file__).parent.parent
PLATFORM, MATRIX = "cslr:platform", "cslr:matrix"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"
IMAGE = "docker:index/image:Image"
REMOTE_IMAGE = "docker:index/remoteImage:RemoteImage"
COMMAND = "command:local:Command"
SOCKET = DockerSocket(path="/var/run/docker.sock", group=998)
CLUSTER: dict[str, Any] = {
    "name": "lab",
    "hosts": {"alpha": {"address": "10.88.0.1"}, "beta": {"address": "10.88.0.2"}, "gamma": {"address": "10.88.0.3"}},
    "head_whitelist": ["alpha", "beta"],
    "redis": {"host": "gamma", "replica": "beta"},
    "mlflow": {"host": "gamma"},
}
# The devel container, to which one person may log in.
LOGIN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHeLFSqsibXQnxmqH6Sb5ORjE+shTr1FN+HhxARk2DzC ann@laptop"
LOGIN: dict[str, Any] = {"devel": {"enabled": True, "keys": [LOGIN_KEY]}}


@dataclass(kw_only=True)
class Resource:
    """One registration: what the program said of a resource."""

    urn: str
    type: str
    name: str
    custom: bool
    parent: str  # URN
    inputs: dict[str, Any]  # secrets unwrapped
    secret_inputs: frozenset[str]  # names of the inputs that were wrapped as secrets, as a whole or in part
    dependencies: frozenset[str]  # URNs
    input_dependencies: frozenset[str]  # URNs of those that an input is made of
    delete_before_replace: bool
    replace_on_changes: tuple[str, ...]
    retain_on_delete: bool
    ignore_changes: tuple[str, ...]
    outputs: dict[str, Any] | None = None  # what a component registered; None: it never ended its construction

    @property
    def env(self) -> dict[str, str]:
        """A container's environment."""
        return dict(variable.split("=", 1) for variable in self.inputs["envs"])

    @property
    def labels(self) -> dict[str, str]:
        """A Docker object's labels."""
        return {label["label"]: label["value"] for label in self.inputs["labels"]}

    @property
    def mounts(self) -> dict[str, dict[str, Any]]:
        """A container's mounts, by their place in the container."""
        return {mount["target"]: mount for mount in self.inputs["mounts"]}


class Recorder(Monitor):
    """The monitor: records every registration, and answers as if it had been made (in a preview: nothing new)."""

    def __init__(self, *, preview: bool) -> None:
        super().__init__(self._make)
        self._preview = preview
        self._lock = Lock()
        self.recorded: dict[str, Resource] = {}  # by URN

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (gRPC)
        inputs = deserialized(request.object)
        inputs.pop("__defaults", None)
        urn = self.make_urn(request.parent, request.type, request.name)
        with self._lock:
            assert urn not in self.recorded, f"{urn} is declared twice"
            self.recorded[urn] = Resource(
                urn=urn,
                type=request.type,
                name=request.name,
                custom=request.custom,
                parent=request.parent,
                inputs=plain(inputs),
                secret_inputs=frozenset(key for key, value in inputs.items() if plain(value) != value),
                dependencies=frozenset(request.dependencies),
                input_dependencies=frozenset(u for d in request.propertyDependencies.values() for u in d.urns),
                delete_before_replace=request.deleteBeforeReplace,
                replace_on_changes=tuple(request.replaceOnChanges),
                retain_on_delete=request.retainOnDelete,
                ignore_changes=tuple(request.ignoreChanges),
            )
        return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 (gRPC)
        outputs = deserialized(request.outputs)
        with self._lock:
            self.recorded[request.urn].outputs = plain(outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]

    def _make(self, wanted: Registration) -> Outcome:
        """The answer to a resource. What a preview cannot know, Pulumi hands to the program as unknown."""
        known = {"name": wanted.inputs["name"]} if "name" in wanted.inputs else {}
        if self._preview:
            return "", known
        image_id = f"sha256:{hashlib.sha256(json.dumps(wanted.recorded).encode()).hexdigest()}"
        made = {
            IMAGE: {"repoDigest": image_id},
            REMOTE_IMAGE: {"imageId": image_id},
            COMMAND: {"stdout": "13 of 13 passed"},
        }
        return f"{wanted.name}-id", {**known, **made.get(wanted.type, {})}


@dataclass(kw_only=True)
class Deployed:
    """The resources and outputs that one run of the program declared."""

    resources: dict[str, Resource]  # by URN
    outputs: dict[str, Any]
    state: Path  # the stack's own folder

    def of_type(self, kind: str) -> dict[str, Resource]:
        """The resources of a type by name."""
        return {r.name: r for r in self.resources.values() if r.type == kind}

    @property
    def custom(self) -> list[Resource]:
        """Everything that an engine makes: no components, no stack."""
        return [r for r in self.resources.values() if r.custom]

    @property
    def components(self) -> list[Resource]:
        """The components of this project."""
        return [r for r in self.resources.values() if not r.custom and r.type != "pulumi:pulumi:Stack"]

    @property
    def containers(self) -> dict[str, Resource]:
        """The containers by service."""
        return {r.inputs["hostname"]: r for r in self.resources.values() if r.type == CONTAINER}

    def needs(self, resource: Resource) -> set[str]:
        """Names of all resources that `resource` waits for, also by way of others."""
        urns: set[str] = set()
        new = set(resource.dependencies)
        while new:
            urns |= new
            new = {urn for known in new for urn in self.resources[known].dependencies} - urns
        return {self.resources[urn].name for urn in urns}

    @property
    def verification_spec(self) -> str:
        """What the verification is told to expect, as JSON."""
        return str(self.of_type(COMMAND)["verification"].inputs["environment"]["CSLR_VERIFICATION"])

    def generated_secrets(self) -> dict[str, str]:
        """The secrets that this run made for itself: name → value."""
        return {path.name: path.read_text() for path in (self.state / "generated").iterdir()}


def stack_settings(stack: str, key: str = PLATFORM) -> dict[str, Any]:
    """The value of a key in the project's own stack file."""
    content = yaml.safe_load((PROJECT / f"Pulumi.{stack}.yaml").read_text())
    settings: dict[str, Any] = content["config"][key]
    return settings


def platform_settings(settings: dict[str, Any]) -> PlatformSettings:
    """The value of ``cslr:platform``, validated."""
    return load(settings, stack_file="Pulumi.dev.yaml")


def merged(base: dict[str, Any], *changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` as overrides, key by key."""
    result = dict(base)
    for change in changes:
        for key, value in change.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


@contextmanager
def quiet_host(state_home: Path, socket: DockerSocket | None = SOCKET) -> Iterator[None]:
    """For a run of the program that asks nobody and leaves nothing outside `state_home`."""
    with pytest.MonkeyPatch.context() as environment:
        # No probe leaves this host: every registry and index "answers".
        environment.setattr("stack.sources.reachable", lambda _url, **_: True)
        environment.setattr("program.docker_socket", lambda: socket)
        environment.setenv("XDG_STATE_HOME", str(state_home))
        # Text made of an output, instead of from it, is an error and not a warning.
        environment.setenv("PULUMI_ERROR_OUTPUT_STRING", "true")
        yield


def stack_config(
    settings: dict[str, Any],
    *,
    stack: str = "dev",
    key: str = PLATFORM,
    secrets: dict[str, str] | None = None,
    plain: dict[str, str] | None = None,
    cluster: dict[str, Any] | None = None,
) -> StackConfig:
    """The config of a stack; see `deploy`."""
    if cluster:
        secrets = {"clusterKey": "cluster-key-" * 4, **(secrets or {})}
    values = {key: json.dumps(settings), "cslr:preflight": "false"}
    values |= {"cslr:cluster": json.dumps(cluster)} if cluster else {}
    values |= {f"cslr:{key}": value for key, value in {**(secrets or {}), **(plain or {})}.items()}
    return StackConfig(
        project="cslr", stack=stack, values=values, secret_keys=frozenset(f"cslr:{key}" for key in secrets or {})
    )


def deploy(
    settings: dict[str, Any],
    *,
    state_home: Path,
    stack: str = "dev",
    key: str = PLATFORM,
    preview: bool = False,
    secrets: dict[str, str] | None = None,
    plain: dict[str, str] | None = None,
    cluster: dict[str, Any] | None = None,
    socket: DockerSocket | None = SOCKET,
) -> Deployed:
    """Runs ``__main__.py`` with `settings` as the value of `key` and `secrets` as further keys of the stack config,
    as are those in `plain`.

    `cluster`: the block of the cluster of several hosts whose host has the stack's name. `socket`: Docker's.
    """
    config = stack_config(settings, stack=stack, key=key, secrets=secrets, plain=plain, cluster=cluster)
    recorder = Recorder(preview=preview)
    with quiet_host(state_home, socket):
        outputs = run_program(PROJECT, config, recorder, preview=preview)
    return Deployed(resources=recorder.recorded, outputs=outputs, state=state_home / "cslr" / "cslr" / stack)
