"""Grafana's configuration: its settings, where it asks for figures, and where its dashboards are.

All of it comes from here (provisioning), so that people look and do not change what the next `up` would set back. It
asks no other host: no version check, no news, no plugins.
"""

import configparser
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from config.ports import GRAFANA, PROMETHEUS
from stack.mount import Mount
from stack.programs import PROGRAMS_TARGET
from stack.secrets import SECRETS_TARGET

# Names of files.
PASSWORD, SECRET_KEY = "grafana-password", "grafana-secret-key"
DATA, DASHBOARDS = "/var/lib/grafana", "/run/dashboards"
SETTINGS, PROVISIONING = f"{PROGRAMS_TARGET}/grafana.ini", f"{PROGRAMS_TARGET}/grafana"
# Variables win over grafana.ini, and Grafana's image sets these.
PATHS = {
    "GF_PATHS_DATA": DATA,
    "GF_PATHS_LOGS": "/tmp",  # noqa: S108 - of the container
    "GF_PATHS_PLUGINS": f"{DATA}/plugins",
    "GF_PATHS_PROVISIONING": PROVISIONING,
}
# The name that Ray's dashboards look for, and that Ray tells its own pages (RAY_PROMETHEUS_NAME).
SOURCE = "Prometheus"


@dataclass(frozen=True, kw_only=True)
class Panels:
    """What Ray's containers that may lead need, so that Ray's dashboard shows Grafana's panels."""

    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()  # of the folder to which Ray's head writes dashboards


def panels(url: str, folder: str, *, grafana: str, prometheus: str) -> Panels:
    """`url`: where people's browsers open Grafana; the others are where Ray itself asks (host:port)."""
    return Panels(
        environment={
            "RAY_GRAFANA_HOST": f"http://{grafana}",
            "RAY_GRAFANA_IFRAME_HOST": url,
            "RAY_PROMETHEUS_HOST": f"http://{prometheus}",
            "RAY_PROMETHEUS_NAME": SOURCE,
            "RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR": DASHBOARDS,
        },
        mounts=(Mount(source=folder, target=DASHBOARDS),),
    )


def settings(url: str) -> str:
    """grafana.ini. `url`: where people open it."""
    sections: Mapping[str, Mapping[str, str]] = {
        "server": {"http_port": str(GRAFANA), "root_url": url},
        "security": {
            "admin_user": "admin",
            "admin_password": f"$__file{{{SECRETS_TARGET}/{PASSWORD}}}",
            # By default it is one that everybody knows from Grafana's own files.
            "secret_key": f"$__file{{{SECRETS_TARGET}/{SECRET_KEY}}}",
            "allow_embedding": "true",  # Ray's dashboard shows panels in frames
            "disable_gravatar": "true",
        },
        "auth.anonymous": {"enabled": "false"},
        "users": {"allow_sign_up": "false"},
        "analytics": {
            "reporting_enabled": "false",
            "check_for_updates": "false",
            "check_for_plugin_updates": "false",
        },
        "news": {"news_feed_enabled": "false"},
        "plugins": {"preinstall_disabled": "true", "plugin_admin_enabled": "false"},
        "snapshots": {"external_enabled": "false"},
        "log": {"mode": "console"},
    }
    written = configparser.ConfigParser(interpolation=None)
    written.read_dict(sections)
    text = io.StringIO()
    written.write(text)
    return text.getvalue()


def sources(interval: int) -> str:
    """Where it asks: the stack's Prometheus, which collects each `interval` seconds."""
    source: dict[str, Any] = {
        "name": SOURCE,
        "uid": "prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://prometheus:{PROMETHEUS}",
        "isDefault": True,
        "editable": False,
        "jsonData": {"httpMethod": "POST", "timeInterval": f"{interval}s"},
    }
    return yaml.safe_dump({"apiVersion": 1, "datasources": [source]}, sort_keys=False)


def dashboards() -> str:
    """Where its dashboards are: those that Ray's head writes when it starts."""
    provider: dict[str, Any] = {
        "name": "Ray",
        "folder": "Ray",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": DASHBOARDS},
    }
    return yaml.safe_dump({"apiVersion": 1, "providers": [provider]}, sort_keys=False)
