"""The row of tiles at the top of the page: what a reader wants to know first, each with the section that says more."""

from collections.abc import Iterator
from dataclasses import dataclass

from contracts.status import State
from entrypoints.health.page.snapshot import Snapshot
from entrypoints.health.page.words import duration, gigabytes

LOW_DISK = 10 * 10**9  # bytes; below, an alert fires


@dataclass(frozen=True, kw_only=True)
class Tile:
    """state: good, bad, or empty where neither is meant."""

    name: str
    value: str
    note: str = ""
    state: str = ""
    section: str


def tiles(shown: Snapshot) -> Iterator[Tile]:
    """The tiles of what is known."""
    yield _services(shown)
    yield from _nodes(shown)
    yield from _gpus(shown)
    yield from _jobs(shown)
    yield from _disk(shown)
    yield from _verification(shown)
    yield from _drift(shown)


def _services(shown: Snapshot) -> Tile:
    services = shown.status.services
    up = sum(service.state is State.UP for service in services)
    warnings = sum(bool(service.warning) for service in services)
    return Tile(
        name="Services",
        value=f"{up} of {len(services)}",
        note=f"up, {warnings} with a warning" if warnings else "up",
        state="good" if up == len(services) else "bad",
        section="services",
    )


def _nodes(shown: Snapshot) -> Iterator[Tile]:
    ray = shown.status.ray
    if not ray.nodes and not ray.error:
        return
    alive = [node for node in ray.nodes if node.alive]
    wanted = sum(node.alive or node.expected for node in ray.nodes)
    cpus = sum(node.cpus or 0 for node in alive)
    yield Tile(
        name="Ray nodes",
        value=f"{len(alive)} of {wanted}",
        note=f"alive, {cpus:g} CPUs",
        state="good" if len(alive) == wanted and not ray.error else "bad",
        section="nodes",
    )


def _gpus(shown: Snapshot) -> Iterator[Tile]:
    if not shown.gpus or not shown.gpus.found:
        return
    gpus = shown.gpus.found
    up = [gpu for gpu in gpus if gpu.up]
    uses = [gpu.use for gpu in up if gpu.use is not None]
    yield Tile(
        name="GPUs",
        value=f"{len(up)} of {len(gpus)}",
        note=f"answer, {sum(uses) / len(uses):.0f} % in use" if uses else "answer",
        state="good" if len(up) == len(gpus) else "bad",
        section="gpus",
    )


def _jobs(shown: Snapshot) -> Iterator[Tile]:
    if not shown.jobs or shown.jobs.found is None:
        return
    running, waiting = (sum(job.status == status for job in shown.jobs.found) for status in ("RUNNING", "PENDING"))
    yield Tile(name="Jobs", value=str(running), note=f"running, {waiting} waiting", section="jobs")


def _disk(shown: Snapshot) -> Iterator[Tile]:
    if not shown.disks:
        return
    disk = min(shown.disks, key=lambda disk: disk.free)
    yield Tile(
        name="Disk",
        value=gigabytes(disk.free),
        note=f"free of {gigabytes(disk.size)}",
        state="bad" if disk.free < LOW_DISK else "good",
        section="upkeep",
    )


def _verification(shown: Snapshot) -> Iterator[Tile]:
    verified = shown.verification
    if not verified:
        return
    yield Tile(
        name="Verification",
        value=f"{verified.passed} of {verified.passed + verified.failed}",
        note=f"passed, {duration(shown.now - verified.time)} ago",
        state="bad" if verified.failed else "good",
        section="upkeep",
    )


def _drift(shown: Snapshot) -> Iterator[Tile]:
    found = shown.drift
    if not found:
        return
    number = len(found.differences) + found.left_out
    runs = shown.history.runs if shown.history else ()
    outdated = bool(runs) and runs[0].time > found.time  # the run may have undone it, or caused some
    yield Tile(
        name="Drift",
        value=str(number) if number else "none",
        note=f"checked {duration(shown.now - found.time)} ago",
        state="" if outdated else "bad" if number else "good",
        section="deployment",
    )
