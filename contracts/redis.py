"""How a program in a container reaches the cluster's state in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RedisAccess:
    """The servers, as host:port: Redis as it was deployed, then its replica; and as whom a program logs in."""

    addresses: tuple[str, ...]
    password_file: Path
    user: str = ""  # empty: the all-powerful user
    namespace: str  # of the cluster; others may keep theirs beside it
