"""Problems of a stack config, as sentences with remedies, and the errors that carry them."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from config.remedies import set_command, stack_of, unset_command
from coordination.printable import printable

MOST_PROBLEMS = 50  # that one message shows
LOGIN = re.compile(r"//[^/?#\s]*@")  # user and password of a URL
Step = str | int
Path = tuple[Step, ...]


@dataclass(frozen=True)
class Set:
    """The command that gives a key a value."""

    path: Path
    value: object


@dataclass(frozen=True)
class Together:
    """One command that gives several keys their values, none of which is good without the others."""

    changes: tuple[Set, ...]


@dataclass(frozen=True)
class Remove:
    """The command that removes a key, so that its default applies."""

    path: Path


Remedy = Set | Together | Remove | str  # a str is a shell command


@dataclass(frozen=True)
class Problem:
    """One problem: where, why (completes "<key>: …"), and the remedy."""

    path: Path
    reason: str
    advice: str
    commands: "tuple[Remedy, ...]" = ()

    @property
    def changes(self) -> "Iterator[Set | Remove | str]":
        """The commands one by one, also those that belong together."""
        for command in self.commands:
            yield from command.changes if isinstance(command, Together) else (command,)

    def text(self, file: str, key: str) -> str:
        """The problem as people read it: a sentence, the advice, the commands. Without a key, paths are the file's."""
        where = dotted(self.path, key)
        lines = [f"{file}: {where}: {self.reason}." if where else f"{file}: {self.reason}."]
        lines += [f"  {line}" for line in self.advice.splitlines()]
        lines += [f"    {line}" for command in self.commands for line in _command_lines(command, file, key)]
        return "\n".join(lines)


def distinct(problems: Iterable[Problem]) -> list[Problem]:
    """The problems in their order, each once: what is wrong for all people's notebooks is found for each."""
    found: list[Problem] = []
    for problem in problems:
        if problem not in found:
            found.append(problem)
    return found


@dataclass(frozen=True)
class Notice:
    """A finding that does not stop a deployment: a sentence without its full stop."""

    text: str
    warning: bool = True


class ConfigError(Exception):
    """A stack file that cannot be read; says which, why and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class SettingsError(Exception):
    """A stack config that cannot be deployed. Holds all its problems; its text is meant for people as it stands."""

    def __init__(self, problems: Sequence[Problem], file: str, key: str, *, more: int = 0) -> None:
        """``more``: how many problems there are besides these."""
        self.problems = tuple(problems)
        self.file, self.key = file, key
        shown = [problem.text(file, key) for problem in self.problems[:MOST_PROBLEMS]]
        more += max(len(self.problems) - MOST_PROBLEMS, 0)
        others = [f"{file}: and {more} other problem{'s' * (more > 1)}. Correct these first."] if more else []
        super().__init__(printable("\n".join([*shown, *others])))


def dotted(path: Path, key: str = "") -> str:
    """A path in Pulumi's notation: ``cslr:platform.ray.head_whitelist[0]``."""
    text = key
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step[:60])}]"
    return text


def show(value: object) -> str:
    """A value as people wrote it, short and printable: text in quotes, without the login of a URL; all else by kind."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**20):
        return str(value)
    if isinstance(value, str):
        value = LOGIN.sub("//…@", value)
        return ascii(value if len(value) <= 60 else value[:57] + "...") if not value.isprintable() else repr(value[:60])
    kinds = {int: "a very large number", list: "a list", tuple: "a list", dict: "a mapping"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one probably means. Versions differ by too little to be guessed."""
    known = [name for name in known if not name[:1].isdigit()]
    folded = {name.lower().replace("-", "_"): name for name in known}
    matches = difflib.get_close_matches(word[:60].lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that offers the closest known word, or all of them."""
    known = list(known)
    guess = closest(word, known)
    return f"Did you mean {guess}?" if guess else f"Known here: {', '.join(known)}."


def _command_lines(command: Remedy, file: str, key: str) -> list[str]:
    """The lines of a remedy: a command of `ws` for a stack file, for any other file the YAML to write."""
    if isinstance(command, str):
        return [command]
    stack = stack_of(file) if key else None
    if isinstance(command, Remove):
        path = dotted(command.path, key)
        return [unset_command(stack, path) if stack else f"without {path}"]
    changes = command.changes if isinstance(command, Together) else (command,)
    if stack:
        return [set_command(stack, {dotted(change.path, key): change.value for change in changes})]
    return [line for change in changes for line in _yaml_lines(change, key)]


def _yaml_lines(command: Set, key: str) -> list[str]:
    """The lines of the file that give the key its value; of an entry of a list, the entry."""
    value = command.value
    shown = value if isinstance(value, str) and re.fullmatch(r"[a-z][\w.-]*", value, re.ASCII) else json.dumps(value)
    steps = [*(["config", key] if key else []), *command.path]
    lines = [
        f"{'  ' * depth}{'-' if isinstance(step, int) else f'{_yaml_key(step)}:'}" for depth, step in enumerate(steps)
    ]
    return [*lines[:-1], f"{lines[-1]} {shown}"]


def _yaml_key(name: str) -> str:
    return name if re.fullmatch(r"[\w.:-]{1,60}", name, re.ASCII) else json.dumps(name[:60])
