"""The test network and its two containers on the Docker Engine. Their labels are their own: no engine knows them."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool, LogConfig, Mount
from pydantic import ValidationError

from contracts import mlflow_login
from contracts.cluster_test import ClusterTestSettings
from contracts.document import SETTINGS_VARIABLE, dump
from docker_api.api import DockerApi
from docker_api.one_off import limits
from stack.identity import StackIdentity
from stack.programs import imported_modules, mounted_at, program_path, run_module, source_of
from stack.secrets import SECRETS_TARGET
from stack.state import HostFiles, stack_folder
from stack.tls import trusted_file
from verification.report import Report
from verification.runner import PROGRESS, TEMPORARY_FILES
from verification.spec import VerificationSpec
from ws.cluster_test.plan import Deployed, Published
from ws.errors import WsError

LABEL = "cslr.cluster-test"  # → the stack, as `StackIdentity.prefix`
GIVEN = "cslr.cluster-test.given"  # → a digest of what the containers were started with
CLIENT, WORKER = "test-ray-client", "test-ray-worker"
PROGRAM = "entrypoints.cluster_test"
MEMORY = 2 * 2**30  # bytes
SECONDS = 600  # for all checks; what is in the way of one is mostly known after a minute
LOG_LINES = 100
CHECK = ("timeout", "-k", "1", str(SECONDS), *run_module(PROGRAM))  # an exec cannot be stopped from outside
ENVIRONMENT = {"HOME": "/tmp", "RES_OPTIONS": "timeout:1 attempts:1"}  # noqa: S108


@dataclass(frozen=True, kw_only=True)
class TestContainer:
    """One of the two containers."""

    service: str
    command: tuple[str, ...]


def containers_of(reason: str) -> tuple[TestContainer, ...]:
    """Both. `reason`: why the worker does not join."""
    says = f"{WORKER} does not join the cluster: {reason}"
    return (
        TestContainer(service=CLIENT, command=("sleep", "infinity")),
        TestContainer(service=WORKER, command=("sh", "-c", 'echo "$1"; exec sleep infinity', "sh", says)),
    )


def programs_of(identity: StackIdentity, spec: VerificationSpec) -> dict[str, str]:
    """The client's programs: path in the container → file of this host."""
    files = HostFiles(folder=stack_folder(identity), dry_run=False)
    sources = [source_of(name) for name in imported_modules(PROGRAM)]
    return {
        program_path("with_python.sh"): spec.client.with_python,
        **{mounted_at(source): files.program(source) for source in sources},
    }


def secrets_of(spec: VerificationSpec) -> dict[str, str]:
    """The tokens that users have, likewise."""
    found = {"ray-token": spec.secrets.ray_token, "marimo-token": spec.secrets.marimo_token}
    found |= {mlflow_login.SERVICE_SECRET: spec.secrets.mlflow_password, **spec.secrets.ray_certificate}
    return {f"{SECRETS_TARGET}/{name}": path for name, path in found.items() if path}


@dataclass(frozen=True, kw_only=True)
class TestNetwork:
    """The test network of one stack."""

    engine: docker.DockerClient
    identity: StackIdentity
    subnet: str
    spec: VerificationSpec | None  # of the last deployment; None: only to be shown or removed
    say: Callable[[str], None]

    @property
    def name(self) -> str:
        """The Docker network's."""
        return self.identity.object_name("cluster-test")

    @property
    def labels(self) -> dict[str, str]:
        """By which both containers and the network are found."""
        return {LABEL: self.identity.prefix}

    def containers(self) -> dict[str, Container]:
        """Those that are there, by service."""
        found = self.engine.containers.list(all=True, filters={"label": f"{LABEL}={self.identity.prefix}"})
        prefix = self.identity.object_name("")
        return {str(one.name).removeprefix(prefix): one for one in found}

    @property
    def is_up(self) -> bool:
        """Whether both run."""
        running = {name for name, one in self.containers().items() if one.status == "running"}
        return running == {CLIENT, WORKER}

    def is_of(self, reason: str) -> bool:
        """Whether both were started with what the stack has now: its tokens, programs and image."""
        return {one.labels.get(GIVEN) for one in self.containers().values()} == {self._given_digest(reason)}

    def up(self, reason: str) -> None:
        """Starts both containers, in place of whatever is left of an earlier run."""
        assert self.spec  # noqa: S101
        self.down(quiet=True)
        self.say(f"{self.name}: network {self.subnet}")
        pool = IPAMPool(subnet=self.subnet)
        with _explained(self.subnet, self.identity.stack):
            self.engine.networks.create(
                self.name, driver="bridge", ipam=IPAMConfig(pool_configs=[pool]), labels=self.labels
            )
        for one in containers_of(reason):
            with _explained(self.subnet, self.identity.stack):
                self._create(one, self.spec, reason).start()
            self.say(f"{one.service} started")

    def _create(self, one: TestContainer, spec: VerificationSpec, reason: str) -> Container:
        return self.engine.containers.create(
            spec.client.image,
            entrypoint=[one.command[0]],
            command=list(one.command[1:]),
            name=self.identity.object_name(one.service),
            hostname=one.service,
            network=self.name,
            user=spec.client.user,
            labels={**self.labels, GIVEN: self._given_digest(reason)},
            environment=ENVIRONMENT,
            mounts=[
                Mount(target, source, type="bind", read_only=True) for target, source in self._given(one, spec).items()
            ],
            tmpfs={"/tmp": TEMPORARY_FILES},  # noqa: S108
            read_only=True,
            init=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            **limits(MEMORY),
            healthcheck={"test": ["NONE"]},
            log_config=LogConfig(type=LogConfig.types.JSON),
        )

    def _given(self, one: TestContainer, spec: VerificationSpec) -> dict[str, str]:
        return {**programs_of(self.identity, spec), **secrets_of(spec)} if one.service == CLIENT else {}

    def _given_digest(self, reason: str) -> str:
        assert self.spec  # noqa: S101
        client = self.spec.client
        both = [(one.command, sorted(self._given(one, self.spec).items())) for one in containers_of(reason)]
        return hashlib.sha256(json.dumps([client.image, client.user, self.subnet, both]).encode()).hexdigest()[:16]

    def run(self, settings: ClusterTestSettings, progress: Callable[[str], None]) -> Report:
        """Runs the checks in the client. Raises `WsError` where it gave no report."""
        client = self.containers()[CLIENT]
        environment = {SETTINGS_VARIABLE: dump(settings)}
        api = self.engine.api
        identifier = api.exec_create(client.id, list(CHECK), environment=environment)["Id"]
        stdout, last = b"", b""
        pending = b""
        for out, err in cast(
            "Iterator[tuple[bytes | None, bytes | None]]", api.exec_start(identifier, stream=True, demux=True)
        ):
            stdout += out or b""
            *lines, pending = (pending + (err or b"")).split(b"\n")
            for line in lines:
                last = line or last
                if line.startswith(PROGRESS):
                    progress(line.removeprefix(PROGRESS).decode(errors="replace"))
        try:
            return Report.model_validate_json(stdout)
        except ValidationError:
            code = api.exec_inspect(identifier)["ExitCode"]
            words = (pending or last).decode(errors="replace").strip()
            raise WsError(f"{CLIENT} ended with exit code {code} and without a report: {words}") from None

    def logs(self) -> Iterator[tuple[str, str]]:
        """The last lines of both: service, line."""
        for service, container in sorted(self.containers().items()):
            for line in container.logs(tail=LOG_LINES).decode(errors="replace").splitlines():
                yield service, line

    def down(self, *, quiet: bool = False) -> bool:
        """Removes both containers and the network. Whether there was anything."""
        found = False
        for service, container in self.containers().items():
            with contextlib.suppress(NotFound):
                container.remove(force=True)
            found = True
            if not quiet:
                self.say(f"{service} removed")
        for network in self.engine.networks.list(filters={"label": f"{LABEL}={self.identity.prefix}"}):
            network.remove()
            found = True
            if not quiet:
                self.say(f"{network.name} removed")
        return found


@contextlib.contextmanager
def _explained(subnet: str, stack: str) -> Iterator[None]:
    """Says what is in the way of the network or of a container."""
    try:
        yield
    except APIError as error:
        reason = str(error.explanation or error)
        if "overlap" in reason.lower():
            raise WsError(
                f"the test network {subnet} is in use on this host: {reason.rstrip('.')}.\n"
                f"  Choose a free one, for example: ws set cluster_test.subnet 172.31.200.0/24 -s {stack}"
            ) from error
        raise WsError(f"Docker refuses the test network or its containers: {reason}") from error


def connect() -> docker.DockerClient:
    """The Docker Engine. Raises `WsError` where it does not answer."""
    try:
        engine = docker.from_env(timeout=SECONDS + 60)
        engine.ping()
    except (DockerException, requests.RequestException) as error:
        raise WsError(
            f"Docker does not answer: {str(error).rstrip('.')}. Start it, or set DOCKER_HOST to its address"
        ) from error
    return engine


def deployed(identity: StackIdentity, spec: VerificationSpec, own_addresses: tuple[str, ...]) -> Deployed:
    """What the stack publishes, and where its containers are, as Docker has them."""
    api = DockerApi()
    listed = api.labelled("/containers/json", "", identity.label_filters)
    published: list[Published] = []
    inside: dict[str, str] = {}
    for one in listed:
        service = one["Labels"].get("cslr.component", "")
        published += [
            Published(service=service, bound=port["IP"], port=port["PublicPort"], internal=port["PrivatePort"])
            for port in one.get("Ports") or ()
            if port.get("PublicPort") and ":" not in port.get("IP", "")
        ]
        networks: dict[str, Any] = one["NetworkSettings"]["Networks"]
        addresses = [network["IPAddress"] for network in networks.values() if network.get("IPAddress")]
        inside |= {service: addresses[0]} if addresses else {}
    return Deployed(
        published=tuple(sorted(published, key=lambda one: (one.service, one.port))),
        inside=inside,
        own_addresses=own_addresses,
        trusted=trusted(identity),
        **tokens(spec),
    )


def trusted(identity: StackIdentity) -> str:
    """The certificates that clients of a stack's web services trust; empty where it never had TLS."""
    with contextlib.suppress(FileNotFoundError):
        return trusted_file(stack_folder(identity)).read_text()
    return ""


def tokens(spec: VerificationSpec) -> dict[str, Path]:
    """The tokens that the client is given, by their places in it."""
    found = {"ray_token": spec.secrets.ray_token, "marimo_token": spec.secrets.marimo_token}
    return {name: Path(SECRETS_TARGET, name.replace("_", "-")) for name, path in found.items() if path}
