"""Prints lines to a container's log. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

from collections.abc import Callable


def logger(program: str) -> Callable[[str], None]:
    """Return a function that prints a line, beginning with the program's name."""

    def say(message: str) -> None:
        print(f"[{program}] {message}", flush=True)

    return say
