"""The GPUs with their use and users: of all hosts from Prometheus, or else of this host from its exporter."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from contracts.health import WatchedService
from entrypoints.health.asker import Asker
from entrypoints.health.page.prometheus import Sample, latest

MIB = 2**20
USE, USED, FREE, HEAT = (
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_GPU_TEMP",
)
UP, OF_PROCESSES = "cslr_gpu_up", "cslr_gpu_process_memory_bytes"
READ = (USE, USED, FREE, HEAT, UP, OF_PROCESSES)
PART = "GPU_I_ID"  # a label of the figures of a MIG instance, which count in those of the whole GPU


@dataclass(frozen=True, kw_only=True)
class GpuUser:
    """Processes of one owner, and the GPU memory that they take in bytes."""

    who: str
    memory: float


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU; use in percent, memory in bytes, heat in °C. None: it does not say."""

    host: str
    number: str
    model: str
    up: bool
    use: float | None
    used: float | None
    memory: float | None
    heat: float | None
    users: tuple[GpuUser, ...]


async def gpus_of_all_hosts(prometheus: WatchedService, asker: Asker) -> tuple[Gpu, ...]:
    """The GPUs of every host that Prometheus asks; raises FailureError."""
    return gpus_in(await latest(prometheus, f'{{__name__=~"{"|".join(READ)}"}}', asker))


async def gpus_of_exporter(exporter: WatchedService, asker: Asker) -> tuple[Gpu, ...]:
    """The GPUs of this host; raises FailureError."""
    return gpus_in(samples_in(await asker.in_time(asker.get(exporter, "/metrics"))))


def samples_in(text: str) -> list[Sample]:
    """The figures that are read here. An exporter's text has thousands of others, which are passed over unread."""
    lines = "\n".join(re.findall(rf"^(?:{'|'.join(READ)})[{{ ].*$", text, re.MULTILINE))
    return [
        Sample(name=sample.name, labels=sample.labels, value=sample.value)
        for family in text_string_to_metric_families(f"{lines}\n")
        for sample in family.samples
    ]


def gpus_in(samples: Iterable[Sample]) -> tuple[Gpu, ...]:
    """The GPUs that the figures are of, by host and number."""
    figures: dict[str, dict[str, float]] = {}
    labels: dict[str, dict[str, str]] = {}
    users: dict[str, list[GpuUser]] = {}
    for sample in samples:
        uuid = sample.labels.get("UUID", "")
        if sample.name == OF_PROCESSES:
            users.setdefault(uuid, []).append(GpuUser(who=_who(sample.labels), memory=sample.value))
        elif PART not in sample.labels:
            figures.setdefault(uuid, {})[sample.name] = sample.value
            labels.setdefault(uuid, {}).update(sample.labels)
    found = [
        _gpu(labels[uuid], figures[uuid], sorted(users.get(uuid, ()), key=lambda user: -user.memory))
        for uuid in figures
    ]
    return tuple(sorted(found, key=lambda gpu: (gpu.host, gpu.number.zfill(3))))


def _gpu(labels: Mapping[str, str], figures: Mapping[str, float], users: Iterable[GpuUser]) -> Gpu:
    used, free = figures.get(USED), figures.get(FREE)
    return Gpu(
        host=labels.get("host") or labels.get("Hostname", ""),
        number=labels.get("gpu", ""),
        model=labels.get("modelName", ""),
        up=figures.get(UP, 1) != 0,
        use=figures.get(USE),
        used=None if used is None else used * MIB,
        memory=None if used is None or free is None else (used + free) * MIB,
        heat=figures.get(HEAT),
        users=tuple(users),
    )


def _who(labels: Mapping[str, str]) -> str:
    """The owner of processes: the service, and what of it."""
    job = f"job {labels['ray_job']}" if labels.get("ray_job") else ""
    parts = (labels.get("service") or labels.get("container", ""), job, labels.get("ray_task") or labels.get("name"))
    return ", ".join(part for part in parts if part) or "unknown"
