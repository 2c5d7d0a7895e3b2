"""This project: its folder, its name, its version, and the root of its state folders."""

import os
import tomllib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent
NAME = "cslr"  # also in Pulumi.yaml


def state_root() -> Path:
    """The root of this user's state folders: locks, generated secrets, mounted files, reports."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / NAME


@cache
def version() -> str:
    """The platform's version."""
    return str(tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]["version"])
