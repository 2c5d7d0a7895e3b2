"""Facts about a host's NVIDIA GPUs and driver, from NVML, the driver's library."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pynvml

# NVML's error → explanation, and the first command to try.
SILENCES = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "this host has no NVIDIA driver",
        "sudo apt-get install nvidia-driver",
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "the NVIDIA driver is installed, but the kernel has not loaded it",
        "sudo modprobe nvidia",
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "the NVIDIA driver was updated, but the kernel still has the old one",
        "sudo reboot",
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: ("this user may not ask the NVIDIA driver", "ls -l /dev/nvidiactl"),
}


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU, or one MIG instance."""

    number: int  # of the whole GPU
    uuid: str
    name: str

    def __str__(self) -> str:
        return f"{self.number} {self.name} ({self.uuid})"


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """NVML's answers. Every default means "not asked", and no check fails for it."""

    driver: str = ""  # "580.95.05"
    gpus: tuple[Gpu, ...] | None = None
    parts: tuple[Gpu, ...] = ()  # of GPUs in MIG mode
    silence: str = ""  # why NVML gives no facts
    remedy: str = ""

    @classmethod
    def probe(cls) -> "GpuFacts":
        """The facts of this host. Takes a fraction of a second where the driver keeps its state, else one or two."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            silence, remedy = SILENCES.get(error.value, (f"NVML fails: {error}", "nvidia-smi"))
            return cls(silence=silence, remedy=remedy)
        try:
            handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
            return cls(
                driver=pynvml.nvmlSystemGetDriverVersion(),
                gpus=tuple(_gpu(number, handle) for number, handle in enumerate(handles)),
                parts=tuple(part for number, handle in enumerate(handles) for part in _parts(number, handle)),
            )
        except pynvml.NVMLError as error:
            return cls(silence=f"NVML fails: {error}", remedy="nvidia-smi")
        finally:
            pynvml.nvmlShutdown()

    @property
    def branch(self) -> int | None:
        """The driver's branch, which CUDA's requirements name; None if unknown."""
        first = self.driver.partition(".")[0]
        return int(first) if first.isdecimal() else None

    def knows(self, device: str) -> bool:
        """Whether a device with this number or UUID exists."""
        if device.isdecimal():
            return any(gpu.number == int(device) for gpu in self.gpus or ())
        return "/" in device or any(gpu.uuid == device for gpu in (*(self.gpus or ()), *self.parts))


def _gpu(number: int, handle: Any) -> Gpu:  # noqa: ANN401 (NVML's pointer)
    return Gpu(number=number, uuid=pynvml.nvmlDeviceGetUUID(handle), name=pynvml.nvmlDeviceGetName(handle))


def _parts(number: int, handle: Any) -> Iterator[Gpu]:  # noqa: ANN401 (NVML's pointer)
    try:
        places = pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except pynvml.NVMLError:  # a GPU without MIG
        return
    for place in range(places):
        try:
            yield _gpu(number, pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place))
        except pynvml.NVMLError:  # a slot without an instance
            continue
