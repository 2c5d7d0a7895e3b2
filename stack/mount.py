"""Mounts: files and volumes of this host in a container."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pulumi  # takes a while to load, which who only wants the values need not wait for


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A bind mount (`source` is an absolute path of the host) or a named volume."""

    source: "pulumi.Input[str]"
    target: str
    read_only: bool = False
    bind: bool = True
