"""Hook into MLflow's client: prints links to runs that people can open.

The client prints the address that it logs to, a name inside the network: no browser can open `http://mlflow:5000`.
People's address for it depends on the stack file, and a change must not replace nodes: so it is read from a file of
the host, which each deployment writes. Stands alone (registry.py).
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import ModuleType

LINKS = Path(os.environ.get("CSLR_MLFLOW_LINKS", "/run/cslr/links/mlflow.json"))


def link_for(tracking_uri: str) -> str | None:
    """Return the address at which people open a tracking server; None if it is not the platform's own."""
    try:
        links = json.loads(LINKS.read_text(encoding="utf-8"))
        return str(links["outside"]) if tracking_uri.rstrip("/") == links["inside"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hook_client(client: ModuleType) -> None:
    """Make the client print links that people can open; `client` is MLflow's module of this name."""
    own_log, own_workspace = client.TrackingServiceClient._log_url, client.get_workspace_url
    printed = threading.local()

    def workspace_url() -> object:
        return getattr(printed, "link", None) or own_workspace()

    def log_url(self: object, run_id: str) -> object:
        # MLflow asks for the address of a workspace first, which only Databricks has.
        printed.link = link_for(str(getattr(self, "tracking_uri", "")))
        try:
            return own_log(self, run_id)
        finally:
            printed.link = None

    client.TrackingServiceClient._log_url = log_url
    setattr(client, "get_workspace_url", workspace_url)  # noqa: B010 (a module of another program)
