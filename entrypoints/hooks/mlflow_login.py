"""Hook into MLflow's client: tasks and notebooks log in to the platform's MLflow with its account.

MLflow's client takes a password from the environment, where `docker inspect` and every child process show it, or from
~/.mlflow/credentials in the home folder that all people share, and sends it to every server that a program names. So
the account comes from a mounted file, and goes to the platform's own server alone. What a program or person sets goes
first. Standard library only, Python 3.10 or newer; stands alone (registry.py).
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

USER = "platform"  # contracts/mlflow_login.py
PASSWORD = Path(os.environ.get("CSLR_MLFLOW_PASSWORD", "/run/secrets/mlflow-password"))
LINKS = Path(os.environ.get("CSLR_MLFLOW_LINKS", "/run/cslr/links/mlflow.json"))


def password_for(uri: str) -> str | None:
    """Return the password of the platform's account; None without logins, and for any other server."""
    try:
        inside = str(json.loads(LINKS.read_text(encoding="utf-8"))["inside"]).rstrip("/")
        return PASSWORD.read_text(encoding="utf-8").strip() if f"{uri}/".startswith(f"{inside}/") else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hook_credentials(module: ModuleType) -> None:
    """Change ``mlflow.utils.credentials``."""
    own = module.get_default_host_creds

    @functools.wraps(own)
    def get_default_host_creds(store_uri: Any) -> Any:  # noqa: ANN401 (of MLflow)
        creds = own(store_uri)
        if not (creds.username or creds.password or creds.token or creds.auth or creds.aws_sigv4):
            password = password_for(str(store_uri))
            if password:
                creds.username, creds.password = USER, password
        return creds

    module.get_default_host_creds = get_default_host_creds  # type: ignore[attr-defined]
