"""What the rules have to know of a stack beside its resources: from the program, or read again for the policy pack."""

from config.cluster_file import find_membership
from config.keys import SECRET_TEXTS
from config.keys import SECRETS as FILES_KEYS
from config.load import config_value, load
from config.platform import PlatformSettings
from contracts.postgres import ROLES
from contracts.ray_tls import KEY
from docker_api.address import socket_path
from policy.declared import Surroundings
from stack.env_secrets import EnvSecrets
from stack.identity import GENERATES
from stack.ray_tls import kept_key
from stack.secrets import SECRETS, SecretFiles
from stack.stack import Stack


def platform(
    stack: Stack, settings: PlatformSettings, secrets: SecretFiles, own: EnvSecrets, *, ray_key: str | None
) -> Surroundings:
    """Those of a host's part of the platform; `ray_key` is the one of its certificate."""
    chosen = {name for name, key in SECRETS.items() if stack.config(key) is not None}
    values = secrets.all(roles=ROLES, people=settings.marimo.users if settings.marimo.enabled else ())
    if ray_key:
        values |= {KEY: ray_key}
    socket = socket_path()
    return Surroundings(
        settings=settings,
        state=str(stack.files.folder),
        socket=str(socket) if socket else None,
        tags=GENERATES in stack.environment,
        secrets={name: value for name, value in values.items() if name not in chosen},
        own_secrets={**{name: values[name] for name in chosen}, **own.values, **_other_texts(stack)},
    )


def images(stack: Stack) -> Surroundings:
    """Those of a stack that only builds images."""
    return Surroundings(state=str(stack.files.folder))


def read(stack: Stack) -> Surroundings:
    """Those of a stack that its program has accepted, from its config and its files on this host."""
    if stack.config("matrix") is not None:
        return images(stack)
    membership = find_membership(stack.config, stack=stack.identity.stack, stack_file=stack.file)
    settings = load(config_value(stack.config("platform")), stack_file=stack.file, membership=membership)
    own = EnvSecrets.resolve(
        settings, stack.files, stack.config, stack=stack.identity.stack, stack_file=stack.file, strict=False
    )
    ray_key = kept_key(stack.files) if settings.ray.tls else None
    return platform(stack, settings, stack.secrets(membership), own, ray_key=ray_key)


def _other_texts(stack: Stack) -> dict[str, str]:
    """Secrets of the stack config that are in no file of their own."""
    names = [key.partition(":")[2] for key in SECRET_TEXTS if key not in FILES_KEYS]
    return {name: value for name in names if (value := stack.config(name))}
