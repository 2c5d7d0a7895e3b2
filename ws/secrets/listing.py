"""Where each secret of a stack comes from, which of its services use it, and how old it is. Never its value."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from config.masking import encrypted_throughout
from stack import env_secrets
from stack.cluster_key import key_file
from stack.running_work import Deployed
from stack.state import stack_folder
from ws.config.values import written_at
from ws.secrets.catalogue import CLUSTER_KEY, Secret
from ws.stack_settings import StackSettings


class Origin(StrEnum):
    """The kinds of places that a value comes from."""

    STACK_FILE = "stack file, encrypted"
    PLAIN = "stack file, in plain text"
    GENERATED = "generated file"
    ENV_SECRETS = "env-secrets file"
    CLUSTER = "cluster key"
    NOWHERE = "not set"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A secret, and what is known about its value."""

    secret: Secret
    origin: Origin
    file: Path | None = None  # with the value, where it is a file of its own
    services: tuple[str, ...] = ()  # of those that are deployed
    since: float | None = None  # seconds since 1970, since which this host has the value


def listed(secret: Secret, configured: StackSettings, services: Iterable[Deployed]) -> Listed:
    """One secret of a stack, with the services that are deployed."""
    origin, file = _source(secret, configured)
    services = tuple(services)
    users = users_of(secret, services)
    dated = [file] if file else [path for one in services for path in _mounted(secret, one)]
    times = [path.stat().st_mtime for path in dated if path and path.is_file()]
    return Listed(secret=secret, origin=origin, file=file, services=users, since=min(times, default=None))


def users_of(secret: Secret, services: Iterable[Deployed]) -> tuple[str, ...]:
    """The deployed services that have a secret, or something made from it."""
    return tuple(one.service for one in services if _mounted(secret, one))


def _mounted(secret: Secret, service: Deployed) -> list[Path]:
    return [Path(source) for target, source in service.mounts.items() if secret.is_mounted_at(service.service, target)]


def _source(secret: Secret, configured: StackSettings) -> tuple[Origin, Path | None]:
    """The place that decides: the stack file goes first."""
    folder = stack_folder(configured.identity)
    value = written_at(configured.file, secret.key) if secret.key else None
    if value is not None:
        return (Origin.STACK_FILE if encrypted_throughout(value) else Origin.PLAIN), None
    if secret.name == CLUSTER_KEY and configured.membership:
        file = key_file(configured.identity.project, configured.membership.cluster.name)
        return Origin.GENERATED, file
    if secret.generated:
        made_of_key = secret.key and configured.membership
        return (Origin.CLUSTER if made_of_key else Origin.GENERATED), folder / "generated" / secret.name
    file = folder / env_secrets.FOLDER / secret.name
    return (Origin.ENV_SECRETS, file) if file.is_file() else (Origin.NOWHERE, None)
