"""Subcommands of a container's program: ``run`` (the default) and those that health checks call."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from contracts.document import DocumentError
from coordination.errors import NodeError


def dispatch(commands: Mapping[str, Callable[[], int]], arguments: list[str], tell: Callable[[str], None]) -> int:
    """Run the subcommand that the first argument names, or `run`.

    A NodeError, for example from invalid settings, becomes one line and exit code 1.
    """
    name = arguments[0] if arguments else "run"
    command = commands.get(name)
    if command is None:
        tell(f"unknown subcommand {name!r}: use {', '.join(commands)}.")
        return 2
    try:
        return command()
    except (NodeError, DocumentError) as error:
        tell(f"error: {error}")
        return 1
