"""Whom Prometheus asks besides this host's services, in the form of its HTTP service discovery.

Ray's nodes, wherever they are, and the services of the cluster's other hosts: they come with a host that joins, and go
with one that leaves. An expected node of this host stays, so that one that is down is noticed.
"""

import json
from collections.abc import Iterator
from typing import Any

from contracts.health import HealthSettings, Kind
from contracts.status import HostState, Status


def targets(status: Status, settings: HealthSettings) -> str:
    """The list as JSON."""
    return json.dumps([*_ray(status, settings), *_peers(status, settings)])


def _ray(status: Status, settings: HealthSettings) -> Iterator[dict[str, Any]]:
    own = {service.name: service.host for service in settings.services if service.kind is Kind.RAY}
    for node in status.ray.nodes:
        port = next((port for end, port in settings.ray_metrics.items() if node.name.endswith(end)), None)
        address = node.address or own.get(node.name)
        if port and address and (node.alive or node.expected):
            labels = {"node": node.name, **({"host": settings.host} if settings.host and node.expected else {})}
            yield _target(f"{address}:{port}", "ray", labels)


def _peers(status: Status, settings: HealthSettings) -> Iterator[dict[str, Any]]:
    cluster = status.cluster
    if cluster is None or not cluster.host:
        return
    for member in cluster.hosts:
        if member.name != cluster.host and member.state is not HostState.DOWN:
            for job, port in settings.peers.items():
                yield _target(f"{member.address}:{port}", job, {"host": member.name})


def _target(address: str, job: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"targets": [address], "labels": {"job": job, **labels}}
