"""People with notebooks of their own: in the stack file, in the state folder, and in Docker.

Owns the edits of ``marimo.users``. A person's port stays when others come and go, so an entry is written with its port
wherever it would otherwise follow from the entry's position.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic_core import PydanticCustomError

from config.notation import notebooks_of, person_of
from config.platform import KEY, PlatformSettings
from config.problems import closest
from config.types import check_person_name
from docker_api.api import DockerApi, DockerError
from preflight.host_facts import LABEL_COMPONENT, LABEL_PROJECT, LABEL_STACK, outside_addresses
from stack.identity import StackIdentity
from stack.secrets import notebook_token_file
from stack.state import HostFiles, stack_folder
from ws.config.edit import with_value, without
from ws.config.editing import Edit, editing
from ws.config.keys import Key
from ws.config.values import Steps, rewrite
from ws.containers import containers
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack

USERS = Key(full=KEY, below=("marimo", "users"))
NOT_DEPLOYED, REMOVED, NONE = "not deployed", "removed", "no notebooks"


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person, and what there is of their notebooks."""

    name: str
    state: str  # of the container; NOT_DEPLOYED without one; REMOVED for a person of whom only the volume is left
    volume: str  # or folder of this host
    address: str | None = None
    token: Path | None = None  # the file with it
    cpus: float = 0.0
    memory: int = 0  # bytes
    account: bool | None = None  # in MLflow; None where it is not known, or MLflow has no logins


def check(name: str) -> None:
    """Passes if a person may be called so. Raises `WsError`."""
    try:
        check_person_name(name)
    except PydanticCustomError as error:
        raise WsError(f"{name[:60]!r} {(error.context or {})['reason']}.") from None


def add(stack: str, name: str, wanted: Mapping[str, str | float | None]) -> list[str]:
    """Gives a person notebooks, and says what changed.

    Raises:
        WsError: the name, a limit or the port is unusable, or the person has notebooks already. Nothing is written.
    """
    check(name)
    with editing(stack) as edit:
        return _added(edit, name, {key: value for key, value in wanted.items() if value is not None})


def _added(edit: Edit, name: str, given: dict[str, str | float]) -> list[str]:
    configured = edit.configured
    settings, stack = _deploying(configured).marimo, configured.identity.stack
    people = settings.users
    if name in people:
        raise WsError(
            f"{name} has notebooks already. {hint(stack, name)}\n  Change what they may use, for example:\n"
            f"    ws set marimo.users.{name}.memory 8g -s {stack}"
        )
    next_one = settings.port + len(people)
    port = given.setdefault("port", _free_port(configured.platform))

    def changed(text: str, path: Steps, there: object) -> str:
        if isinstance(there, list) and given == {"port": next_one}:
            return with_value(text, (*path, len(there)), name)
        return with_value(_with_ports(text, path, there, configured.platform), (*path, name), given)

    lines = [f"{configured.file.name}: {name} is in {USERS.shown} now, with port {port}.", hint(stack, name)]
    outcome = rewrite(edit, USERS, changed)
    token_of(configured.identity, name)
    if not people:
        everybodys = configured.identity.object_name("marimo-notebooks")
        lines.append(
            "The shared notebook server is removed; its notebooks stay on "
            f"{settings.notebooks or f'the volume {everybodys}'} (docs/notebooks.md says how to share them)."
        )
    return [*lines, *outcome.left]


def remove(stack: str, name: str) -> list[str]:
    """Takes a person's notebooks out of service, and says what stays. Raises WsError for somebody who has none."""
    with editing(stack) as edit:
        return _removed(edit, name)


def _removed(edit: Edit, name: str) -> list[str]:
    configured = edit.configured
    settings, identity = _deploying(configured), configured.identity
    if name not in settings.marimo.users and has_token(identity, name):  # a run was killed between the two
        _token_file(identity, name).unlink()
        return [f"{name} has neither notebooks nor a token any more."]
    _known(settings, name, identity.stack)

    def changed(text: str, path: Steps, there: object) -> str:
        if isinstance(there, list) and there[-1] == name:
            return without(text, (*path, len(there) - 1))
        return without(_with_ports(text, path, there, settings), (*path, name))

    outcome = rewrite(edit, USERS, changed)
    _token_file(identity, name).unlink(missing_ok=True)
    place = _place(identity, settings, name)
    delete = f"sudo rm -r {shlex.quote(place)}" if place.startswith("/") else f"docker volume rm {place}"
    lines = [
        f"{configured.file.name}: {name} is no longer in {USERS.shown}.",
        f"{name}'s notebooks stay in {place}; ws user add {name} -s {identity.stack} restores access to them.",
        f"To delete them for good, after ws up: {delete}",
    ]
    if len(settings.marimo.users) == 1:
        lines.append("Nobody has notebooks of their own any more: everyone shares one notebook server again.")
    return [*lines, *outcome.left]


def token(stack: str, name: str, *, renew: bool) -> str:
    """The token that opens a person's notebooks, or another one. Raises WsError for somebody who has none."""
    configured = _open(stack)
    _known(configured.platform, name, stack)
    if renew:
        _token_file(configured.identity, name).unlink(missing_ok=True)
    return token_of(configured.identity, name)


def token_of(identity: StackIdentity, name: str) -> str:
    """A person's token, made where there is none yet."""
    return HostFiles(folder=stack_folder(identity), dry_run=False).generated(notebook_token_file(name))


def has_token(identity: StackIdentity, name: str) -> bool:
    """Whether there is a token of somebody of this name."""
    return _token_file(identity, name).is_file()


def hint(stack: str, name: str) -> str:
    """How to see a person's token."""
    return f"Token: ws user token {name} -s {stack}"


def is_deployed(identity: StackIdentity, name: str) -> bool:
    """Whether a person's notebook server is there. Raises `DockerError`."""
    return notebooks_of(name) in {one.service for one in containers(identity)}


def found(stack: str) -> list[Person]:
    """Everybody of a stack file, then everybody who was removed and whose notebooks are still here."""
    configured = _open(stack)
    settings, identity = configured.platform, configured.identity
    try:
        states = {one.service: one.health for one in containers(identity)}
        kept = _volumes(identity)
    except DockerError as error:
        raise WsError(f"Docker cannot list the containers: {error}") from error
    own_addresses = outside_addresses()
    people = []
    for name in settings.marimo.users if settings.marimo.enabled else ():
        service = notebooks_of(name)
        own, reach = settings.marimo.of(name), settings.reach(service, own_addresses)
        file = _token_file(identity, name)
        people.append(
            Person(
                name=name,
                state=states.get(service, NOT_DEPLOYED),
                volume=_place(identity, settings, name),
                address=reach.link if reach else None,
                token=file if file.is_file() else None,
                cpus=own.cpus,
                memory=own.memory,
            )
        )
    gone = {name: volume for name, volume in kept.items() if name not in settings.marimo.users}
    return people + [Person(name=name, state=REMOVED, volume=volume) for name, volume in sorted(gone.items())]


def _open(stack: str) -> StackSettings:
    configured = open_stack(stack)
    _deploying(configured)
    return configured


def _deploying(configured: StackSettings) -> PlatformSettings:
    """The settings of a stack that has notebooks. Raises `WsError` for another one."""
    stack = configured.identity.stack
    if configured.matrix is not None:
        raise WsError(f"stack {stack} only builds images: notebooks belong to a stack that deploys.")
    if not configured.platform.marimo.enabled:
        raise WsError(f"stack {stack} has no notebooks. Enable them: ws set marimo.enabled true -s {stack}")
    return configured.platform


def _known(settings: PlatformSettings, name: str, stack: str) -> None:
    people = settings.marimo.users
    if name not in people:
        guess = closest(name, people)
        meant = f" Did you mean {guess}?" if guess else ""
        there = f"there are {', '.join(people)}" if people else "everyone shares one notebook server"
        raise WsError(f"{name[:60]!r} has no notebooks in stack {stack}: {there}.{meant}")


def _free_port(settings: PlatformSettings) -> int:
    """The next port from `marimo.port` on that the stack does not publish; of the server for all the one it leaves."""
    people = settings.marimo.users
    taken = {port for path, port in settings.published_ports() if people or path != ("marimo", "port")}
    first = settings.marimo.port + len(people)
    return next(port for port in chain(range(first, 65536), range(1024, first)) if port not in taken)


def _with_ports(text: str, path: Steps, there: object, settings: PlatformSettings) -> str:
    """The text in which everybody has the port that follows from their position now."""
    ports = {name: settings.marimo.of(name).port for name in settings.marimo.users}
    if isinstance(there, list):
        return with_value(text, path, {name: {"port": port} for name, port in ports.items()})
    for name, own in settings.marimo.users.items():
        if own.port is None:
            text = with_value(text, (*path, name, "port"), ports[name])
    return text


def _place(identity: StackIdentity, settings: PlatformSettings, name: str) -> str:
    """The volume or folder with a person's notebooks."""
    return settings.marimo.of(name).notebooks or identity.object_name(f"{notebooks_of(name)}-notebooks")


def _token_file(identity: StackIdentity, name: str) -> Path:
    return stack_folder(identity) / "generated" / notebook_token_file(name)


def _volumes(identity: StackIdentity) -> dict[str, str]:
    """Person → the volume with their notebooks, of this stack and here."""
    labels = [f"{LABEL_PROJECT}={identity.project}", f"{LABEL_STACK}={identity.stack}"]
    return {
        person: volume["Name"]
        for volume in DockerApi().labelled("/volumes", "Volumes", labels)
        if (person := person_of((volume.get("Labels") or {}).get(LABEL_COMPONENT, ""))) is not None
    }
