"""Implements `ws set`, `ws unset`, `ws get`: keys of a stack file, checked before it is written."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pydantic import BaseModel

from config.encryption import encrypted
from config.keys import ENV_SECRETS
from config.load import config_value
from config.notation import format_quantity
from config.problems import ConfigError, Problem, Remove, SettingsError
from config.remedies import PLATFORM
from config.stack_file import StackFile
from stack.secrets import SecretError
from ws.config.edit import with_value, without
from ws.config.editing import Edit, editing
from ws.config.keys import Key
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack

WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")
SALT = "encryptionsalt"
HIDDEN = "[secret]"
Steps = tuple[str | int, ...]  # from the top of a stack file


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of an edit: lines for people, and remaining problems of the file."""

    changes: list[str]
    left: list[str]


def set_values(stack: str, values: Mapping[str, str]) -> Outcome:
    """Gives keys their values, all or none.

    Raises:
        WsError: the edit would make the file invalid; then nothing is written.
    """
    keys = {Key.parse(name): value for name, value in values.items()}
    for key in keys:
        if key.is_secret:
            raise WsError(
                f"{key.shown} is a secret, and would stay in your shell's history. Leave the value out, and it is "
                f"asked for, or piped in:\n    ws set {key.short} -s {stack}"
            )
        if key.is_group or (not key.below and key.full == PLATFORM):
            raise WsError(
                f"{key.shown} holds other keys. Set one of them, for example:\n    ws get {key.short} -s {stack}"
            )
    candidates = [[(key, read) for read in readings(key, text)] for key, text in keys.items()]
    refused: list[str] = []
    with editing(stack) as edit:
        file = edit.file
        for tried in _first_of_each(candidates):
            text = file.text
            for key, value in tried:
                text = with_value(text, _path(file, key), value)
            edited = file.edited(text)
            refused = _new_problems(file, edited, list(keys))
            if not refused:
                return _write(edit, edited, list(keys))
    raise WsError("\n".join([*refused, f"Nothing is changed in {file.name}."]))


def set_secret(stack: str, name: str, value: str) -> Outcome:
    """Stores a secret in the stack file, encrypted as Pulumi's CLI does. Raises as `set_values`."""
    key = Key.parse(name)
    with editing(stack) as edit:
        file, content = edit.file, edit.file.content
        if provider := content.get("secretsprovider") or content.get("encryptedkey"):
            raise WsError(
                f"{file.name} keeps its secrets with {str(provider)[:40]}, which only Pulumi's CLI can use:\n"
                f"    pulumi config set --secret --path {key.shown!r} -s {stack}"
            )
        secure, salt = encrypted(value, content.get(SALT), file.name, file.passphrase)
        path = _path(file, key)
        plain = _at(content, path) is not None and not isinstance(_at(content, path), dict)
        text = (
            with_value(file.text, path, {"secure": secure})
            if plain
            else with_value(file.text, (*path, "secure"), secure)
        )
        if content.get(SALT) != salt:
            text = with_value(text, (SALT,), salt)
        return _checked_and_written(edit, text, [key])


def rewrite(edit: Edit, key: Key, changed: Callable[[str, Steps, Any], str]) -> Outcome:
    """Changes what a key holds: `changed` gets the file's text, the key's path in it and its value, and returns the
    text.

    Raises as `set_values`.
    """
    file = edit.file
    path = _path(file, key)
    return _checked_and_written(edit, changed(file.text, path, _at(file.content, path)), [key])


def unset(stack: str, names: Sequence[str]) -> Outcome:
    """Removes keys, so that their defaults apply. Raises as `set_values`."""
    keys = [Key.parse(name) for name in names]
    with editing(stack) as edit:
        return _checked_and_written(edit, _without(edit.file, keys), keys)


def _without(file: StackFile, keys: Sequence[Key]) -> str:
    text = file.text
    for key in sorted(keys, key=lambda key: [str(step).zfill(9) for step in key.below], reverse=True):
        try:
            text = without(text, _path(file, key))
        except WsError as error:
            there = (
                f", so its default applies: {_plain(key.default)}"
                if key.default is not None and not key.is_group
                else ""
            )
            if str(error).endswith("is not set."):
                raise WsError(f"{file.name}: {key.shown} is not set{there}.") from None
            raise
    return text


def value_of(stack: str, name: str | None) -> tuple[object, bool]:
    """The value of a key, and whether it is the default; without a key, the file's whole config. Secrets are masked."""
    config = open_stack(stack).file.config
    masked = {
        key: HIDDEN if key in config.secret_keys or _holds_secrets(key) else config_value(text)
        for key, text in config.values.items()
    }
    if name is None:
        return masked, False
    key = Key.parse(name)
    found = masked.get(key.full)
    found = found if found == HIDDEN else _at(masked, (key.full, *key.below))
    if found is not None:
        return found, False
    if key.full == PLATFORM and not key.is_group and key.default is None and not _is_known(key):
        raise WsError(f"unknown key {key.shown}. All keys are listed in docs/stack-config.md.")
    default = key.default
    return (default.model_dump(mode="json") if isinstance(default, BaseModel) else default), True


def written_at(file: StackFile, name: str) -> object:
    """What a stack file has at a key, not decrypted; None where it has nothing."""
    return _at(file.content, _path(file, Key.parse(name)))


def _holds_secrets(full: str) -> bool:
    """Whether the value holds secrets, including those in plain text."""
    return Key(full=full).is_secret or full == ENV_SECRETS


def readings(key: Key, text: str) -> list[object]:
    """Possible meanings of a text, the most probable first: numbers, true and false, lists and mappings, text.

    Fewer than in YAML: no dates, no `yes`, no `1:30`, no octal numbers, which people do not mean.
    """
    meant: list[object] = []
    if text in ("true", "false"):
        meant = [text == "true"]
    elif WHOLE.fullmatch(text):
        meant = [int(text)]
    elif DECIMAL.fullmatch(text):
        meant = [float(text)]
    elif text[:1] in ("[", "{"):
        try:
            meant = [yaml.safe_load(text)]
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise WsError(
                f"{text[:80]!r} begins like a list or a mapping, but is not one: {_one_line(error)}."
            ) from None
    elif text[:1] in ("'", '"') and text[-1:] == text[:1] and len(text) > 1:
        text = text[1:-1]
    return [text, *meant] if key.is_text else [*meant, text]


def _first_of_each(candidates: list[list[tuple[Key, object]]]) -> list[list[tuple[Key, object]]]:
    """All first readings; then, one key at a time, its second."""
    first = [found[0] for found in candidates]
    others = [
        [second if place == other else entry for other, entry in enumerate(first)]
        for place, found in enumerate(candidates)
        for second in found[1:]
    ]
    return [first, *others]


def _path(file: StackFile, key: Key) -> Steps:
    """The path of a key. Pulumi also accepts keys of the project without its name."""
    config = file.content.get("config")
    bare = key.full.removeprefix(f"{file.project}:")
    written = bare if isinstance(config, dict) and bare in config else key.full
    return ("config", written, *key.below)


def _problems(file: StackFile) -> dict[str, str]:
    """The problems of a stack file, apart from the host: the first words of each → its full text."""
    try:
        _check(StackSettings(file=file))
    except SettingsError as error:
        texts = [_without_removal(problem).text(error.file, error.key) for problem in error.problems]
        return {found.splitlines()[0]: found for found in texts}
    except (ConfigError, SecretError) as error:
        return {str(error).splitlines()[0]: str(error)}
    return {}


def _without_removal(problem: Problem) -> Problem:
    """The problem without the advice to remove the key that is being set."""
    above = [Remove(problem.path[:end]) for end in range(len(problem.path) + 1)]
    commands = tuple(command for command in problem.commands if command not in above)
    advice = problem.advice if commands else re.sub(r"(Correct it, or remove the key)?:$", "", problem.advice)
    return replace(problem, commands=commands, advice=advice)


def _check(configured: StackSettings) -> None:
    if configured.matrix is not None:
        _ = configured.builds
        return
    stack = configured.previewed
    _ = configured.platform, stack.preflight
    if configured.membership is None:
        stack.secrets(None)


def _new_problems(file: StackFile, edited: StackFile, keys: list[Key]) -> list[str]:
    """What an edit would break. In a file that is wrong already, only what it breaks where it is made: others may have
    hidden the rest, and are corrected one by one.
    """
    before, after = _problems(file), _problems(edited)
    new = {head: problem for head, problem in after.items() if head not in before}
    if before:
        starts = tuple(f"{file.name}: {key.shown}" for key in keys)
        new = {head: problem for head, problem in new.items() if head.startswith(starts)}
    return list(new.values())


def _checked_and_written(edit: Edit, text: str, keys: list[Key]) -> Outcome:
    file, edited = edit.file, edit.file.edited(text)
    if refused := _new_problems(file, edited, keys):
        raise WsError("\n".join([*refused, f"Nothing is changed in {file.name}."]))
    return _write(edit, edited, keys)


def _write(edit: Edit, edited: StackFile, keys: list[Key]) -> Outcome:
    file = edit.file
    changes = [f"{file.name}: {key.shown}: {_change(file, edited, key)}" for key in keys]
    if edited.text != file.text:
        edit.write(edited.text)
    return Outcome(changes=changes, left=list(_problems(edited).values()))


def _change(file: StackFile, edited: StackFile, key: Key) -> str:
    path = _path(file, key)
    before, after = _at(file.content, path), _at(edited.content, path)
    if key.is_secret:
        return ("another secret" if before else "set") if after else "removed"
    default = f"{_plain(key.default)} (default)" if key.default is not None else "not set"
    if before == after and before is not None:
        return f"is {_plain(after)} already"
    return f"{default if before is None else _plain(before)} → {default if after is None else _plain(after)}"


def _at(content: Any, path: Steps) -> Any:  # noqa: ANN401
    for step in path:
        try:
            content = content[step]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _plain(value: object) -> str:
    """A value as a stack file has it, in one line."""
    written = _written(value)
    if isinstance(written, str):
        return written
    text = yaml.safe_dump(written, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.removesuffix("\n...\n").strip()


def _written(value: object) -> object:
    """A value as people write it: quantities with their unit, and of a group only what is set."""
    if isinstance(value, BaseModel):
        return _written({name: part for name, part in value if part is not None and part != {} and part != ()})
    if isinstance(value, Mapping):
        return {name: _written(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_written(part) for part in value]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 2**20 and value % 2**20 == 0:
        return format_quantity(value)
    return value


def _is_known(key: Key) -> bool:
    *above, last = key.below
    holder = Key(full=key.full, below=tuple(above)).default
    return isinstance(holder, BaseModel) and last in type(holder).model_fields


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
