"""What of a stack is backed up: folders of the host and volumes, by names that do not depend on the stack's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.notation import NOTEBOOKS, listed_as
from config.platform import PlatformSettings
from config.types import is_path
from docker_api.api import DockerApi
from stack.identity import StackIdentity
from ws.errors import WsError

# Service → what its data is called in the name of its volume. Not here: Redis (state of a running cluster, which no
# other can take over), Postgres (its databases are dumped), Prometheus and Alertmanager (measurements), Ray's scratch.
KEPT = {
    "mlflow": "artifacts",
    NOTEBOOKS: "notebooks",
    "queue": "data",
    "transcription": "data",
    "grafana": "data",
    "devel": "host-keys",
}
DATABASES = "postgres"
HOME, CHECKPOINTS, ARTIFACTS = "home", "checkpoints", "mlflow-artifacts"
WITHOUT = {ARTIFACTS: ("/.uploads",)}  # uploads in progress


@dataclass(frozen=True, kw_only=True)
class Part:
    """A folder of the host, or a volume."""

    name: str  # mlflow-artifacts, marimo-anna-notebooks, home
    location: str  # a path, or a volume's name

    def folder(self, api: DockerApi) -> Path | None:
        """Where its files are; None where it is not there yet. Raises `WsError` where this process may not see them."""
        if is_path(self.location):
            path = Path(self.location)
        else:
            volume = api.find(f"/volumes/{self.location}")
            if volume is None:
                return None
            path = Path(volume["Mountpoint"])
        try:
            if not path.is_dir():
                return None
            next(path.iterdir(), None)
        except PermissionError:
            raise WsError(f"{path} may only be read by root, as all volumes of Docker.") from None
        return path


def parts(identity: StackIdentity, settings: PlatformSettings) -> Iterator[Part]:
    """The folders and volumes of a stack's host that are backed up."""
    for service in settings.services():
        if kept := KEPT.get(listed_as(service)):
            name = f"{service}-{kept}"
            yield Part(name=name, location=settings.service(service).location or identity.object_name(name))
    if settings.workspace_users:
        yield Part(name=HOME, location=settings.ray.home or identity.object_name(HOME))
    shared, membership = settings.ray.checkpoints_folder, settings.membership
    if shared and (membership is None or membership.host == membership.redis_host):  # one host of all that mount it
        yield Part(name=CHECKPOINTS, location=shared)


def databases_place(identity: StackIdentity, settings: PlatformSettings) -> Part:
    """Where Postgres keeps its databases, which are dumped and not copied."""
    location = settings.service(DATABASES).location or identity.object_name(f"{DATABASES}-data")
    return Part(name=DATABASES, location=location)


def named_places(identity: StackIdentity, settings: PlatformSettings) -> Iterator[Part]:
    """What a restore replaces that is not the stack's own by its name: other stacks and hosts may use it, too."""
    yield from (part for part in parts(identity, settings) if part.location != identity.object_name(part.name))
    if DATABASES in settings.services() and settings.service(DATABASES).location:
        yield databases_place(identity, settings)
