"""Samples a stack's use of limited resources during the soak: memory, scratch, Redis, volumes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import docker

from bench.soak_work import Rig

MB = 10**6
REDIS = "Redis: data in memory"
SCRATCH = "scratch on disk"
# Memory that the kernel reclaims at once when a container needs it, in cgroup v2 and v1.
GIVEN_BACK = ("inactive_file", "total_inactive_file")


@dataclass
class Uses:
    """Name → figures over time, in MB."""

    first: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def start(self, rig: Rig) -> None:
        """Before anything is done."""
        self.first = {**used_now(rig), **volumes(rig)}
        self.peak = dict(self.first)

    def sample(self, rig: Rig) -> None:
        """Once more, while it runs."""
        for name, size in used_now(rig).items():
            self.peak[name] = max(size, self.peak.get(name, 0.0))

    def end(self, rig: Rig) -> None:
        """After all of it."""
        self.sample(rig)
        self.last = {**used_now(rig), **volumes(rig)}


def used_now(rig: Rig) -> dict[str, float]:
    """Memory of each running container, of Redis' data, and the scratch."""
    found = {}
    for service, container in sorted(rig.stack.containers().items()):
        if container.status == "running":
            memory = cast("dict[str, Any]", container.stats(stream=False, one_shot=True))["memory_stats"]
            spare = next((memory["stats"][key] for key in GIVEN_BACK if key in memory.get("stats", {})), 0)
            if "usage" in memory:
                found[f"{service}: memory"] = (memory["usage"] - spare) / MB
    found.update(of_redis(rig))
    found.update(of_scratch(rig))
    return found


def of_redis(rig: Rig) -> Mapping[str, float]:
    """Redis's own figures."""
    password = rig.stack.secrets()["redis-password"].strip()
    command = f"REDISCLI_AUTH={password} redis-cli info memory"
    try:
        code, said = rig.stack.exec("redis", "sh", "-c", command)
    except docker.errors.DockerException:
        return {}
    numbers = re.findall(r"used_memory:(\d+)", said)
    return {REDIS: float(numbers[0]) / MB} if code == 0 and numbers else {}


def of_scratch(rig: Rig) -> Mapping[str, float]:
    """The scratch use that the node's guard measured."""
    try:
        code, said = rig.stack.exec("ray-cpu", "sh", "-c", "cat /scratch/use/ray-cpu.json")
        return {SCRATCH: json.loads(said)["used"] / MB} if code == 0 else {}
    except (docker.errors.DockerException, LookupError, ValueError):
        return {}


def volumes(rig: Rig) -> Mapping[str, float]:
    """Size of each volume of the stack."""
    names = set(rig.stack.volumes())
    found = rig.stack.engine.df()["Volumes"] or []
    return {f"volume {v['Name']}": v["UsageData"]["Size"] / MB for v in found if v["Name"] in names}


def use_table(uses: Uses) -> list[str]:
    """Start, peak and end of each."""
    lines = ["| use, MB | start | peak | end |", "|---|---:|---:|---:|"]
    for name in sorted({**uses.first, **uses.last}, key=lambda name: (name.startswith("volume"), name)):
        figures = [
            uses.first.get(name),
            None if name.startswith("volume") else uses.peak.get(name),
            uses.last.get(name),
        ]
        cells = ["-" if figure is None else f"{figure:,.0f}" for figure in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
