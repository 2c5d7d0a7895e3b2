"""Prometheus' configuration: whom it asks for figures, how often, and who is told of alerts.

Services of this host are named here, so that one that is down stays a target, and an alert. Ray's nodes and the other
hosts of a cluster come and go: the health service lists them (entrypoints/health/targets.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from config.ports import ALERTMANAGER, EXPORTER, GRAFANA, HEALTH, POSTGRES_EXPORTER, PROMETHEUS, REDIS_EXPORTER

# Service → its port inside the network, where it answers GET /metrics.
ASKED = {
    "prometheus": PROMETHEUS,
    "alertmanager": ALERTMANAGER,
    "health": HEALTH,
    "exporter": EXPORTER,
    "redis-exporter": REDIS_EXPORTER,
    "postgres-exporter": POSTGRES_EXPORTER,
    "grafana": GRAFANA,
}
DISCOVERY_SECONDS = 15
LONGEST_SCRAPE = 10  # seconds


@dataclass(frozen=True, kw_only=True)
class Scraping:
    """What the configuration depends on."""

    stack: str
    host: str  # name of this host, on its series; empty where it is unknown
    interval: int  # seconds
    services: Sequence[str]  # those of this host that are enabled
    rules: Sequence[str] = field(default_factory=tuple)  # paths in the container


def configuration(scraping: Scraping) -> str:
    """The configuration, in YAML."""
    found: dict[str, Any] = {
        "global": {
            "scrape_interval": f"{scraping.interval}s",
            "scrape_timeout": f"{min(scraping.interval, LONGEST_SCRAPE)}s",
            "evaluation_interval": f"{scraping.interval}s",
            # Alerts name the stack, for whoever is told of those of several.
            "external_labels": {"stack": scraping.stack},
        },
        "rule_files": list(scraping.rules),
        **(_told() if "alertmanager" in scraping.services else {}),
        "scrape_configs": [*_services(scraping), _discovered()],
    }
    return yaml.safe_dump(found, sort_keys=False)


def _told() -> dict[str, Any]:
    targets = [f"alertmanager:{ALERTMANAGER}"]
    return {"alerting": {"alertmanagers": [{"static_configs": [{"targets": targets}]}]}}


def _services(scraping: Scraping) -> Iterator[dict[str, Any]]:
    labels = {"labels": {"host": scraping.host}} if scraping.host else {}
    for service, port in ASKED.items():
        if service in scraping.services:
            yield {"job_name": service, "static_configs": [{"targets": [f"{service}:{port}"], **labels}]}


def _discovered() -> dict[str, Any]:
    source = {"url": f"http://health:{HEALTH}/targets", "refresh_interval": f"{DISCOVERY_SECONDS}s"}
    return {"job_name": "discovered", "http_sd_configs": [source]}  # each target brings its own job
