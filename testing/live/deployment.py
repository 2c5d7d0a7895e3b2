"""Deploys stacks with the real program on the real Docker Engine, each from its own copy of the project."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import docker
import yaml
from docker.models.containers import Container

from contracts.mlflow_login import SERVICE, SERVICE_SECRET
from embedded_engine.deployment import Action, Change
from embedded_engine.run import Result
from preflight.host_facts import HostFacts
from preflight.outside import docker_is_closed
from stack.identity import StackIdentity
from testing.harness import PROJECT, merged

SOURCES = (
    "Pulumi.yaml", "pyproject.toml", "exporter.Dockerfile", "exporter.Dockerfile.dockerignore", "packages.Dockerfile",
    "packages.Dockerfile.dockerignore", "__main__.py", "program.py", "build_report", "components", "config",
    "contracts", "coordination", "docker_api", "embedded_engine", "entrypoints", "examples", "images",
    "policy", "preflight", "scheduling", "stack", "verification", "ws",
)  # fmt: skip
ENGINE_RUN = Path(__file__).with_name("engine_run.py")
UP_SECONDS = 2400.0  # the first `up` on a bare machine builds every image
POLL_SECONDS = 0.25  # most conditions ask Docker or a service, which costs processor time
AT_ONCE = 0.05  # between looks at a state that passes quickly
HEARD_TRIES = 30

# Ports below those that the kernel hands out, and subnets that no default uses: a developer's own stack keeps running.
FULL: dict[str, Any] = {
    "network": {"name": "cslr-live", "subnet": "10.213.0.0/24"},
    "ray": {"cpu": {"ports": {"dashboard": 28265, "client": 20001}}},
    "redis": {"port": 26381},
    "postgres": {"port": 25432},
    "mlflow": {"port": 25000},
    "marimo": {"port": 28080},
    "health": {"port": 28888},
}
SMALL: dict[str, Any] = {
    "network": {"name": "cslr-live-small", "subnet": "10.214.0.0/24"},
    "ray": {"cpu": {"enabled": False}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
    "redis": {"port": 27381},
    "health": {"port": 27888},
}


def copy_project(at: Path) -> Path:
    """Copies the program, without any stack file, into the folder `at`; returns the copy."""
    folder = at / "project"
    folder.mkdir(parents=True)
    for source in SOURCES:
        place = shutil.copytree if (PROJECT / source).is_dir() else shutil.copy
        place(PROJECT / source, folder / source)
    return folder


@contextlib.contextmanager
def deployed(
    name: str,
    settings: dict[str, Any],
    at: Path,
    further_config: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> Iterator["LiveStack"]:
    """A stack that was deployed as people do it, for as long as it is needed; `files`: further ones of its project."""
    stack = LiveStack.make(name, settings, at)
    for path, text in (files or {}).items():
        (stack.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (stack.folder / path).write_text(text)
    stack.further_config = dict(further_config or {})
    stack.configure()
    stack.remove()  # what a killed run of these tests left
    try:
        done = stack.ws("up", "--engine", "embedded")
        assert done.returncode == 0, done.stdout
        yield stack
    finally:
        stack.remove()


@dataclass(kw_only=True)
class LiveStack:
    """One stack, deployed by the embedded engine itself (`up`), which says what it did, or as people do it (`ws`)."""

    name: str
    folder: Path  # the copy of the project
    state_home: Path
    settings: dict[str, Any]
    further_config: dict[str, Any] = field(default_factory=dict)  # other keys of the stack file
    engine: docker.DockerClient
    variables: dict[str, str] = field(default_factory=dict)  # of the environment, beside this process's
    python: str = sys.executable  # that runs the program
    enter: tuple[str, ...] = ()  # what a command begins with that shall run as if on another host
    output: list[str] = field(default_factory=list)  # all that was ever said

    @classmethod
    def make(cls, name: str, settings: dict[str, Any], at: Path) -> "LiveStack":
        """Copies the project into the folder `at`; deploys nothing."""
        folder, engine = copy_project(at), docker.from_env(timeout=120)
        stack = cls(name=name, folder=folder, state_home=at / "state", settings=settings, engine=engine)
        stack.configure()
        return stack

    @property
    def identity(self) -> StackIdentity:
        return StackIdentity(project="cslr", stack=self.name)

    @property
    def state(self) -> Path:
        """The stack's own folder, with its generated secrets."""
        return self.state_home / "cslr" / "cslr" / self.name

    # --- deploying ---

    def configure(self, *changes: dict[str, Any]) -> None:
        """Writes the stack file: the stack's settings with `changes` as overrides."""
        config = {"cslr:platform": merged(self.settings, *changes), **self.further_config}
        (self.folder / f"Pulumi.{self.name}.yaml").write_text(yaml.safe_dump({"config": config}))

    def up(self) -> Result:
        """Makes the host what the stack file says."""
        return self._result("up")

    def preview(self) -> Result:
        """What `up` would do."""
        return self._result("preview")

    def down(self, *, volumes: bool = False) -> Result:
        """Takes the stack down."""
        return self._result("destroy", volumes=volumes)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, of what is deployed."""
        return dict(self._call("outputs"))

    def last_verification(self) -> dict[str, Any]:
        """The report of the last verification, as its file says."""
        report: dict[str, Any] = json.loads((self.state / "verification.json").read_text())["report"]
        return report

    def _result(self, method: str, **keywords: object) -> Result:
        answer = self._call(method, **keywords)
        changes = [Change(**{**change, "action": Action(change["action"])}) for change in answer["changes"]]
        return Result(changes=changes, outputs=answer["outputs"])

    def _call(self, method: str, **keywords: object) -> Any:
        run = subprocess.run(
            [*self.enter, self.python, ENGINE_RUN, method, self.name, json.dumps(keywords)],
            cwd=self.folder,
            env={**self.environment, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=UP_SECONDS,
            check=False,
        )
        self.output.append(run.stdout + run.stderr)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout.splitlines()[-1])

    @property
    def environment(self) -> dict[str, str]:
        """This process's, with the state folder of the stack."""
        return {**os.environ, "XDG_STATE_HOME": str(self.state_home), **self.variables}

    def ws(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs ``python -m ws`` on the stack to its end; its standard error is with its standard output."""
        with self.ws_started(*arguments) as process:
            output, _ = process.communicate(timeout=UP_SECONDS)
        self.output.append(output)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    @contextlib.contextmanager
    def ws_started(self, command: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """``python -m ws`` while it runs; killed in the end."""
        process = subprocess.Popen(
            [*self.enter, self.python, "-m", "ws", command, *arguments, "--stack", self.name],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    # --- what is there ---

    def expected(self, services: Iterable[str]) -> set[str]:
        """These services, and the firewall where this Engine needs one."""
        facts = HostFacts(engine_version=self.engine.version()["Version"])
        return {*services, *(() if docker_is_closed(facts) else ("firewall",))}

    def containers(self) -> dict[str, Container]:
        """The stack's containers by service, running or not."""
        found = self.engine.containers.list(
            all=True, filters={"label": self.identity.label_filters}, ignore_removed=True
        )
        return {container.labels["cslr.component"]: container for container in found}

    def container(self, service: str) -> Container:
        return self.engine.containers.get(self.identity.object_name(service))

    def ids(self) -> dict[str, str]:
        """Container IDs by service."""
        return {service: str(container.id) for service, container in self.containers().items()}

    def unhealthy(self) -> dict[str, str]:
        """State of each service that is not healthy."""
        found = {service: _health(container) for service, container in self.containers().items()}
        return {service: state for service, state in found.items() if state != "healthy"}

    def networks(self) -> list[str]:
        return [
            str(network.name) for network in self.engine.networks.list(filters={"label": self.identity.label_filters})
        ]

    def exec(self, service: str, *command: str) -> tuple[int, str]:
        """Runs a program in a service's container. Its exit code and output."""
        code, output = cast("tuple[int, bytes]", self.container(service).exec_run(list(command)))
        return code, output.decode(errors="replace")

    def heard(self, service: str, *command: str) -> tuple[int, str]:
        """`exec` of a program that always prints something: Docker 20.10 loses all of it at times on a busy machine,
        and is asked again.
        """
        for _ in range(HEARD_TRIES):
            found = self.exec(service, *command)
            if found[1]:
                return found
            time.sleep(1)
        raise AssertionError(f"{command} prints nothing in {service}")

    def volumes(self) -> list[str]:
        return sorted(
            volume.name for volume in self.engine.volumes.list(filters={"label": self.identity.label_filters})
        )

    def secrets(self) -> dict[str, str]:
        """The generated secrets: name → value."""
        return {path.name: path.read_text() for path in (self.state / "generated").iterdir()}

    @property
    def mlflow_login(self) -> tuple[str, str]:
        """The account of the platform, where MLflow has logins, and its password."""
        return SERVICE, self.secrets()[SERVICE_SECRET]

    def remove(self) -> None:
        """Everything of the stack, found by its labels, whatever state a test left it in."""
        for service, container in self.containers().items():
            with contextlib.suppress(docker.errors.NotFound):
                if service == "firewall":
                    container.stop(timeout=10)  # killed, it would leave its rules
                container.remove(force=True, v=True)
        for network in self.networks():
            self.engine.networks.get(network).remove()
        for volume in self.volumes():
            self.engine.volumes.get(volume).remove()


def _health(container: Container) -> str:
    state = container.attrs["State"]
    if state["Status"] != "running":
        return str(state["Status"])
    return str((state.get("Health") or {}).get("Status", "without a healthcheck"))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60, every: float = POLL_SECONDS) -> None:
    """Waits for a state of the host, and looks again `every` so many seconds. Fails with `what` did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(every)


def done(result: Result) -> dict[str, str]:
    """What a run did, or would do: resource → action, without what stayed the same. Fails if anything failed."""
    assert result.ok, [f"{change.name}: {change.error}" for change in result.failed]
    return {change.name: change.action.value for change in result.changes if change.action.value != "same"}
