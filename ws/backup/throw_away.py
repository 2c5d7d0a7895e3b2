"""A Postgres for one comparison: a container of its own, whose data ends with it.

So a backup is verified while the stack is down as well, and the stack's own databases have no work with it. The
container has no network. It runs only as long as this process keeps a connection to it: if that is killed, Docker
removes the container and its volume.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import docker
import requests
from docker.errors import DockerException, NotFound

from config.services import PostgresSettings
from docker_api.api import DockerApi, bytes_free, data_root
from docker_api.database_dump import DATA, PREPARE, SECONDS
from docker_api.one_off import WHILE_CONNECTED, connected, hardened, limits
from preflight.host_facts import postgres_major
from stack.identity import StackIdentity
from ws.backup.databases import POSTGRES, Server
from ws.backup.space import LOADED, refuse_little_room
from ws.containers import containers
from ws.errors import WsError

PART = "backup-verify"  # of the container's name
LABEL = "cslr.backup-verify"  # of the volume, which has no name by which Docker would keep it
TITLE = "org.opencontainers.image.title=cslr postgres"  # label of the images that were built here
SUPERUSER = "postgres"
MEMORY = 512 * 2**20
SHARED_MEMORY = 128 * 2**20
EMPTY_CLUSTER = 64 * 2**20
# Nothing must outlive the container: so Postgres need not wait for the disk, nor log what it writes.
FAST = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=128MB",
    "autovacuum=off",
    "max_parallel_workers=0",
    "max_parallel_maintenance_workers=0",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=/tmp",
)
# The programs of `Server` look for the files of passwords, which nothing asks for here.
START = f"""\
set -e
umask 077
for bin in /usr/lib/postgresql/*/bin; do [ ! -d "$bin" ] || PATH="$bin:$PATH"; done
touch /run/secrets/postgres-password /run/secrets/postgres-mlflow
cd {DATA}
initdb --pgdata=main --username={SUPERUSER} --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions \\
    >/dev/null
pg_ctl --pgdata=main --log=log --wait --timeout=120 --options="$0" start >/dev/null || {{ tail -n 5 log >&2; exit 1; }}
"""
MAKE_ROLE = f'{PREPARE}exec createuser --no-login -- "$0"\n'


@contextmanager
def throw_away_server(
    identity: StackIdentity, api: DockerApi, settings: PostgresSettings, *, owners: Iterable[str], largest: int
) -> Iterator[Server]:
    """A Postgres with the roles `owners` and nothing else, for dumps of at most `largest` bytes. Raises `WsError`."""
    client = docker.from_env(timeout=SECONDS)
    image = _image(identity, api, client, settings)
    if root := data_root(api.call("GET", "/info")):
        needed = EMPTY_CLUSTER + largest + int(LOADED * largest)
        refuse_little_room(root, bytes_free(root), needed, "a temporary database", "Make room on its disk.")
    name = identity.object_name(PART)
    _remove_leftover(client, name, identity)
    container = client.containers.create(image, **_options(name, settings.user))
    try:
        server = Server(client=client, container=str(container.id))
        with connected(client, server.container):
            server.run(START, " ".join(f"-c {one}" for one in FAST))
            for owner in {*owners} - {SUPERUSER}:
                server.run(MAKE_ROLE, owner)
            yield server
    except WsError as error:
        if _state(client, name) == "running":
            raise
        raise WsError(f"the temporary Postgres ended too early ({error}). Run it again.") from None
    finally:
        with suppress(DockerException, requests.RequestException):  # it may be gone already
            container.remove(v=True, force=True)


def _options(name: str, user: str) -> dict[str, Any]:
    return {
        **hardened(),
        "name": name,
        **WHILE_CONNECTED,
        "user": user,  # owns the image's folder of data, and so the new volume
        "tmpfs": {"/tmp": "size=16m,mode=1777", "/run/secrets": "size=64k,mode=1777"},  # noqa: S108
        "mounts": [docker.types.Mount(DATA, None, type="volume", labels={LABEL: name})],
        "network_mode": "none",
        "shm_size": SHARED_MEMORY,
        **limits(MEMORY),
        "healthcheck": {"test": ["NONE"]},
    }


def _image(identity: StackIdentity, api: DockerApi, client: docker.DockerClient, settings: PostgresSettings) -> str:
    """The image of the stack's Postgres, or where it has no container, one that could be."""
    deployed = next((one.image_id for one in containers(identity) if one.service == POSTGRES), None)
    if deployed:
        return deployed
    if reference := settings.image.reference:
        found = api.find(f"/images/{reference}/json")
    else:
        found = max(
            api.labelled("/images/json", "", [TITLE]),
            key=lambda one: (postgres_major(one["Id"], client) == settings.version, int(one["Created"])),
            default=None,
        )
    if found is None:
        raise WsError(
            f"stack {identity.stack} has no Postgres on this host, and there is no image of it either: databases of "
            f"the backup cannot be compared.\n  `ws up -s {identity.stack}` makes both."
        )
    return str(found["Id"])


def _remove_leftover(client: docker.DockerClient, name: str, identity: StackIdentity) -> None:
    """Removes a container that was never started, because the command was killed just then."""
    state = _state(client, name)
    if state == "running":
        raise WsError(
            f"another `ws backup verify` of stack {identity.stack} runs on this host, in the container {name}.\n"
            "  Wait until it has ended, or end it, and run this again."
        )
    if state:
        with suppress(NotFound):
            client.containers.get(name).remove(v=True, force=True)


def _state(client: docker.DockerClient, name: str) -> str:
    """The state of a container; empty where there is none."""
    try:
        return str(client.containers.get(name).status)
    except NotFound:
        return ""
