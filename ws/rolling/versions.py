"""Refuses a rolling replacement that would change the version of Ray or Python: a cluster has one of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import docker
from docker.types import Mount

from config.cluster import Membership
from docker_api.one_off import limits
from stack.programs import program_path
from verification.spec import VerificationSpec
from ws.errors import WsError

WITH_PYTHON = program_path("with_python.sh")
# What a node compares before it joins: entrypoints/ray/container.py.
SOURCE = """
import json, platform
from importlib.metadata import PackageNotFoundError, version
def of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
print(json.dumps({"ray": of("ray"), "python": platform.python_version(), "torch": of("torch").partition("+")[2]}))
"""
NAMES = {"ray": "Ray", "python": "Python", "torch": "the build of torch"}
COMMAND = ["sh", WITH_PYTHON, "-c", SOURCE]
MEMORY = 512 * 2**20


@dataclass(frozen=True)
class Difference:
    """A version that would change."""

    what: str  # Ray
    now: str
    then: str

    def __str__(self) -> str:
        return f"{self.what} {self.now or 'none'} → {self.then or 'none'}"


def differences(now: Mapping[str, str], then: Mapping[str, str]) -> list[Difference]:
    """The versions that differ. One that is not known, or only to its minor version, is compared as far as it is."""
    found = []
    for key, name in NAMES.items():
        old, new = now.get(key, ""), then.get(key, "")
        parts = min(len(old.split(".")), len(new.split("."))) if key == "python" else None
        if old and new and old.split(".")[:parts] != new.split(".")[:parts]:
            found.append(Difference(name, old, new))
    return found


def refuse(found: Sequence[Difference], stack: str, membership: Membership | None) -> None:
    """Raises `WsError` if there are any, which names the versions and the planned restart instead."""
    if not found:
        return
    if membership:
        hosts = ", ".join(membership.cluster.hosts)
        remedy = (
            "  Plan a restart of the whole cluster. It ends all jobs; data stays:\n"
            f"    1. on every host ({hosts}), with the name of its stack:  ws down --stack {stack} --drain 2h\n"
            f"    2. then on every host:                                   ws up --stack {stack}"
        )
    else:
        remedy = (
            f"  Plan a restart. It waits up to 2 hours for jobs to end:  ws up --stack {stack} --drain 2h\n"
            f"  Or end them now:                                         ws up --stack {stack} --yes"
        )
    raise WsError(
        f"{', '.join(map(str, found))}: all nodes of a cluster have the same version, so none can be replaced before "
        f"the others. No Ray node was changed.\n{remedy}"
    )


def versions_in(container: str) -> dict[str, str]:
    """The versions in a running node; empty where it does not say."""
    done = docker.from_env(timeout=60).containers.get(container).exec_run(COMMAND)
    return _parsed(done.output if isinstance(done.output, bytes) and not done.exit_code else b"")


def versions_of(image: str, spec: VerificationSpec) -> dict[str, str]:
    """The versions in an image, by a container of it without a network; empty where it does not say."""
    client = docker.from_env(timeout=120)
    try:
        output: bytes = client.containers.run(
            image,
            entrypoint=["sh"],
            command=COMMAND[1:],
            mounts=[Mount(WITH_PYTHON, spec.client.with_python, type="bind", read_only=True)],
            network="none",
            user=spec.client.user,
            labels=spec.client.labels,
            **limits(MEMORY),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            remove=True,
        )
    except docker.errors.ContainerError:
        return {}
    return _parsed(output)


def _parsed(output: bytes) -> dict[str, str]:
    for line in reversed(output.decode(errors="replace").splitlines()):
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        return {key: str(answer[key]) for key in NAMES if key in answer} if isinstance(answer, dict) else {}
    return {}
