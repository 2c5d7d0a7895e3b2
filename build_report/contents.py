"""The contents of an image, listed by a container: Debian packages, Python packages, and torch's CUDA version.

Owns the container, which has no network, cannot write, ends within a bounded time and is removed whatever happens.
"""

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import LogConfig

from build_report.records import Package, ReportError
from docker_api.one_off import limits

INVENTORY = Path(__file__).with_name("inventory.py")
# Three parts with a zero byte between them: the distribution, Debian's packages, what inventory.py says.
PROGRAM = r"""
. /etc/os-release 2>/dev/null && printf '%s-%s' "$ID" "${VERSION_ID:-$VERSION_CODENAME}"
printf '\0'
dpkg-query --show 2>/dev/null \
    --showformat '${Package}\t${Version}\t${Installed-Size}\t${Architecture}\t${source:Package}\n'
printf '\0'
python=$(command -v python3 || command -v python) && exec "$python" -B -c "$1"
exit 0
"""
SECONDS = 180.0
LABEL = {"cslr.component": "build-report"}
MEMORY = 2**30  # bytes
LOG_LINES = 5
# Errors of an image without a shell, or for another architecture.
NOBODY = ("executable file not found", "exec format error")


class ContentsError(ReportError):
    """The contents of an image cannot be listed. The message is one sentence."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of an image. Empty where it has none."""

    distribution: str = ""
    python: str = ""
    torch: str = ""
    torch_cuda: str = ""
    packages: tuple[Package, ...] = ()


def contents(image_id: str, platform: str) -> Contents:
    """Lists the contents of an image. Raises ContentsError."""
    try:
        with (
            contextlib.closing(docker.from_env(timeout=60)) as engine,
            _container(engine, image_id, platform) as container,
        ):
            return _answer(container, image_id)
    except (DockerException, requests.RequestException) as error:
        raise ContentsError(f"{image_id} cannot be searched for packages: {error}") from error


def _answer(container: Container, image_id: str) -> Contents:
    try:
        container.start()
    except APIError as error:
        if any(reason in str(error) for reason in NOBODY):
            return Contents()
        raise
    try:
        code = container.wait(timeout=SECONDS)["StatusCode"]
    except requests.RequestException:
        raise ContentsError(f"{image_id} did not list its packages within {SECONDS:.0f} s") from None
    if code:
        last = container.logs(stdout=False, tail=LOG_LINES).decode(errors="replace").strip()
        if any(reason in last for reason in NOBODY):
            return Contents()
        raise ContentsError(f"{image_id} cannot list its packages (exit code {code}): {last}")
    return _parse(container.logs(stderr=False).decode(errors="replace"))


@contextlib.contextmanager
def _container(engine: docker.DockerClient, image_id: str, platform: str) -> Iterator[Container]:
    # By its name it is also found where a signal comes before Docker's answer with the ID.
    name = f"cslr-report-{secrets.token_hex(6)}"
    try:
        yield engine.containers.create(
            image_id,
            name=name,
            entrypoint=["sh", "-c", PROGRAM, "sh"],
            command=[INVENTORY.read_text(encoding="utf-8")],
            platform=platform,
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            **limits(MEMORY),
            healthcheck={"test": ["NONE"]},
            labels=LABEL,
            # The list is read from the log, which not every log driver supports.
            log_config=LogConfig(type=LogConfig.types.JSON),
        )
    finally:
        with contextlib.suppress(NotFound):
            engine.containers.get(name).remove(force=True, v=True)


def _parse(output: str) -> Contents:
    distribution, debian, python = output.split("\0")
    packages = []
    for line in debian.splitlines():
        name, version, size, architecture, source = line.split("\t")
        packages.append(
            Package(
                kind="debian",
                name=name,
                version=version,
                size=int(size or 0) * 1024,
                architecture=architecture,
                source=source if source != name else "",
            )
        )
    said: dict[str, Any] = json.loads(python) if python.strip() else {}
    packages += [
        Package(kind="python", name=name, version=version, size=size)
        for name, (version, size) in sorted(said.get("packages", {}).items())
    ]
    torch = said.get("torch", {})
    return Contents(
        distribution=distribution,
        python=said.get("python", ""),
        torch=torch.get("__version__", ""),
        torch_cuda=torch.get("cuda", ""),
        packages=tuple(packages),
    )
