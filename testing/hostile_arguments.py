"""Runs every command of `ws` with each argument and option hostile in turn, in one process, and prints what broke.

``python -m testing.hostile_arguments`` in a copy of the project. Nothing that it runs reaches Docker, the network, or
another program.
"""

import contextlib
import io
import os
import resource
import sys
import traceback
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from coordination.printable import printable

VALUES = (
    "", " ", "-1", "0", "\u0663", "1_0", "nan", "1e999", "9" * 5000, "a" * 5000, "\x1b[31mx", "\udcff", "a\nb", "..",
    "../../x", "/dev/zero", "/dev/full", "/nowhere/x", "~nobody-at-all/x", "[", "(?P<", "%s{}", "\u202e", "a/b", "a:b",
    "=", "a=b",
)  # fmt: skip
# Commands whose arguments are of several kinds.
SEVERAL = (
    ("set", "redis.port"), ("set", "redis.env.A"), ("set", "ray.cpu.cpus"), ("set", "cluster"),
    ("set", "marimo.volumes"), ("get",), ("unset",), ("logs", "--since"), ("logs", "--until"), ("packages", "add"),
    ("client", "--host"),
)  # fmt: skip
FEW = 2  # values for each parameter in the short form
MEMORY = 2**30  # bytes that the process may have


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: lets no command start a program or reach another one."""
    if event in ("subprocess.Popen", "os.exec", "os.system", "os.posix_spawn", "os.fork"):
        raise FileNotFoundError(2, "No such file or directory", str(arguments[0])[:80])
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise ConnectionRefusedError(111, "Connection refused")


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of each command, and the command."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    for name, each in (inner or {}).items():
        yield from leaves(each, (*path, name))


def words(parameters: list[Any], hostile: Any, value: str) -> list[str]:
    """Arguments of a command of which one is hostile, and the others are what they must be."""
    options, arguments = [], []
    for each in parameters:
        if each.param_type_name == "option":
            if each is hostile:
                options += [f"{each.opts[-1]}={value}"] if each.opts[-1].startswith("--") else [each.opts[-1], value]
            elif each.required:
                options += [each.opts[-1], "x"]
        elif each is hostile:
            arguments += [value]
        elif each.required:
            arguments += ["x"]
    return [*options, *(["--", *arguments] if arguments else [])]


def commands(root: Any, count: int) -> Iterator[list[str]]:
    """Command lines: each parameter of each command with so many of the values, other ones for each."""
    turn = 0
    for path, command in leaves(root):
        parameters = [each for each in command.params if not getattr(each, "is_flag", False) and each.name != "help"]
        for each in parameters:
            for value in islice(cycle(VALUES), turn, turn + min(count, len(VALUES))):
                yield [*path, *words(parameters, each, value)]
            turn += count
    for first in SEVERAL:
        yield from ([*first, value] for value in VALUES)


def outcome(arguments: list[str]) -> str:
    """What is wrong with the end of a command; empty if nothing."""
    from ws import cli

    said, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            status = cli.main(arguments)
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        return "".join(traceback.format_exception(error)[-3:])
    text = errors.getvalue()
    if "Traceback" in text:
        return text[-1500:]
    if status and not (text or said.getvalue()).strip():
        return f"status {status}, and no message"
    return "" if text == printable(text) else f"control characters: {text[-500:]!a}"


def main() -> int:
    """Prints each command that ends with anything but a message."""
    from typer.main import get_command

    from ws.cli import app

    count = int(os.environ.get("INPUT_EXAMPLES", "0")) or FEW
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.addaudithook(refuse)
    broken = tried = 0
    for arguments in commands(get_command(app), count):
        tried += 1
        if wrong := outcome(arguments):
            broken += 1
            sys.stdout.write(f"{[word[:60] for word in arguments]!a}\n{wrong}\n")
    sys.stdout.write(f"{tried} tried, {broken} broken\n")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
