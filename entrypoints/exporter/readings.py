"""What one collection of the GPUs found: the document that the helper process sends to the exporter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that uses a GPU, by the PID that NVML gives: the host's."""

    pid: int
    memory: int | None = None  # bytes
    utilization: int | None = None  # percent of the time in which its kernels ran


@dataclass(frozen=True, kw_only=True)
class Part:
    """A MIG instance of a GPU."""

    uuid: str
    profile: str
    instance: int
    memory_total: int | None = None  # bytes
    memory_used: int | None = None
    memory_reserved: int | None = None
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU that answers. `values` holds what it knows of itself, by the names in gpus.py; the rest is absent."""

    index: int
    uuid: str
    bus_id: str
    model: str
    minor: int
    values: Mapping[str, float] = field(default_factory=dict)
    unified: bool = False  # its memory is the host's
    parts: tuple[Part, ...] = ()
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LostGpu:
    """A GPU that does not answer any more."""

    index: int
    uuid: str | None = None  # None: it never answered
    reason: str


@dataclass(frozen=True, kw_only=True)
class Xid:
    """A fault that the driver reported, by its number in NVIDIA's list."""

    uuid: str
    number: int
    time: float  # when it was read


@dataclass(frozen=True, kw_only=True)
class Readings:
    """One collection."""

    driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    lost: tuple[LostGpu, ...] = ()
    xids: tuple[Xid, ...] = ()  # since the collection before
    error: str = ""  # why NVML as a whole does not answer
    library: bool = True  # whether there is an NVML
    cut_off: bool = False  # the container lost its access to the GPUs' devices
