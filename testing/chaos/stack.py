"""The stack that faults are tried on: every service that keeps something, and small file systems for its data."""

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testing.chaos.workload import OfMarimo, OfMlflow, OfQueue, OfRay, Work
from testing.harness import merged
from testing.live.deployment import LiveStack, deployed
from testing.live.users import User

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-chaos", "subnet": "10.231.0.0/24"},
    "ray": {"cpu": {"torch": False, "cpus": 2, "memory": "3g", "ports": {"dashboard": 25010, "client": 25011}}},
    "marimo": {"port": 25012, "memory": "1g"},
    "mlflow": {"port": 25013},
    "postgres": {"port": 25014},
    "redis": {"port": 25015},
    "health": {"port": 25016},
    "queue": {"enabled": True, "port": 25017, "users": {"anna": {}}},
}
DATA = {"marimo": "notebooks", "mlflow": "artifacts", "postgres": "data", "redis": "data"}  # service → its key
DISK = "600M"
OWNER = 1000  # which services run as


@dataclass(frozen=True, kw_only=True)
class Disks:
    """Small file systems, each with the data of a service."""

    at: Path

    def place(self, service: str) -> Path:
        """The folder of a service's data."""
        return self.at / service / "data"

    def settings(self) -> dict[str, Any]:
        """The settings that put the data there."""
        return {service: {key: str(self.place(service))} for service, key in DATA.items()}

    @contextlib.contextmanager
    def mounted(self) -> Iterator[None]:
        """Makes and mounts them; unmounted and gone in the end."""
        with contextlib.ExitStack() as undo:
            for service in DATA:
                image, folder = self.at / f"{service}.img", self.at / service
                folder.mkdir(parents=True)
                for command in (
                    ("truncate", "--size", DISK, str(image)),
                    ("mkfs.ext4", "-q", "-m", "0", str(image)),
                    ("mount", "-o", "loop", str(image), str(folder)),
                ):
                    subprocess.run(command, check=True)
                undo.callback(subprocess.run, ("umount", str(folder)), check=True)
                self.place(service).mkdir()
                os.chown(self.place(service), OWNER, OWNER)
            yield


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A deployed stack, and the work on it."""

    stack: LiveStack
    user: User  # of Ray, for what faults do
    works: tuple[Work, ...]
    disks: Disks | None = None

    @classmethod
    def of(cls, stack: LiveStack, seed: str, disks: Disks | None = None) -> "Rig":
        """Work on every service of the stack that keeps something."""
        settings, secrets = stack.settings, {name: text.strip() for name, text in stack.secrets().items()}
        key = f"chaos-{stack.name}"
        token = secrets["ray-token"]
        dashboard = f"http://127.0.0.1:{settings['ray']['cpu']['ports']['dashboard']}"
        works: list[Work] = [
            OfRay(user=User(dashboard=dashboard, token=token), key=key),
            OfMlflow(url=url_of(settings, "mlflow"), key=key, draw=random.Random(seed)),
            OfQueue(url=url_of(settings, "queue"), token=token, user=next(iter(settings["queue"]["users"])), key=key),
        ]
        if settings["marimo"].get("enabled", True):
            login = secrets["marimo-token"]
            works.append(OfMarimo(stack=stack, url=url_of(settings, "marimo"), token=login, key=key))
        return cls(stack=stack, user=User(dashboard=dashboard, token=token), works=tuple(works), disks=disks)


def url_of(settings: Mapping[str, Any], service: str) -> str:
    """Where a service answers."""
    return f"http://127.0.0.1:{settings[service]['port']}"


@contextlib.contextmanager
def rigged(at: Path, seed: str) -> Iterator[Rig]:
    """The whole stack, deployed, with data on small file systems."""
    disks = Disks(at=at / "disks")
    with disks.mounted(), deployed("chaos", merged(SETTINGS, disks.settings()), at) as stack:
        yield Rig.of(stack, seed, disks)
