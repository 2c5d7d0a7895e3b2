"""How a program in a container reaches the cluster's state in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RedisAccess:
    """The Redis servers (host:port; the deployed primary, then its replica) and the user that a program logs in as."""

    addresses: tuple[str, ...]
    password_file: Path
    user: str = ""  # empty: the all-powerful user
    namespace: str  # of the cluster; other clusters may use the same Redis
