"""Stack files as Pulumi writes them: plain values, objects, and values encrypted with the stack's passphrase."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from config.encryption import Decrypter, Passphrase
from config.problems import ConfigError, closest, dotted, show
from config.yaml_file import NO_TEXT, InvalidYamlError, dump_yaml, no_garbage_collection, parse_yaml
from coordination.regular_file import read_text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", re.ASCII)
# The other top-level keys of a stack file; see sdk/go/common/workspace/project.go.
WRITTEN_BY_PULUMI = ("encryptionsalt", "encryptedkey", "secretsprovider")
PULUMIS_KEYS = ("config", "environment", *WRITTEN_BY_PULUMI)


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """The config of one stack as ``pulumi.Config`` reads it: full keys (``cslr:platform``) to text, objects as JSON."""

    project: str
    stack: str
    values: dict[str, str] = field(repr=False)
    secret_keys: frozenset[str]

    def laid_over(self, values: Mapping[str, object]) -> "StackConfig":
        """The same with other values of some full keys."""
        return replace(self, values=self.values | {key: _as_text(value) for key, value in values.items()})


def stack_file(folder: Path, stack: str) -> Path:
    """The file that holds the config of a stack."""
    return folder / f"Pulumi.{stack}.yaml"


def stacks(folder: Path) -> list[str]:
    """The names of all stacks with a stack file."""
    return sorted(path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in folder.glob("Pulumi.*.yaml"))


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """A stack file, read once for each command. Encrypted values are decrypted only when `config` is used."""

    project: str
    stack: str
    text: str = field(repr=False)
    passphrase: Passphrase = field(repr=False)

    @classmethod
    def read(cls, folder: Path, stack: str, passphrase: Passphrase) -> "StackFile":
        """Reads ``Pulumi.yaml`` and ``Pulumi.<stack>.yaml`` in `folder`. Raises `ConfigError`."""
        refuse_name(folder, stack)
        path = stack_file(folder, stack)
        project = project_of(folder)
        if not path.exists():
            raise ConfigError(
                f"{path.name}: there is no such stack file.\n"
                f"  {_choose(folder)}, or copy one of them to {path.name} and edit it."
            )
        file = cls(project=project, stack=stack, text=_text(path), passphrase=passphrase)
        _ = file.content  # fails at once if the file is invalid
        return file

    @property
    def name(self) -> str:
        """The name of the file."""
        return stack_file(Path(), self.stack).name

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The content of the file, not decrypted. Raises `ConfigError`."""
        return _parsed(self.text, self.name)

    @cached_property
    def config(self) -> StackConfig:
        """The config, decrypted. Raises `ConfigError`."""
        with no_garbage_collection():
            return _stack_config(self)

    def edited(self, text: str) -> "StackFile":
        """The same file with another text."""
        return replace(self, text=text)

    def write_copy(self, copy: Path, values: Mapping[str, object]) -> None:
        """Writes a copy with other values of some full keys."""
        if not values:
            copy.write_text(self.text, encoding="utf-8", newline="")
            return
        content = dict(self.content)
        replaced = {*values, *(key.partition(":")[2] for key in values)}  # Pulumi takes a key without the project too
        kept = {key: value for key, value in (content.get("config") or {}).items() if key not in replaced}
        content["config"] = kept | dict(values)
        copy.write_text(dump_yaml(content))


def refuse_name(folder: Path, stack: str) -> None:
    """Passes if a stack can have that name. Raises `ConfigError`."""
    if not NAME.fullmatch(stack):
        raise ConfigError(
            f"{show(stack)} cannot be a stack's name, which containers are called after: it has letters, digits, '_', "
            f"'.' and '-', a letter or digit first, and at most 100 of them.\n  {_choose(folder)}"
        )


def _choose(folder: Path) -> str:
    return f"Choose one of {', '.join(filter(NAME.fullmatch, stacks(folder)))}"


def project_of(folder: Path) -> str:
    """The project in a folder's ``Pulumi.yaml``. Raises `ConfigError`."""
    return str(_read(folder / "Pulumi.yaml").get("name"))


def _stack_config(stack_file: StackFile) -> StackConfig:
    content, project, file = stack_file.content, stack_file.project, stack_file.name
    if strange := next((key for key in map(str, content) if key not in PULUMIS_KEYS), None):
        guess = f"Did you mean {closest(strange, PULUMIS_KEYS) or 'config'}?"
        advice = "Write it below `config:`, indented by two spaces." if ":" in strange else guess
        raise ConfigError(f"{file}: {strange}: unknown key.\n  {advice}")
    raw = content.get("config") or {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{file}: config: must be a mapping of keys such as {project}:platform to values.")
    decrypt = Decrypter(file, content.get("encryptionsalt"), stack_file.passphrase)
    values, secret_keys = {}, set()
    for key, value in raw.items():
        full_key = str(key) if ":" in str(key) else f"{project}:{key}"
        if full_key in values:
            raise ConfigError(f"{file}: {full_key}: is there twice, as {key} as well. Remove one of them.")
        try:
            plain = decrypt(full_key, value)
            values[full_key] = _as_text(plain)
            if plain != value:
                secret_keys.add(full_key)
        except RecursionError as error:
            raise ConfigError(f"{file}: {full_key}: an anchor (&) in it holds its own alias (*).") from error
        except TypeError as error:
            raise ConfigError(f"{file}: {full_key}: {error}. Put such a key into quotes.") from error
    return StackConfig(project=project, stack=stack_file.stack, values=values, secret_keys=frozenset(secret_keys))


def encrypted_paths(file: Path) -> Iterator[str]:
    """The full keys and paths of a stack file's encrypted values: ``cslr:platform.redis.env.X``; of none, nothing.

    Reads the file only when it is iterated over.
    """
    try:
        config = _read(file).get("config") or {}
    except ConfigError:
        return
    for path in _encrypted((), config):
        yield dotted(path[1:], str(path[0]))


def _encrypted(path: tuple[str | int, ...], value: object) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict) and list(value) == ["secure"]:
        yield path
    elif isinstance(value, dict | list):
        for step, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _encrypted((*path, step if isinstance(step, int) else str(step)), item)


def _as_text(value: object) -> str:
    """A value as Pulumi hands it to programs. YAML knows dates; Pulumi reads them as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _read(path: Path) -> dict[str, Any]:
    return _parsed(_text(path), path.name)


def _text(path: Path) -> str:
    try:
        return read_text(path)  # with the ends of lines as they are, which a copy keeps
    except OSError as error:
        raise ConfigError(f"{path.name}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: is not valid YAML: {NO_TEXT}.") from error


def _parsed(text: str, file: str) -> dict[str, Any]:
    try:
        content = parse_yaml(text)
    except InvalidYamlError as error:
        raise ConfigError(f"{file}: is not valid YAML: {error}.") from error
    if content is None:  # all defaults, as for Pulumi
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: must be a mapping; Pulumi's stack files begin with `config:`.")
    return content
