"""Which of a host's GPUs a container gets: none, all, or listed devices.

Standard library only, Python 3.10 or newer: the host and the programs in containers share it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """A selection of GPUs, by default none; truthy unless it selects none."""

    every: bool = False
    devices: tuple[str, ...] = ()  # Docker's device numbers or UUIDs

    def __post_init__(self) -> None:
        if self.every and self.devices:
            raise ValueError("either all GPUs or a list of them")

    def __bool__(self) -> bool:
        return self.every or bool(self.devices)

    @property
    def count(self) -> int | None:
        """The number of GPUs; None if only the host knows."""
        return None if self.every else len(self.devices)

    def docker_request(self) -> tuple[int, list[str]]:
        """Count and device IDs of a device request of Docker: -1 asks for all."""
        return (-1, []) if self.every else (0, sorted(self.devices))


NO_GPUS = Gpus()
ALL_GPUS = Gpus(every=True)
