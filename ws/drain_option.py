"""The option ``--drain [TIME]``: how long to wait for running work."""

import re

import typer

OPTION = "--drain"
ALONE = "1h"  # if the option is given without a time
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
PART = re.compile(r"([0-9]{1,9})\s*([smhd]?)")


def parse_duration(text: str) -> float:
    """Seconds of ``90``, ``90s``, ``30m``, ``2h``, ``1h30m``. Raises `typer.BadParameter`."""
    parts = PART.findall(text.strip().lower())
    if not parts or PART.sub("", text.strip().lower()).strip():
        raise typer.BadParameter(f"{text!r} is not a duration; write for example 600, 90s, 30m or 2h.")
    return float(sum(int(number) * UNITS[unit] for number, unit in parts))


def with_time(arguments: list[str]) -> list[str]:
    """The arguments of a command, with a time added to a bare `--drain`: Typer has no optional values."""
    if arguments[:1] in (["exec"], ["submit"]):  # what follows is another program's
        return arguments
    following = [*arguments[1:], ""]
    return [
        f"{OPTION}={ALONE}" if argument == OPTION and not PART.match(after) else argument
        for argument, after in zip(arguments, following, strict=False)
    ]
