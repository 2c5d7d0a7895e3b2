"""How a container runs: its image, limits, ports, log, restarts and health."""

import re
from collections.abc import Iterator

from policy.declared import Resource, Surroundings
from stack.pulumi_internals import Unknown

# An image's ID, or a reference with a digest.
FIXED_IMAGE = re.compile(r"(?:[^@\s]+@)?sha256:[0-9a-f]{64}")
RESTARTS = "unless-stopped"


def image(container: Resource, around: Surroundings) -> Iterator[str]:
    """An image by a name that can come to mean another one. A preview may not know it yet."""
    name = container.inputs.get("image")
    if not around.tags and not isinstance(name, Unknown) and not FIXED_IMAGE.fullmatch(str(name)):
        yield f"image {name}"


def limits(container: Resource, _around: Surroundings) -> Iterator[str]:
    """Memory, swap or CPUs without a limit."""
    memory = container.inputs.get("memory") or 0
    if memory <= 0:
        yield "no limit of memory"
    if container.inputs.get("memorySwap") != memory:
        yield "swap beyond the limit of memory"
    if float(container.inputs.get("cpus") or 0) <= 0:
        yield "no limit of CPUs"


def ports(container: Resource, around: Surroundings) -> Iterator[str]:
    """Ports published on an address that the stack file does not open."""
    if container.inputs.get("publishAllPorts"):
        yield "all ports of the image"
    for port in container.items("ports"):
        address = str(port.get("ip") or "")
        if not around.may_publish(container.label, address):
            yield f"port {int(port.get('external') or 0)} on {address or 'every address'}"


def log(container: Resource, _around: Surroundings) -> Iterator[str]:
    """A log that could fill the disk."""
    options = container.mapping("logOpts")
    if container.inputs.get("logDriver") != "json-file" or not {"max-size", "max-file"} <= set(options):
        yield "log without a limit"


def restarts(container: Resource, _around: Surroundings) -> Iterator[str]:
    """Another restart policy than the one of all."""
    policy = container.inputs.get("restart")
    if policy != RESTARTS:
        yield f"restart {policy}"


def health(container: Resource, _around: Surroundings) -> Iterator[str]:
    """No health check of the platform's own."""
    if (container.mapping("healthcheck").get("tests") or ["NONE"])[0] == "NONE":
        yield "no health check"
