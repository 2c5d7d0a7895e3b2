"""GPUs as series: under dcgm-exporter's names, units and labels, and what those do not say under names of our own.

What a GPU does not know is absent, where dcgm has a sentinel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import Metric

from entrypoints.exporter.attribution import Owner
from entrypoints.exporter.readings import Gpu, Part, Process, Readings
from entrypoints.exporter.series import gauge, metric

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Field:
    """A field of dcgm."""

    name: str
    kind: str
    help: str


# A figure's name in readings → dcgm's field. Those that only grow are untyped here: the client lets every counter
# end in _total.
FIELDS: Mapping[str, Field] = {
    "sm_clock": Field("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz)."),
    "memory_clock": Field("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz)."),
    "memory_temperature": Field("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C)."),
    "temperature": Field("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C)."),
    "power": Field("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W)."),
    "energy": Field("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "unknown", "Total energy consumption since boot (in mJ)."),
    "pcie_replays": Field("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "unknown", "Total number of PCIe retries."),
    "throttle_reasons": Field(
        "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", "gauge", "Current clock throttle reasons (bitmask)."
    ),
    "utilization": Field("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %)."),
    "memory_utilization": Field("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %)."),
    "encoder": Field("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (in %)."),
    "decoder": Field("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (in %)."),
    "memory_free": Field("DCGM_FI_DEV_FB_FREE", "gauge", "Frame buffer memory free (in MiB)."),
    "memory_used": Field("DCGM_FI_DEV_FB_USED", "gauge", "Frame buffer memory used (in MiB)."),
    "memory_reserved": Field("DCGM_FI_DEV_FB_RESERVED", "gauge", "Frame buffer memory reserved (in MiB)."),
    "rows_uncorrectable": Field(
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "unknown", "Number of remapped rows for uncorrectable errors."
    ),
    "rows_correctable": Field(
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "unknown", "Number of remapped rows for correctable errors."
    ),
    "rows_failed": Field("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed."),
}
XID_FIELD = Field("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered.")
# Bits of the reasons for which a GPU lowers its clocks (nvml.h): by software at the power limit, by software or
# hardware because of heat, by hardware for these or for the power supply.
THROTTLED = {"power": 0x4, "thermal": 0x20 | 0x40, "hardware": 0x8 | 0x80}
MIB = 2**20


@dataclass
class Known:
    """A GPU that was seen once, and its faults since then."""

    labels: Labels
    up: bool = True
    faults: dict[int, int] = field(default_factory=dict)  # number → how often
    fault_times: dict[int, float] = field(default_factory=dict)
    last_fault: int = 0


class Gpus:
    """The GPUs of this host, as they were at the last collection. What was seen once is expected from then on."""

    def __init__(
        self, hostname: str, expected: int | None = None, owner: Callable[[int], Owner | None] = lambda _: None
    ) -> None:
        self._hostname = hostname
        self._expected = expected
        self._owner = owner
        self._known: dict[str, Known] = {}
        self._readings = Readings(error="not asked yet")
        self._owners: dict[int, Owner] = {}

    @property
    def seen(self) -> bool:
        """Whether a GPU has ever answered."""
        return bool(self._known)

    @property
    def missing(self) -> int:
        """How many of the expected GPUs do not answer."""
        return self._count_expected() - sum(known.up for known in self._known.values())

    def note(self, readings: Readings) -> None:
        """Take in a collection."""
        answering = {gpu.uuid for gpu in readings.gpus}
        for gpu in readings.gpus:
            self._known.setdefault(gpu.uuid, Known(labels=_labels(gpu, self._hostname)))
        for uuid, known in self._known.items():
            known.up = uuid in answering
        for xid in readings.xids:
            if xid.uuid in self._known:
                known = self._known[xid.uuid]
                known.faults[xid.number] = known.faults.get(xid.number, 0) + 1
                known.fault_times[xid.number] = xid.time
                known.last_fault = xid.number
        pids = {process.pid for _, process in _processes(readings.gpus)}
        self._owners = {pid: owner for pid in pids if (owner := self._owner(pid))}
        self._readings = readings

    def note_failure(self) -> None:
        """No GPU answers: what was read last is true no more."""
        for known in self._known.values():
            known.up = False
        self._readings = Readings(driver=self._readings.driver, error="no answer", library=self._readings.library)

    def metrics(self) -> Iterator[Metric]:
        """All series."""
        readings = self._readings
        yield gauge(
            "cslr_nvml_info",
            "The NVIDIA driver as its library tells it; without a library `available` is no.",
            [({"driver": readings.driver, "available": "yes" if readings.library else "no"}, 1)],
        )
        yield gauge("cslr_gpu_expected", "GPUs that this host should have.", [({}, self._count_expected())])
        up = [({**_identity(known), "gpu": known.labels["gpu"]}, int(known.up)) for known in self._known.values()]
        if up:
            yield gauge("cslr_gpu_up", "Whether the GPU answers.", up)
        yield from _dcgm(readings.gpus, self._known)
        yield from _throttled(readings.gpus)
        yield from self._faults()
        yield from self._memory(readings.gpus)
        yield from self._users(readings.gpus)

    def _count_expected(self) -> int:
        return max(self._expected or 0, len(self._known), len(self._readings.gpus) + len(self._readings.lost))

    def _faults(self) -> Iterator[Metric]:
        counts, times = [], []
        for known in self._known.values():
            for number, count in sorted(known.faults.items()):
                labels = {**_identity(known), "xid": str(number)}
                counts.append((labels, count))
                times.append((labels, known.fault_times[number]))
        if counts:
            yield metric("cslr_gpu_xid_errors_total", "counter", "Faults that the driver reported, by XID.", counts)
            yield gauge("cslr_gpu_xid_last_timestamp_seconds", "When the fault was reported last.", times)

    def _memory(self, gpus: Sequence[Gpu]) -> Iterator[Metric]:
        sizes = [
            ({"UUID": gpu.uuid, "memory": "unified" if gpu.unified else "own"}, gpu.values["memory_total"] * MIB)
            for gpu in gpus
            if "memory_total" in gpu.values
        ]
        if sizes:
            yield gauge("cslr_gpu_memory_bytes", "Memory of the GPU; `unified` is the host's own memory.", sizes)

    def _users(self, gpus: Sequence[Gpu]) -> Iterator[Metric]:
        """Who uses the GPUs; processes with the same labels are added up."""
        memory: dict[tuple[tuple[str, str], ...], float] = {}
        shares: dict[tuple[tuple[str, str], ...], float] = {}
        for uuid, process in _processes(gpus):
            owner = self._owners.get(process.pid, Owner())
            key = tuple({"UUID": uuid, **owner.labels()}.items())
            if process.memory is not None:
                memory[key] = memory.get(key, 0) + process.memory
            if process.utilization is not None:
                shares[key] = shares.get(key, 0) + process.utilization / 100
        if memory:
            yield gauge("cslr_gpu_process_memory_bytes", "GPU memory of processes, by who runs them.", _rows(memory))
        if shares:
            text = "Share of the time in which kernels of these processes ran on the GPU."
            yield gauge("cslr_gpu_process_utilization_ratio", text, _rows(shares))


def _dcgm(gpus: Sequence[Gpu], known: Mapping[str, Known]) -> Iterator[Metric]:
    """The fields of dcgm that a GPU knows."""
    for name, told in FIELDS.items():
        rows = [(known[gpu.uuid].labels, gpu.values[name]) for gpu in gpus if name in gpu.values]
        rows += [
            ({**known[gpu.uuid].labels, "GPU_I_PROFILE": part.profile, "GPU_I_ID": str(part.instance)}, value)
            for gpu in gpus
            for part in gpu.parts
            if (value := _of_part(part, name)) is not None
        ]
        if rows:
            yield metric(told.name, told.kind, told.help, rows)
    faults = [(known[gpu.uuid].labels, known[gpu.uuid].last_fault) for gpu in gpus]
    if faults:
        yield metric(XID_FIELD.name, XID_FIELD.kind, XID_FIELD.help, faults)


def _throttled(gpus: Sequence[Gpu]) -> Iterator[Metric]:
    rows = [
        ({"UUID": gpu.uuid, "reason": reason}, float(bool(int(gpu.values["throttle_reasons"]) & bits)))
        for gpu in gpus
        if "throttle_reasons" in gpu.values
        for reason, bits in THROTTLED.items()
    ]
    if rows:
        yield gauge("cslr_gpu_throttled", "Whether the GPU lowers its clocks, by reason.", rows)


def _of_part(part: Part, name: str) -> float | None:
    """A figure of a MIG instance: it has only memory."""
    if part.memory_total is None or part.memory_used is None:
        return None
    reserved = part.memory_reserved or 0
    memory = {
        "memory_used": part.memory_used,
        "memory_free": part.memory_total - part.memory_used - reserved,
        "memory_reserved": part.memory_reserved,
    }
    value = memory.get(name)
    return None if value is None else value / MIB


def _labels(gpu: Gpu, hostname: str) -> Labels:
    return {
        "gpu": str(gpu.index),
        "UUID": gpu.uuid,
        "pci_bus_id": gpu.bus_id,
        "device": f"nvidia{gpu.minor}",
        "modelName": gpu.model,
        "Hostname": hostname,
    }


def _identity(known: Known) -> Labels:
    return {"UUID": known.labels["UUID"]}


def _processes(gpus: Sequence[Gpu]) -> Iterator[tuple[str, Process]]:
    """All that use a GPU or a part of one, each with the UUID of what it uses."""
    for gpu in gpus:
        yield from ((gpu.uuid, process) for process in gpu.processes)
        for part in gpu.parts:
            yield from ((part.uuid, process) for process in part.processes)


def _rows(sums: Mapping[tuple[tuple[str, str], ...], float]) -> list[tuple[Labels, float]]:
    return [(dict(key), value) for key, value in sums.items()]
