"""Made-up builds of an image family for tests of the build report, with sizes that are easy to add up."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from build_report.layers import chain_ids
from build_report.measure import ENVIRONMENT, IMAGE_ID
from build_report.records import Build, BuildRecord, Image, Layer, Package, Subject, Usage
from build_report.store import Store
from config.project import FOLDER
from docker_api.step import Step

MB, GB = 10**6, 10**9
BEGAN = 1_790_000_000.0
SIZES = {"base": 85 * MB, "cuda": 2870 * MB, "python": 40 * MB, "torch": 1767 * MB, "pyg": 32 * MB}


def subject(name: str = "runtime", variant: str = "cuda13.1.1-py3.14") -> Subject:
    return Subject(image=name, target=name, variant=variant)


def image(
    sizes: Mapping[str, int], *, packages: Mapping[str, tuple[str, int]] | None = None, began: float = BEGAN
) -> Image:
    """An image of these layers. Its layers' digests follow from names and sizes, as from contents."""
    diff_ids = [_digest(name, size) for name, size in sizes.items()]
    layers = zip(sizes.items(), diff_ids, chain_ids(diff_ids), strict=True)
    return Image(
        image_id=_digest(chain_ids(diff_ids)[-1], *sorted((packages or {}).items())),
        created=began + 60,
        labels={"cslr.torch": "2.13.0"},
        distribution="debian-13",
        python="3.14.0",
        torch="2.13.0+cu130",
        torch_cuda="13.0",
        layers=tuple(
            Layer(diff_id=diff_id, chain_id=chain_id, name=name, size=size, created=began + 10 * position)
            for position, ((name, size), diff_id, chain_id) in enumerate(layers)
        ),
        packages=tuple(
            Package(kind="python", name=name, version=version, size=size)
            for name, (version, size) in (packages or {}).items()
        ),
    )


def _later(one: Step, seconds: float) -> Step:
    if one.started is None or one.completed is None:
        return one
    return replace(one, started=one.started + seconds, completed=one.completed + seconds)


def _digest(*parts: object) -> str:
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


def step(name: str, started: float | None, seconds: float = 0, *, cached: bool = False, error: str = "") -> Step:
    """A step; `started` after the beginning of the build."""
    begun = None if started is None else BEGAN + started
    return Step(
        name=name, started=begun, completed=None if begun is None else begun + seconds, cached=cached, error=error
    )


STEPS = (
    step("[internal] load build definition from Dockerfile", 0, 0.1),
    step("[libraries-cuda 1/2] FROM docker.io/cslr/base", 0.1, 0.2),
    step("[libraries-cuda 2/2] RUN python install.py cuda", 1, 20),
    step("[torch 1/2] RUN python install.py torch", 21, 30),
    step("[torch 2/2] RUN python install.py torch", 41, 20),
    step("[pyg 1/1] RUN python install.py pyg", 61, 3),
    step("exporting to image", 64, 8),
)
USAGE = Usage(cpu_peak=98, cpu_mean=61.5, memory_peak=3 * GB, disk_before=90 * GB, disk_after=84 * GB)


def built(
    store: Store,
    measured: Image | None,
    *,
    of: Subject | None = None,
    run: str = "20261122T100000Z-1",
    after: float = 0,
    seconds: float = 72,
    steps: tuple[Step, ...] = STEPS,
    error: str = "",
) -> Build:
    """A build as an engine records it, and its image as it is measured afterwards; None: the build failed."""
    if measured:
        store.add_image(measured)
    what = of or subject()
    record = BuildRecord(
        tag=f"cslr/{what.image}:{what.variant}-cuda-0123456789ab",
        subject=what,
        engine="embedded",
        started=BEGAN + after,
        ended=BEGAN + after + seconds,
        result="built" if measured else "failed",
        error=error,
        image_id=measured.image_id if measured else None,
        steps=tuple(_later(one, after) for one in steps),
        builder="20.10.24",
        sent=12_345,
        usage=USAGE,
    )
    return store.add_build(record, run)


def measured(spec: Mapping[str, Any], image_id: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `python -m build_report.measure` as an engine does."""
    environment = {name: value for name, value in os.environ.items() if name not in (ENVIRONMENT, IMAGE_ID)}
    environment |= {ENVIRONMENT: json.dumps(spec)} | ({IMAGE_ID: image_id} if image_id else {})
    command = [sys.executable, "-m", "build_report.measure"]
    return subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
