"""What a container may read and write: its root, small file systems in memory, the host's files, secrets."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from config.mount_sources import DOCKER_SOCKETS, is_within, refusal
from policy.declared import Mounted, Resource, Surroundings
from stack import facts
from stack.env_secrets import looks_secret
from stack.programs import PROGRAMS_TARGET
from stack.secrets import MINIMUM_LENGTH, SECRETS_TARGET

SAFE_TMPFS = ("nosuid", "nodev", "noexec")


def writable_root(container: Resource, _around: Surroundings) -> Iterator[str]:
    """A root file system that can be changed."""
    if container.inputs.get("readOnly") is not True:
        yield "writable root"


def tmpfs(container: Resource, _around: Surroundings) -> Iterator[str]:
    """File systems in memory without a limit, or with options that help an attacker."""
    for target, text in container.mapping("tmpfs").items():
        options = str(text).split(",")
        yield from (f"{target} without {option}" for option in SAFE_TMPFS if option not in options)
        if not any(option.startswith("size=") and option != "size=0" for option in options):
            yield f"{target} without size"


def docker_socket(container: Resource, around: Surroundings) -> Iterator[str]:
    """The Docker socket, or a folder that holds it."""
    yield from (f"Docker socket at {mount.target}" for mount in container.mounts if _has_socket(mount, around))


def host_folders(container: Resource, around: Surroundings) -> Iterator[str]:
    """System folders of the host, and files of other stacks."""
    for mount in container.mounts:
        known = mount.bind and mount.source and not _has_socket(mount, around) and not _is_own(mount, around)
        if known and (reason := refusal(mount.source, write=not mount.read_only)):
            yield reason if not mount.read_only else f"{reason} (read-only)"


def own_files(container: Resource, around: Surroundings) -> Iterator[str]:
    """Programs, secrets and other files of the stack's state folder that the container could change."""
    for mount in container.mounts:
        own = _is_own(mount, around) or any(is_within(mount.target, f) for f in (PROGRAMS_TARGET, SECRETS_TARGET))
        if own and not mount.read_only:
            yield f"{mount.target} is writable"


def propagation(container: Resource, _around: Surroundings) -> Iterator[str]:
    """Mounts by which the host and the container see each other's later mounts."""
    yield from (f"{m.target} is {m.propagation}" for m in container.mounts if "shared" in m.propagation)


def secret_variables(container: Resource, around: Surroundings) -> Iterator[str]:
    """Environment variables with a secret's name whose value is not the path of a file with the secret.

    Of those that the stack file sets `env_secrets.notices` warns.
    """
    for name, value in container.environment:
        known = is_within(value, SECRETS_TARGET) or (name, value) in around.own_variables
        if value and looks_secret(name) and not known:
            yield f"variable {name}"


def secret_values(resource: Resource, around: Surroundings) -> Iterator[str]:
    """Secrets that the platform made, in what engines, Docker and their logs show of its own texts."""
    own = {f"{name}={value}" for name, value in around.own_variables}
    yield from _shown(around.secrets, [text for text in _texts(resource.inputs) if text not in own])


def own_secret_values(resource: Resource, around: Surroundings) -> Iterator[str]:
    """Secrets that the stack's owner chose, or wrote into the environment, in what engines, Docker and logs show."""
    texts = list(_texts(resource.inputs))
    yield from _shown(around.own_secrets, texts)
    own = {f"{name}={value}" for name, value in around.own_variables}
    yield from _shown(around.secrets, [text for text in texts if text in own])


def _shown(secrets: Mapping[str, str], texts: Collection[str]) -> Iterator[str]:
    for name, value in secrets.items():
        # Shorter ones, which only people's own can be, are in other texts by chance.
        if len(value) >= MINIMUM_LENGTH and any(value in text for text in texts):
            yield f"value of {name}"


def _has_socket(mount: Mounted, around: Surroundings) -> bool:
    sockets = (*DOCKER_SOCKETS, *((around.socket,) if around.socket else ()))
    # The keeper has it where every client looks for it, whatever its path on the host is.
    at_its_place = mount.bind and mount.target in DOCKER_SOCKETS
    return at_its_place or (mount.source != "" and any(is_within(socket, mount.source) for socket in sockets))


def _is_own(mount: Mounted, around: Surroundings) -> bool:
    """Whether it is in the stack's state folder, never that folder itself, or the facts of the user's builds."""
    if not mount.bind or around.state is None:
        return False
    return mount.source.startswith(f"{around.state}/") or mount.source == facts.of_builds(around.state)


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 (a property of a resource is any JSON value)
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in value.items() for part in pair for text in _texts(part))
    elif isinstance(value, list):
        yield from (text for item in value for text in _texts(item))
