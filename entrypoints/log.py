"""Prints lines to a container's log. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

from collections.abc import Callable

# What a message quotes may come from anybody, and `docker logs` prints it on a terminal.
CONTROL = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)] if chr(code) not in "\n\t"}


def logger(program: str) -> Callable[[str], None]:
    """Return a function that prints a message, beginning with the program's name; control characters are escaped."""

    def say(message: str) -> None:
        print(f"[{program}] {message.translate(CONTROL)}", flush=True)

    return say
