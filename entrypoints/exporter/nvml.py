"""The helper process that asks NVML: for each line on stdin it writes one collection as a line on stdout.

It is a process of its own because a call can hang with a GPU that is lost; then the exporter ends it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import pynvml

from contracts.document import dump
from entrypoints.exporter.readings import Gpu, LostGpu, Part, Process, Readings, Xid
from entrypoints.gpu_devices import cut_off

T = TypeVar("T")

MIB = 2**20
# A GPU that answers so is gone until the host has acted.
LOST = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
NOT_LOADED = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
UTILIZATION_WINDOW = 10.0  # seconds of samples of processes


class Nvml:
    """The library, initialized when it is first needed and answers."""

    def __init__(self) -> None:
        self._ready = False
        self._driver = ""
        self._uuids: dict[int, str] = {}
        self._events: Any = None
        self._watched: set[str] = set()

    def collect(self) -> Readings:
        """Ask for everything once; never raises for what NVML answers."""
        try:
            if not self._ready:
                pynvml.nvmlInit()
                self._ready = True
                self._driver = _text(pynvml.nvmlSystemGetDriverVersion())
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            return Readings(
                driver=self._driver,
                error=str(error),
                library=error.value not in NOT_LOADED,
                cut_off=error.value == pynvml.NVML_ERROR_UNKNOWN or cut_off(),
            )
        gpus: list[Gpu] = []
        lost: list[LostGpu] = []
        # A lost GPU may count no longer: what was there once is asked for all the same.
        for index in sorted({*range(count), *self._uuids}):
            try:
                gpus.append(self._gpu(index))
            except pynvml.NVMLError as error:
                lost.append(LostGpu(index=index, uuid=self._uuids.get(index), reason=str(error)))
        cut = bool(lost) and not gpus and cut_off()
        return Readings(driver=self._driver, gpus=tuple(gpus), lost=tuple(lost), xids=tuple(self._xids()), cut_off=cut)

    def _gpu(self, index: int) -> Gpu:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        self._uuids[index] = uuid
        self._watch(handle, uuid)
        memory = _memory(handle)
        parts = tuple(_parts(handle))
        return Gpu(
            index=index,
            uuid=uuid,
            bus_id=_text(pynvml.nvmlDeviceGetPciInfo(handle).busId),
            model=_text(pynvml.nvmlDeviceGetName(handle)),
            minor=_asked(pynvml.nvmlDeviceGetMinorNumber, handle) or 0,
            values={**_values(handle), **(memory or _unified_memory())},
            unified=memory is None,
            parts=parts,
            processes=() if parts else tuple(_processes(handle)),
        )

    def _watch(self, handle: object, uuid: str) -> None:
        """Ask the driver to tell of this GPU's faults; some GPUs cannot."""
        if uuid in self._watched:
            return
        with suppress(pynvml.NVMLError):
            if self._events is None:
                self._events = pynvml.nvmlEventSetCreate()
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)
            self._watched.add(uuid)

    def _xids(self) -> Iterator[Xid]:
        with suppress(pynvml.NVMLError):  # it ends with a timeout: there are no more
            while self._events is not None:
                event = pynvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = _text(pynvml.nvmlDeviceGetUUID(event.device))
                yield Xid(uuid=uuid, number=int(event.eventData), time=time.time())


def _values(handle: object) -> Mapping[str, float]:
    """What the GPU knows of itself, in the units of dcgm."""
    found: dict[str, float | None] = {name: _asked(question, handle) for name, question in QUESTIONS.items()}
    rates = _asked(pynvml.nvmlDeviceGetUtilizationRates, handle)
    if rates is not None:
        found |= {"utilization": rates.gpu, "memory_utilization": rates.memory}
    for name, question in (
        ("encoder", pynvml.nvmlDeviceGetEncoderUtilization),
        ("decoder", pynvml.nvmlDeviceGetDecoderUtilization),
    ):
        answer = _asked(question, handle)
        found[name] = answer[0] if answer is not None else None
    rows = _asked(pynvml.nvmlDeviceGetRemappedRows, handle)
    if rows is not None:
        found |= dict(zip(("rows_correctable", "rows_uncorrectable", "rows_pending", "rows_failed"), rows, strict=True))
    found["memory_temperature"] = _field(handle, pynvml.NVML_FI_DEV_MEMORY_TEMP)
    return {name: float(value) for name, value in found.items() if value is not None}


QUESTIONS: Mapping[str, Callable[[object], float]] = {
    "sm_clock": lambda handle: float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
    "memory_clock": lambda handle: float(pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)),
    "temperature": lambda handle: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
    "power": lambda handle: float(pynvml.nvmlDeviceGetPowerUsage(handle)) / 1000,  # from mW
    "energy": pynvml.nvmlDeviceGetTotalEnergyConsumption,
    "pcie_replays": pynvml.nvmlDeviceGetPcieReplayCounter,
    "throttle_reasons": pynvml.nvmlDeviceGetCurrentClocksThrottleReasons,
}


def _memory(handle: object) -> dict[str, float] | None:
    """Its memory in MiB; None where it has none of its own (GB10)."""
    newer = partial(pynvml.nvmlDeviceGetMemoryInfo, version=pynvml.nvmlMemory_v2)
    found = _asked(newer, handle)
    reserved = found.reserved if found is not None else None
    if found is None:
        found = _asked(pynvml.nvmlDeviceGetMemoryInfo, handle)
    if found is None:
        return None
    memory = {"memory_used": found.used / MIB, "memory_free": found.free / MIB, "memory_total": found.total / MIB}
    return memory | ({"memory_reserved": reserved / MIB} if reserved is not None else {})


def _unified_memory() -> dict[str, float]:
    """The host's memory, which is this GPU's too."""
    import psutil  # here, since few GPUs need it, and it takes a megabyte

    host = psutil.virtual_memory()
    return {
        "memory_used": (host.total - host.available) / MIB,
        "memory_free": host.available / MIB,
        "memory_total": host.total / MIB,
    }


def _parts(handle: object) -> Iterator[Part]:
    """The MIG instances of a GPU."""
    for index in range(_asked(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        try:
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except pynvml.NVMLError as error:
            if error.value in LOST:
                raise
            continue  # there is none at this place
        memory = _memory(part) or {}
        total, used, reserved = (memory.get(f"memory_{name}") for name in ("total", "used", "reserved"))
        yield Part(
            uuid=_text(pynvml.nvmlDeviceGetUUID(part)),
            profile=_text(pynvml.nvmlDeviceGetName(part)).rpartition("MIG ")[2],
            instance=_asked(pynvml.nvmlDeviceGetGpuInstanceId, part) or 0,
            memory_total=_bytes(total),
            memory_used=_bytes(used),
            memory_reserved=_bytes(reserved),
            processes=tuple(_processes(part)),
        )


def _processes(handle: object) -> Iterator[Process]:
    """Who uses the GPU: for computing, for graphics, or both."""
    memory: dict[int, int | None] = {}
    for kind in ("Compute", "Graphics"):
        for process in _asked(partial(_running, kind), handle) or ():
            memory[process.pid] = process.usedGpuMemory
    since = int((time.time() - UTILIZATION_WINDOW) * 1e6)
    samples = _asked(partial(_process_utilization, since), handle) or ()
    shares = {sample.pid: int(sample.smUtil) for sample in sorted(samples, key=lambda sample: sample.timeStamp)}
    for pid in sorted(memory):
        yield Process(pid=pid, memory=memory[pid], utilization=shares.get(pid))


def _running(kind: str, handle: object) -> Any:  # noqa: ANN401 (structures of NVML)
    """The processes of a kind. Drivers before branch 510 know only the second version of the question."""
    try:
        return getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_v3")(handle)
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
        return getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_v2")(handle)


def _process_utilization(since: int, handle: object) -> Any:  # noqa: ANN401 (structures of NVML)
    return pynvml.nvmlDeviceGetProcessUtilization(handle, since)


def _field(handle: object, number: int) -> float | None:
    values = _asked(partial(_field_values, number), handle)
    if not values or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    return float(values[0].value.uiVal)


def _field_values(number: int, handle: object) -> Any:  # noqa: ANN401 (structures of NVML)
    return pynvml.nvmlDeviceGetFieldValues(handle, [number])


def _asked(question: Callable[[object], T], handle: object) -> T | None:
    """An answer; None where the GPU or the driver does not know it. Raises where the GPU is lost."""
    try:
        return question(handle)
    except pynvml.NVMLError as error:
        if error.value in LOST:
            raise
        return None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _bytes(mebibytes: float | None) -> int | None:
    return None if mebibytes is None else round(mebibytes * MIB)


def main() -> int:
    """Answer until stdin ends, which it does with the exporter."""
    nvml = Nvml()
    for _ in sys.stdin:
        print(dump(nvml.collect()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
