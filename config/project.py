"""This project: its folder, its name, its version, and the root of its state folders."""

import os
import subprocess
import tomllib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent
NAME = "cslr"  # also in Pulumi.yaml
GIT_SECONDS = 5  # that git may take


def state_root() -> Path:
    """The root of this user's state folders: locks, generated secrets, mounted files, reports."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / NAME


@cache
def version() -> str:
    """The platform's version."""
    return str(tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]["version"])


def commit() -> str:
    """The commit that the files are of, and whether they were changed since; empty where they came without git."""
    command = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty=, with changes", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
