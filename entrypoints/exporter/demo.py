"""Readings of GPUs that do not exist, to see dashboards and alerts without any: they change with the time."""

from __future__ import annotations

import math
import time

from entrypoints.exporter.readings import Gpu, Readings

MODEL = "NVIDIA H100 80GB HBM3 (demo)"
TOTAL, RESERVED = 81559.0, 551.0  # MiB
PERIOD = 300.0  # seconds of one wave of load
IDLE_WATTS, FULL_WATTS = 70.0, 700.0
IDLE_CELSIUS, FULL_CELSIUS = 30.0, 72.0
IDLE_MHZ, FULL_MHZ, MEMORY_MHZ = 345.0, 1980.0, 2619.0


def readings(count: int, now: float | None = None) -> Readings:
    """So many GPUs, each at another point of the wave."""
    now = time.time() if now is None else now
    return Readings(driver="demo", gpus=tuple(_gpu(index, now) for index in range(count)))


def _gpu(index: int, now: float) -> Gpu:
    load = (1 + math.sin(2 * math.pi * (now / PERIOD + index / 8))) / 2
    used = round((TOTAL - RESERVED) * (0.02 + 0.9 * load))
    # The integral of the wave: energy only ever grows.
    phase = 2 * math.pi * (now / PERIOD + index / 8)
    joules = IDLE_WATTS * now + (FULL_WATTS - IDLE_WATTS) * (now - PERIOD / (2 * math.pi) * math.cos(phase)) / 2
    return Gpu(
        index=index,
        uuid=f"GPU-00000000-0000-0000-0000-{index:012d}",
        bus_id=f"00000000:{0x18 + 16 * index:02X}:00.0",
        model=MODEL,
        minor=index,
        values={
            "sm_clock": round(IDLE_MHZ + (FULL_MHZ - IDLE_MHZ) * load),
            "memory_clock": MEMORY_MHZ,
            "temperature": round(IDLE_CELSIUS + (FULL_CELSIUS - IDLE_CELSIUS) * load),
            "memory_temperature": round(IDLE_CELSIUS + 8 + (FULL_CELSIUS - IDLE_CELSIUS) * load),
            "power": round(IDLE_WATTS + (FULL_WATTS - IDLE_WATTS) * load, 3),
            "energy": round(joules * 1000 % 1e15),
            "pcie_replays": 0,
            "throttle_reasons": 0,
            "utilization": round(100 * load),
            "memory_utilization": round(60 * load),
            "encoder": 0,
            "decoder": round(15 * load),
            "memory_used": used,
            "memory_free": TOTAL - RESERVED - used,
            "memory_reserved": RESERVED,
            "memory_total": TOTAL,
            "rows_correctable": 0,
            "rows_uncorrectable": 0,
            "rows_pending": 0,
            "rows_failed": 0,
        },
    )
