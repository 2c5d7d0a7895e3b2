"""The report and the host's facts as series for Prometheus. What is not known has no series."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contracts import facts
from contracts.health import HealthSettings
from contracts.status import ClusterStatus, HostState, RayStatus, State, Status
from entrypoints.health.disks import Disk, disks_of
from entrypoints.health.facts import fact, unreadable

Rows = Iterable[tuple[tuple[str, ...], float]]


def exposition(status: Status, settings: HealthSettings) -> bytes:
    """All series in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Collected([*_of_status(status), *_of_disks(disks_of(settings.disks)), *_of_facts(settings.facts)])
    )
    return generate_latest(registry)


class _Collected(Collector):
    """Series that are known already, in the form that the client takes them in."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """See the base class."""
        return self._found


def _gauge(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Iterator[Metric]:
    """One gauge, unless it has no rows."""
    family = GaugeMetricFamily(f"cslr_{name}", text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    if family.samples:
        yield family


def _of_status(status: Status) -> Iterator[Metric]:
    services = status.services
    yield from _gauge(
        "service_up",
        "Whether a service works.",
        ("service", "kind"),
        (((one.name, one.kind), one.state is State.UP) for one in services),
    )
    yield from _gauge(
        "service_probe_seconds",
        "How long a service took to answer.",
        ("service",),
        (((one.name,), one.latency_ms / 1000) for one in services if one.latency_ms is not None),
    )
    used = [((one.name, usage.name), usage) for one in services for usage in one.usage]
    yield from _gauge(
        "service_used_bytes",
        "How much a service uses of something limited.",
        ("service", "resource"),
        ((labels, usage.used) for labels, usage in used),
    )
    yield from _gauge(
        "service_limit_bytes",
        "How much a service may use of it.",
        ("service", "resource"),
        ((labels, usage.limit) for labels, usage in used),
    )
    yield from _of_ray(status.ray)
    if status.cluster:
        yield from _of_cluster(status.cluster)


def _of_ray(ray: RayStatus) -> Iterator[Metric]:
    if not ray.nodes and not ray.error:
        return  # this stack has no Ray
    yield from _gauge("ray_head_up", "Whether a node leads the Ray cluster.", (), [((), ray.head is not None)])
    yield from _gauge("ray_head_info", "The node that leads.", ("node",), [((ray.head.node,), 1)] if ray.head else ())
    shown = [node for node in ray.nodes if node.expected or node.alive]
    yield from _gauge(
        "ray_node_up",
        "Whether a Ray node is alive in the cluster.",
        ("node",),
        (((node.name,), node.alive) for node in shown),
    )
    yield from _gauge(
        "ray_node_gpus",
        "GPUs that a Ray node offers.",
        ("node",),
        (((node.name,), node.gpus) for node in shown if node.alive and node.gpus is not None),
    )


def _of_cluster(cluster: ClusterStatus) -> Iterator[Metric]:
    if cluster.epoch is not None:
        yield from _gauge("head_epoch", "Grows each time that a host takes the lead.", (), [((), cluster.epoch)])
    if cluster.since:
        since = datetime.strptime(cluster.since, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        yield from _gauge("head_since_timestamp_seconds", "When the head took the lead.", (), [((), since)])
    members = cluster.hosts if cluster.host else ()
    yield from _gauge(
        "host_up",
        "Whether a host of the cluster reports.",
        ("member",),
        (((one.name,), one.state is not HostState.DOWN) for one in members),
    )
    yield from _gauge(
        "host_in_maintenance",
        "Whether a host of the cluster is kept from leading.",
        ("member",),
        (((one.name,), one.state is HostState.MAINTENANCE) for one in members),
    )


def _of_disks(disks: tuple[Disk, ...]) -> Iterator[Metric]:
    free = (((disk.name,), disk.free) for disk in disks)
    size = (((disk.name,), disk.size) for disk in disks)
    yield from _gauge("disk_free_bytes", "Free space for users on a disk of this host.", ("disk",), free)
    yield from _gauge("disk_size_bytes", "Size of a disk of this host.", ("disk",), size)


def _of_facts(folders: tuple[Path, ...]) -> Iterator[Metric]:
    if verified := fact(folders, facts.VERIFICATION, facts.VerificationFact):
        text = "Checks of the last verification, by result."
        results = [(("pass",), verified.passed), (("fail",), verified.failed)]
        yield from _gauge("verification_checks", text, ("result",), results)
        yield from _gauge(
            "verification_timestamp_seconds", "When the last verification ended.", (), [((), verified.time)]
        )
    if builds := fact(folders, facts.BUILDS, facts.Builds):
        text = "Whether the last build of an image succeeded."
        succeeded = (((name,), one.succeeded) for name, one in builds.images.items())
        yield from _gauge("build_succeeded", text, ("image",), succeeded)
        times = (((name,), one.time) for name, one in builds.images.items())
        yield from _gauge("build_timestamp_seconds", "When an image was built last.", ("image",), times)
    broken = (((name,), 1) for name in unreadable(folders))
    yield from _gauge("fact_unreadable", "A fact of the host that cannot be read.", ("fact",), broken)
    for name, metric, text, label in TIMES:
        if found := fact(folders, name, facts.Times):
            yield from _gauge(metric, text, (label,), (((key,), at) for key, at in found.times.items()))


# Fact → its series, what that says, and the label that tells its entries apart.
TIMES = (
    (facts.BASES, "base_image_timestamp_seconds", "When a base image was made, with its security updates.", "image"),
    (facts.BACKUP, "backup_timestamp_seconds", "When a backup last succeeded.", "backup"),
    (facts.CERTIFICATES, "certificate_expiry_timestamp_seconds", "When a certificate expires.", "certificate"),
)
