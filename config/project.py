"""This project: its folder, its name, and where its stacks keep their state."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent
NAME = "cslr"  # also in Pulumi.yaml


def state_root() -> Path:
    """Where all stacks of this user keep what is not in Docker: locks, generated secrets, mounted files, reports."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / NAME
