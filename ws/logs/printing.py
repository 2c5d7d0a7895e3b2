"""Prints entries: for people with a service's colour, for pipes without, for programs as JSON."""

import re
from collections.abc import Callable, Iterable
from itertools import cycle

from rich.console import Console
from rich.text import Text

from coordination.printable import UNSAFE, printable
from ws.logs.entry import COLOURS, CONTAINER, Entry

SERVICE_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")
# Colours are let through where they are shown.
COLOURS_OR_CONTROL = re.compile(f"({COLOURS.pattern})|{UNSAFE.pattern}")
WORKER = re.compile(
    r"(?P<folder>.*/)?(?P<kind>(?:io_)?worker|python-core-worker|python-core-driver)-[0-9a-f]+[-_](?:[0-9a-f]{8}-)?(?P<rest>\d+\..+)"
)

Printer = Callable[[Entry], None]


def harmless(line: str) -> str:
    """A line whose control characters are written out; colours stay. Of what was overwritten, the last state stays."""
    if "\r" in line:
        line = next((part for part in reversed(line.split("\r")) if part.strip()), "")
    return COLOURS_OR_CONTROL.sub(lambda found: found[1] or ascii(found[0])[1:-1], line)


def short(source: str) -> str:
    """A file's name without the long ID of a worker: ``worker-4711.out``."""
    found = WORKER.fullmatch(source)
    return f"{found['folder'] or ''}{found['kind']}-{found['rest']}" if found else source


def printer(console: Console, services: Iterable[str], *, as_json: bool) -> Printer:
    """What prints one entry."""
    if as_json:
        return lambda entry: _write(console, entry.as_json())
    names = sorted(services)
    width = max(map(len, names), default=0)
    colours = dict(zip(names, cycle(SERVICE_COLOURS), strict=False))

    def show(entry: Entry) -> None:
        source = "" if entry.source == CONTAINER else f"{printable(short(entry.source))}: "
        name = f"{entry.service:<{width}} │ "
        for line in entry.text.split("\n"):
            text = harmless(line)
            if console.is_terminal:
                prefix = Text.assemble((name, colours.get(entry.service, "")), (source, "dim"))
                console.print(prefix + Text.from_ansi(text), soft_wrap=True)
            else:
                _write(console, f"{name}{source}{COLOURS.sub('', text)}")

    return show


def _write(console: Console, line: str) -> None:
    # Rich lays out each line, which takes most of the time where there are many.
    console.file.write(line + "\n")
