"""The account with which the platform's own programs, tasks and notebooks use MLflow, where it has logins.

The password is a mounted file, which is there only with logins. entrypoints/mlflow_server.py makes the accounts.
Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

ADMIN, SERVICE = "admin", "platform"
ADMIN_SECRET, SERVICE_SECRET = "mlflow-admin-password", "mlflow-password"
SHORTEST = 12  # characters of a password, as MLflow wants it
FILE = Path("/run/secrets", SERVICE_SECRET)


def basic(user: str, password: str) -> str:
    """The header `Authorization` of a user."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def headers(file: Path = FILE) -> Mapping[str, str]:
    """The headers with which the platform's account asks MLflow; none without logins."""
    try:
        return {"Authorization": basic(SERVICE, file.read_text(encoding="utf-8").strip())}
    except FileNotFoundError:
        return {}
