"""The marker of a restore that has begun and not ended: until then, part of a stack's data is that of the backup.

What starts services on such data would lose what they write, and a backup of it would seem whole.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from config.problems import Problem, SettingsError
from stack.identity import StackIdentity
from stack.state import stack_folder, write_atomically

RESTORES = "CSLR_RESTORES"  # variable by which `ws restore` tells the `ws up` that it runs which backup it restores
# In the stack's own folder: that of backups belongs to root, and whoever runs `ws up` could not look into it.
MARKER = "restoring.json"


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A restore that has not ended."""

    backup: str
    command: str  # that completes it
    places: tuple[str, ...] = ()  # folders and volumes that it has found empty, and may replace

    @classmethod
    def read(cls, identity: StackIdentity) -> "Marker | None":
        """That of a stack, if one of its restores has not ended."""
        try:
            found = json.loads(marker_of(identity).read_text())
        except FileNotFoundError:
            return None
        return cls(backup=found["backup"], command=found["command"], places=tuple(found["places"]))

    def write(self, identity: StackIdentity) -> None:
        """Keeps it. Every user of the stack may read it."""
        write_atomically(marker_of(identity), json.dumps(asdict(self)).encode(), 0o644)


def marker_of(identity: StackIdentity) -> Path:
    """The file that is there from the beginning of a restore to its end."""
    return stack_folder(identity) / MARKER


def check(identity: StackIdentity, environment: Mapping[str, str]) -> None:
    """Passes if no restore of the stack waits for its end, or the environment is that of this restore's own commands.

    Raises:
        SettingsError: with the command that completes it.
    """
    marker = Marker.read(identity)
    if marker is None or environment.get(RESTORES) == marker.backup:
        return
    problem = Problem(
        (),
        f"the restore of the backup {marker.backup} has not ended, so its data is not whole",
        "Nothing was changed. Complete the restore:",
        (
            marker.command,
            "# Or, if the data is as you want it, remove the marker:",
            f"rm {marker_of(identity)}",
        ),
    )
    raise SettingsError([problem], f"stack {identity.stack}", "")
