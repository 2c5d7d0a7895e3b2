"""The faults of one host, as a table: each breaks something for a time, and undoes it.

What is drawn comes from a seeded generator, so that a sequence can be repeated. They need root: processes of containers
are killed from outside, and ends of network cables of the host are taken down.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from testing.chaos.stack import Rig
from testing.cluster.faults import pause
from testing.cluster.hosts import run

Fault = Callable[[Rig, random.Random], contextlib.AbstractContextManager[None]]
FULL_SECONDS = 10.0  # for which something stays full
CLOCK_SECONDS = 15.0  # for which the clock is wrong
LARGEST = 4 * 2**30  # bytes of a file system that may be filled: that of the host may not


@contextlib.contextmanager
def nothing(rig: Rig, draw: random.Random) -> Iterator[None]:
    """No fault: how long the work takes to be acknowledged on a stack that is well."""
    yield


@contextlib.contextmanager
def killed(rig: Rig, draw: random.Random, *, services: Sequence[str]) -> Iterator[None]:
    """SIGKILL of the main processes of containers, all others of theirs with them. Docker starts them again."""
    for pid in [main_process(rig, service) for service in services]:
        os.kill(pid, signal.SIGKILL)
    yield


@contextlib.contextmanager
def two_killed(rig: Rig, draw: random.Random) -> Iterator[None]:
    """The same of any two services at once."""
    with killed(rig, draw, services=draw.sample(sorted(rig.stack.containers()), 2)):
        yield


@contextlib.contextmanager
def frozen(rig: Rig, draw: random.Random, *, service: str, seconds: float) -> Iterator[None]:
    """All processes of a container stand still."""
    container = rig.stack.container(service)
    pause(container)
    try:
        time.sleep(seconds)
    finally:
        container.unpause()
    yield


@contextlib.contextmanager
def cut_off(rig: Rig, draw: random.Random, *, services: Sequence[str], seconds: float) -> Iterator[None]:
    """The network cable of containers is out."""
    ends = [end for service in services for end in cable(rig, service)]
    for end in ends:
        run("ip", "link", "set", end, "down")
    try:
        time.sleep(seconds)
    finally:
        for end in ends:
            run("ip", "link", "set", end, "up")
    yield


@contextlib.contextmanager
def folder_full(rig: Rig, draw: random.Random, *, service: str, folder: str) -> Iterator[None]:
    """A file system in the memory of a container is full."""
    _, said = rig.stack.heard(service, "df", "-B1", "--output=size", folder)
    assert int(said.split()[-1]) <= LARGEST, f"{folder} of {service} may be the host's: {said}"
    filler = f"{folder}/filler-of-a-test"
    rig.stack.exec(service, "dd", "if=/dev/zero", f"of={filler}", "bs=1M")
    try:
        time.sleep(FULL_SECONDS)
    finally:
        rig.stack.exec(service, "rm", "-f", filler)
    yield


@contextlib.contextmanager
def disk_full(rig: Rig, draw: random.Random, *, service: str) -> Iterator[None]:
    """The file system that has the data of a service is full."""
    assert rig.disks, "the data are not on file systems of their own"
    filler = rig.disks.place(service) / "filler"
    fill(filler)
    try:
        time.sleep(FULL_SECONDS)
    finally:
        filler.unlink()
    yield


@contextlib.contextmanager
def memory_used_up(rig: Rig, draw: random.Random, *, service: str) -> Iterator[None]:
    """A process in a container takes all memory that the container has."""
    program = "kept = []\nwhile True: kept.append(b'x' * 10_000_000)"
    rig.stack.exec(service, "python", "-c", program)
    yield


@contextlib.contextmanager
def memory_of_a_worker_used_up(rig: Rig, draw: random.Random) -> Iterator[None]:
    """A task takes more memory than its node has."""
    rig.user.run("memory", "fast", 12)
    yield


@contextlib.contextmanager
def clock_jumps(rig: Rig, draw: random.Random, *, seconds: float) -> Iterator[None]:
    """The clock of the whole host is wrong by that much for some time, and then right again."""
    wall, steady = time.time(), time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, wall + seconds)
    try:
        time.sleep(CLOCK_SECONDS)
    finally:
        time.clock_settime(time.CLOCK_REALTIME, wall + time.monotonic() - steady)
    yield


def main_process(rig: Rig, service: str) -> int:
    """Its ID on this host."""
    pid = int(rig.stack.container(service).attrs["State"]["Pid"])
    assert pid, f"{service} does not run"
    return pid


def cable(rig: Rig, service: str) -> list[str]:
    """The host's end of each network interface of a container."""
    namespace = f"--net=/proc/{main_process(rig, service)}/ns/net"
    # Each link of the container names the number of its other end: 7: eth0@if8
    found = run("nsenter", namespace, "ip", "-o", "link", "show", "type", "veth")
    numbers = [line.partition("@if")[2].partition(":")[0] for line in found.splitlines()]
    names = {path.read_text().strip(): path.parent.name for path in Path("/sys/class/net").glob("*/ifindex")}
    return [names[number] for number in numbers]


def fill(file: Path) -> None:
    """Takes all that is free of a file system, which must be a small one."""
    size = os.statvfs(file.parent)
    assert size.f_blocks * size.f_frsize <= LARGEST, f"{file.parent} is no file system of its own"
    with file.open("wb") as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(2**16))
            filler.flush()


SERVICES = ("firewall", "health", "keeper", "marimo", "mlflow", "postgres", "queue", "ray-cpu", "redis")
CUT_SECONDS = (1, 10, 60)
NETWORKED = ("mlflow", "postgres", "ray-cpu", "redis")
FAULTS: dict[str, Fault] = {
    "none": nothing,
    **{f"{service} killed": partial(killed, services=[service]) for service in SERVICES},
    "two services killed at once": two_killed,
    "redis and postgres killed at once": partial(killed, services=["redis", "postgres"]),
    "redis frozen for 2 s": partial(frozen, service="redis", seconds=2),
    **{
        f"{service} cut off for {seconds} s": partial(cut_off, services=[service], seconds=seconds)
        for service in NETWORKED
        for seconds in CUT_SECONDS
    },
    **{
        f"{folder} of ray-cpu full": partial(folder_full, service="ray-cpu", folder=folder)
        for folder in ("/dev/shm", "/tmp")
    },
    "out of memory in a Ray task": memory_of_a_worker_used_up,
    **{f"out of memory in {service}": partial(memory_used_up, service=service) for service in ("mlflow", "marimo")},
}
# The fast ones, of services that a small stack has.
SHORT = (
    "postgres cut off for 1 s", "postgres killed", "queue killed", "redis cut off for 1 s", "redis frozen for 2 s",
    "redis killed",
)  # fmt: skip
# These need data on file systems of their own (stack.Disks).
DISK_FAULTS: dict[str, Fault] = {
    f"disk of {service} full": partial(disk_full, service=service)
    for service in ("marimo", "mlflow", "postgres", "redis")
}
# Everything on the host sees these: only where somebody asks for them.
CLOCK_FAULTS: dict[str, Fault] = {
    f"clock jumps by {hours:+d} h and back": partial(clock_jumps, seconds=hours * 3600) for hours in (-1, 1)
}
