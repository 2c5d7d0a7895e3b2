"""Remedies that change a stack file, as commands that a person can copy.

They are `ws` commands that name their stack: Pulumi's CLI need not be installed, and would change whichever stack is
selected.
"""

import json
import re
import shlex
from pathlib import PurePath

from config.project import NAME

PLATFORM = f"{NAME}:platform"
STACK_FILE = re.compile(r"Pulumi\.(.+)\.yaml")


def stack_of(file: str) -> str | None:
    """The stack whose file this is; None for any other file."""
    match = STACK_FILE.fullmatch(PurePath(file).name)
    return match[1] if match else None


def short_key(key: str) -> str:
    """A key as `ws set` takes it: what is not a key of its own in a stack file is below `cslr:platform`."""
    if key == PLATFORM or not key.startswith(PLATFORM):
        return key.removeprefix(f"{NAME}:")
    return key.removeprefix(PLATFORM).removeprefix(".")


def set_command(stack: str, values: dict[str, object]) -> str:
    """The command that gives keys of a stack (``cslr:platform.redis.port``) their values, all at once."""
    words = [word for key, value in values.items() for word in (short_key(key), as_text(value))]
    return shlex.join(["ws", "set", *words, "-s", stack])


def unset_command(stack: str, *keys: str) -> str:
    """The command that removes keys of a stack, so that their defaults apply."""
    return shlex.join(["ws", "unset", *map(short_key, keys), "-s", stack])


def secret_command(stack: str, key: str) -> str:
    """The command that prompts for a secret and stores it encrypted in the stack file."""
    return shlex.join(["ws", "set", short_key(key), "-s", stack])


def as_text(value: object) -> str:
    """A value as one word of `ws set`: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
