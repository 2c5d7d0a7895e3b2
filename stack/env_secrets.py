"""Users' own secrets (``HF_TOKEN``, ``WANDB_API_KEY``), which programs get as environment variables.

A stack names the variables; each value is in the encrypted stack config, or in a file of this host. A container gets it
as a file in ``/run/secrets/env``, which with_python.sh exports: so it is only in the environment of processes, and not
in `docker inspect`, a state, an output or a log.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.json_text import parse_json
from config.keys import ENV_SECRETS
from config.platform import KEY, PlatformSettings
from config.problems import Notice, Problem, SettingsError, dotted
from config.problems import Path as KeyPath
from config.remedies import secret_command
from stack.mount import Mount
from stack.secrets import SECRETS_TARGET, user_id
from stack.state import HostFiles

TARGET = f"{SECRETS_TARGET}/env"  # entrypoints/with_python.sh exports what is there
FOLDER = "env-secrets"  # in the stack's folder: a file for each value that is not in the stack config
# Parts of a variable's name by which people call a secret.
TELLING = re.compile(r"(?:^|_)(?:\w*TOKEN|\w*PASSWORD|\w*PASSWD|\w*SECRET|\w*CREDENTIALS|API_?KEY|KEY)(?:_ID)?$", re.I)


@dataclass(frozen=True, kw_only=True)
class EnvSecrets:
    """Values by the names of their variables. `repr` shows none."""

    files: HostFiles
    values: Mapping[str, str] = field(repr=False)

    @classmethod
    def resolve(
        cls,
        settings: PlatformSettings,
        files: HostFiles,
        configured: Callable[[str], str | None],
        *,
        stack: str,
        stack_file: str,
        strict: bool = True,
    ) -> "EnvSecrets":
        """The values of all variables that the settings name; one that is not `strict` makes up what is missing.

        Raises:
            SettingsError: a variable has no value.
        """
        given = _given(configured(ENV_SECRETS.partition(":")[2]), stack_file)
        values, problems = {}, []
        for path, name in _named(settings):
            value = given.get(name) or _kept(files.folder / FOLDER / name)
            if not value and strict:
                problems.append(_missing(path, name, files, stack))
            values[name] = value or "not known here"
        if problems:
            raise SettingsError(problems, stack_file, KEY)
        return cls(files=files, values=values)

    def mounts(self, names: tuple[str, ...], *, user: str) -> tuple[Mount, ...]:
        """The files for a container run as `user`. Another value is another path, hence another container."""
        return tuple(
            Mount(
                source=self.files.secret(name, self.values[name], uid=user_id(user)),
                target=f"{TARGET}/{name}",
                read_only=True,
            )
            for name in names
        )


def notices(settings: PlatformSettings) -> list[Notice]:
    """Variables in `env` that look like secrets, which Docker and Pulumi's state show in clear."""
    return [
        Notice(
            f"{dotted((*path, 'env', name), KEY)} looks like a secret, and is shown by `docker inspect` and kept in "
            f"Pulumi's state: name it in {dotted(settings.env_secrets_key(service), KEY)} instead (docs/secrets.md)"
        )
        for service, path in settings.paths.items()
        for name, value in settings.service(service).env.items()
        if value and looks_secret(name) and settings.env_secrets_key(service)
    ]


def looks_secret(name: str) -> bool:
    """Whether a variable's name suggests a secret: ``HF_TOKEN``, but not ``TOKENIZERS_PARALLELISM``."""
    return bool(TELLING.search(name))


def _named(settings: PlatformSettings) -> Iterator[tuple[KeyPath, str]]:
    seen = set()
    for path, names in settings.env_secrets.items():
        for index, name in enumerate(names):
            if name not in seen:
                seen.add(name)
                yield (*path, index), name


def _given(text: str | None, stack_file: str) -> dict[str, str]:
    try:
        found = parse_json(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        problem = Problem((), "must be a mapping of names to values", "Write one line for each variable below it.")
        raise SettingsError([problem], stack_file, ENV_SECRETS)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def _kept(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, ValueError):
        return ""


def _missing(path: KeyPath, name: str, files: HostFiles, stack: str) -> Problem:
    return Problem(
        path,
        f"{name} has no value",
        "Give it one, encrypted in the stack file, or in a file of this host that you alone can read:",
        (
            secret_command(stack, f"{ENV_SECRETS}.{name}"),
            f"install -D -m 600 /dev/stdin {files.folder / FOLDER / name}",
        ),
    )
