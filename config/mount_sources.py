"""Which of this host's files a container may be given: not those by which a program in it would become root here, read
other stacks' secrets, or change this host.

A path is judged by its target: `/proc/1/root/run` and a link to `/run` count as `/run`. Containers run as an
unprivileged user, but these rules do not rely on that: a socket obeys every user that its service accepts.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from config.project import state_root

DOCKER_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
SOCKET_REASON = "the Docker socket would make every program in the container root on this host"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A folder that no container may mount, including everything in it and the folders above it."""

    folder: str
    reason: str  # completes "<key>: <path> …"
    but: tuple[str, ...] = ()  # what is in these is fine
    but_read_only: bool = False  # what is in it may be read


RULES = (
    Rule(folder="/proc", reason="holds this host's processes, and through them all of its files"),
    Rule(folder="/sys", reason="controls this host's kernel and devices"),
    # People keep datasets in memory.
    Rule(folder="/dev", reason="holds this host's disks and other devices", but=("/dev/shm",)),  # noqa: S108
    # Where desktops mount disks.
    Rule(folder="/run", reason="holds the sockets of this host's services", but=("/run/media",)),
    Rule(folder="/boot", reason="is what this host starts from"),
    Rule(folder="/var/lib/docker", reason="holds the files of all containers on this host"),
    Rule(folder="/var/lib/containerd", reason="holds the files of all containers on this host"),
    # Certificates, time zones.
    Rule(folder="/etc", reason="is this host's own configuration", but_read_only=True),
)


def refusal(path: str, *, write: bool, docker_root: str = "") -> str | None:
    """Why no container may mount a path, without inspecting the host; None if one may."""
    path = _plain(path)
    if any(is_within(socket, path) for socket in DOCKER_SOCKETS):
        return SOCKET_REASON
    for rule in rules(docker_root):
        if is_within(rule.folder, path):
            held = "" if path == rule.folder else f"holds {rule.folder}, which "
            return f"{path} {held}{rule.reason}"
        if is_within(path, rule.folder):
            excepted = any(is_within(path, but) and path != but for but in rule.but)
            if not excepted and not (rule.but_read_only and not write):
                only = "; it may be mounted with read_only: true" if rule.but_read_only else ""
                return f"{path} is in {rule.folder}, which {rule.reason}{only}"
    return None


def rules(docker_root: str = "") -> Iterator[Rule]:
    """All rules: those of every host, Docker's data wherever it is, and our own secrets."""
    yield from RULES
    if docker_root and docker_root != "/var/lib/docker":
        yield Rule(folder=docker_root, reason="holds the files of all containers on this host")
    yield Rule(folder=str(state_root()), reason="holds the secrets of all stacks")


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or in it."""
    return folder == "/" or f"{path}/".startswith(f"{folder}/")


def spellings(path: str, docker_root: str = "") -> tuple[str, ...]:
    """The other paths of the same file: with links followed, and through bind mounts of a folder of the rules."""
    real = _real(path)
    found = {_plain(path), real}
    known = _known_folders(docker_root)
    for above in _upwards(real):
        with suppress(OSError):
            facts = os.stat(above)  # noqa: PTH116 - of paths that are texts throughout
            if folder := known.get((facts.st_dev, facts.st_ino)):
                found.add(_plain(folder + real[len(above.rstrip("/")) :]))
    return tuple(sorted(found))


def _real(path: str) -> str:
    """With links followed, up to one that may not be read, such as those of other users' processes."""
    try:
        return os.path.realpath(path)
    except OSError as error:
        return str(error.filename or path)


def _known_folders(docker_root: str) -> dict[tuple[int, int], str]:
    """The folders of the rules, what holds them, and Docker's sockets, by what the kernel knows them by."""
    known: dict[tuple[int, int], str] = {}
    for folder in (*(rule.folder for rule in rules(docker_root)), *DOCKER_SOCKETS):
        for above in _upwards(_real(folder)):
            with suppress(OSError):
                facts = os.stat(above)  # noqa: PTH116
                known.setdefault((facts.st_dev, facts.st_ino), above)
    return known


def _upwards(path: str) -> Sequence[str]:
    parts = path.rstrip("/").split("/")
    return ["/".join(parts[:end]) or "/" for end in range(len(parts), 0, -1)]


def _plain(path: str) -> str:
    return "/" + path.strip("/") if path.strip("/") else "/"
