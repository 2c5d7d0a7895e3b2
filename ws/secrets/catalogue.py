"""The secrets that a stack can have, as a table: a row for each, with the files in which containers get it.

Holds no value. Another secret of the platform is a row in ``stack.secrets.SECRETS`` and one here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from config.keys import ALERT_SECRETS, ENV_SECRETS, WEBHOOKS
from config.notation import notebooks_of
from config.project import NAME
from contracts import mlflow_login, ray_tls
from contracts.postgres import ROLES
from coordination import redis_users
from stack import cluster_key, env_secrets
from stack.secrets import (
    ALERT_ROUTES,
    GATEWAY_KEY,
    NOTEBOOK_TOKEN,
    RAY_AUTHORITY,
    REDIS_CONF,
    REDIS_EXPORTER,
    SECRETS,
    SECRETS_TARGET,
    notebook_token_file,
)
from ws.errors import WsError
from ws.stack_settings import StackSettings

CLUSTER_KEY = "cluster-key"


@dataclass(frozen=True, kw_only=True)
class Secret:
    """One secret: how it is set, and where containers have it."""

    name: str  # as `ws secrets` lists it
    key: str  # of the stack config; empty for one that is never in it
    files: tuple[str, ...] = ()  # in /run/secrets: with the value, or with something made from it
    service: str = ""  # the one that alone uses it; empty: whichever has one of the files
    not_by: tuple[str, ...] = ()  # services that have a file of that name with another secret
    generated: bool = True  # made here where it is not set; otherwise a value must be given
    shared: bool = False  # the same on all hosts of a cluster, which could not talk to each other otherwise
    elsewhere: str = ""  # what else holds it, or is lost with it, and what to do about that
    keeps_former: bool = False  # the file has former values too, by which what they encrypted is read once more

    def is_mounted_at(self, service: str, target: str) -> bool:
        """Whether a file in a container of `service` is of this secret."""
        asked = service == self.service if self.service else service not in self.not_by
        return asked and target.removeprefix(f"{SECRETS_TARGET}/") in self.files


@dataclass(frozen=True, kw_only=True)
class _Row:
    files: tuple[str, ...]
    shared: bool = False
    elsewhere: str = ""


ROWS = {
    "redis-password": _Row(files=("redis-password", REDIS_CONF, *redis_users.SECRETS, REDIS_EXPORTER), shared=True),
    "postgres-password": _Row(files=("postgres-password", *(f"postgres-{role}" for role in ROLES))),
    "ray-token": _Row(
        files=("ray-token",),
        shared=True,
        elsewhere="Whoever uses Ray from elsewhere needs the new one: make their bundles anew (ws client), and copy it "
        "to every program that was given a copy",
    ),
    RAY_AUTHORITY: _Row(
        files=ray_tls.FILES,
        shared=True,
        elsewhere="With ray.tls, Ray Clients elsewhere need new certificates: make their bundles anew (ws client)",
    ),
    NOTEBOOK_TOKEN: _Row(
        files=(NOTEBOOK_TOKEN,),
        elsewhere="Everybody logs in to the notebooks again; bundles of `ws client` hold the former one",
    ),
    "transcription-token": _Row(
        files=("transcription-token",), elsewhere="Give the new one to the clients of the transcription service"
    ),
    "grafana-password": _Row(
        files=("grafana-password",),
        elsewhere="Grafana takes it only when it makes its data. With data that is there, the former one works until "
        "Grafana is told, as docs/metrics.md says: grafana cli … admin reset-admin-password",
    ),
    "grafana-secret-key": _Row(
        files=("grafana-secret-key",),
        elsewhere="Secrets that people entered in Grafana, such as those of contact points, cannot be read any more: "
        "enter them again",
    ),
    mlflow_login.ADMIN_SECRET: _Row(files=(mlflow_login.ADMIN_SECRET,)),
    mlflow_login.SERVICE_SECRET: _Row(
        files=(mlflow_login.SERVICE_SECRET,),
        shared=True,
        elsewhere="Programs that were given a copy need the new one; people's own passwords stay",
    ),
}


def secrets_of(configured: StackSettings) -> list[Secret]:
    """The secrets that a stack has or can be given, in the order in which they are listed.

    Raises:
        WsError: it deploys nothing that could use one.
    """
    if configured.matrix is not None:
        raise WsError(f"stack {configured.identity.stack} only builds images, and has no secrets.")
    settings = configured.platform
    people = settings.marimo.users if settings.marimo.enabled else {}
    found = [
        Secret(
            name=name,
            key=f"{NAME}:{key}",
            files=ROWS[name].files,
            not_by=tuple(map(notebooks_of, people)) if name == NOTEBOOK_TOKEN else (),
            shared=ROWS[name].shared,
            elsewhere=ROWS[name].elsewhere,
        )
        for name, key in SECRETS.items()
    ]
    if settings.mlflow.enabled:
        found.append(Secret(name=GATEWAY_KEY, key="", files=(GATEWAY_KEY,), keeps_former=True))
    found += (_of_person(name) for name in people)
    found += _env_secrets(configured)
    found += (
        Secret(name=key.partition(":")[2], key=key, files=(ALERT_ROUTES,), generated=False)
        for key in (*WEBHOOKS, *ALERT_SECRETS)
    )
    if configured.membership:
        found.append(Secret(name=CLUSTER_KEY, key=f"{NAME}:{cluster_key.KEY}", shared=True))
    return found


def _of_person(person: str) -> Secret:
    return Secret(
        name=notebook_token_file(person),
        key="",
        files=(NOTEBOOK_TOKEN,),
        service=notebooks_of(person),
        elsewhere=f"{person} logs in again; bundles of `ws client` for {person} hold the former one",
    )


def _env_secrets(configured: StackSettings) -> Iterator[Secret]:
    names = (name for listed in configured.platform.env_secrets.values() for name in listed)
    folder = env_secrets.TARGET.removeprefix(f"{SECRETS_TARGET}/")
    for name in dict.fromkeys(names):
        yield Secret(name=name, key=f"{ENV_SECRETS}.{name}", files=(f"{folder}/{name}",), generated=False)
