"""Abandoned locks in Pulumi's own backends: nothing removes a killed CLI's lock, and every later run is refused."""

import os
import re
import socket
from pathlib import Path

LOCKED = "is currently locked by"
# One lock in the CLI's message: pkg/backend/diy/lock.go.
HOLDER = re.compile(r"created by \S+?@(\S+) \(pid (\d+)\)")


def is_abandoned(said: str) -> bool:
    """Whether every lock that the CLI names was made on this host by a process that no longer exists."""
    holders = HOLDER.findall(said)
    return bool(holders) and all(host == socket.gethostname() and not _lives(int(pid)) for host, pid in holders)


def _lives(pid: int) -> bool:
    """Whether a CLI with this process id runs; another program may have the id by now."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/comm").read_text().startswith("pulumi")
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or /proc does not tell
        return True
