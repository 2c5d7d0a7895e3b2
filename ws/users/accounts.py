"""People's accounts in MLflow, by its own interface and as its account with all rights.

MLflow keeps them in Postgres. Each password is known to its person alone: it is said once, and kept nowhere here.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from config.cluster import Membership
from config.ports import MLFLOW
from contracts import mlflow_login
from docker_api.api import DockerError
from stack import running_work
from stack.identity import StackIdentity
from stack.secrets import SECRETS_TARGET
from ws.errors import SERVER_ERROR, WsError

SECONDS = 30.0  # for an answer
OWN = (mlflow_login.ADMIN, mlflow_login.SERVICE)  # accounts of the platform


def turn_on(stack: str, membership: Membership | None = None) -> str:
    """The command, or the change of the cluster file, after which, with `ws up`, MLflow asks for logins."""
    return f"set {membership.names('mlflow.logins')} to true" if membership else f"ws set mlflow.logins true -s {stack}"


class RefusedError(WsError):
    """MLflow understood a request and refused it, so that nothing was changed by it."""


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """The accounts of one running MLflow."""

    api: str
    host: str
    authorization: str = field(repr=False)

    @classmethod
    def of(cls, identity: StackIdentity) -> "Accounts":
        """Those of a deployed stack. Raises `WsError` where no MLflow with logins runs here."""
        try:
            services = running_work.deployed(identity)
        except DockerError as error:
            raise WsError(f"Nothing was changed, since Docker cannot list the containers: {error}") from error
        mlflow = next((one for one in services if one.service == "mlflow" and one.running), None)
        file = mlflow.mounts.get(f"{SECRETS_TARGET}/{mlflow_login.ADMIN_SECRET}") if mlflow else None
        if mlflow is None or file is None:
            raise WsError(
                f"no MLflow with logins runs here, and accounts are kept by it. Deploy it first: ws up -s "
                f"{identity.stack} (in a cluster, on the host of MLflow). Nothing was changed."
            )
        try:
            password = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise WsError(f"{file} cannot be read ({error.strerror}). Nothing was changed.") from error
        prefix = mlflow.env.get("MLFLOW_STATIC_PREFIX", "")
        return cls(
            api=f"http://{mlflow.reached(MLFLOW)}{prefix}/api/2.0/mlflow/users",
            host=mlflow.host(MLFLOW),
            authorization=mlflow_login.basic(mlflow_login.ADMIN, password),
        )

    def names(self) -> list[str]:
        """Everybody who has one, but for the platform's own."""
        users = self._ask("GET", "list").get("users", ())
        return sorted(str(one["username"]) for one in users if one["username"] not in OWN)

    def add(self, name: str, password: str) -> None:
        """A new one; an existing one is refused. Raises `RefusedError` where it is certain that none was made."""
        self._ask("POST", "create", {"username": name, "password": password})

    def set_password(self, name: str, password: str) -> None:
        """Another password for an existing one."""
        self._ask("PATCH", "update-password", {"username": name, "password": password})

    def remove(self, name: str) -> None:
        """Deletes one; what it logged stays."""
        self._ask("DELETE", "delete", {"username": name})

    def _ask(self, method: str, what: str, body: Mapping[str, str] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 (http, our own)
            f"{self.api}/{what}",
            json.dumps(body).encode() if body else None,
            {"Host": self.host, "Authorization": self.authorization, "Content-Type": "application/json"},
            method=method,
        )
        # No proxy: it is our own, and a proxy of the site cannot reach it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=SECONDS) as response:
                return dict(json.loads(response.read() or b"{}"))
        except urllib.error.HTTPError as error:
            kind = RefusedError if error.code < SERVER_ERROR else WsError  # a server that failed may have done it
            with error:
                raise kind(f"MLflow refuses ({error.code}): {_message(error.read())}") from error
        except (OSError, ValueError, HTTPException) as error:
            raise WsError(f"MLflow does not answer: {getattr(error, 'reason', error)}") from error


def _message(answer: bytes) -> str:
    """What MLflow says, without what its database says: that has the hash of the password."""
    try:
        return str(json.loads(answer)["message"]).partition(" Error:")[0][:200]
    except (ValueError, LookupError, TypeError):
        return "no reason given"
