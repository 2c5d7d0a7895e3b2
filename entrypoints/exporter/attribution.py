"""Who uses a GPU: from the PID that NVML gives to container, service, Ray worker, job and task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from contracts.exporter import ListedContainer
from entrypoints.exporter.proc import Processes


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a Ray worker does."""

    job: str
    task: str  # the task's or the actor's class name


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who a process belongs to; what is not known is empty."""

    container: str = ""
    service: str = ""
    name: str = ""
    ray_node: str = ""
    ray_job: str = ""
    ray_task: str = ""

    def labels(self) -> Mapping[str, str]:
        """As labels of a series."""
        return asdict(self)


class Attribution:
    """Finds the owner of a process, by what the keeper lists and Ray tells."""

    def __init__(
        self,
        processes: Processes,
        listed: Callable[[], Mapping[str, ListedContainer]],
        ray_nodes: Mapping[str, str],
        work: Callable[[], Mapping[tuple[str, int], Work]] = dict,
    ) -> None:
        self._processes = processes
        self._listed = listed
        self._ray_nodes = ray_nodes  # service → what Ray calls its node
        self._work = work  # (node as Ray calls it, PID inside its container) → what it does

    def owner(self, pid: int) -> Owner | None:
        """The owner of a process of this host; None when it is gone."""
        name = self._processes.name(pid)
        if not name:
            return None
        container = self._listed().get(self._processes.container(pid) or "")
        if container is None:  # of a process that is not the stack's only the name counts
            return Owner(name=name)
        node = self._ray_nodes.get(container.service, "")
        work = self._work().get((node, self._processes.inner_pid(pid))) if node else None
        return Owner(
            container=container.name,
            service=container.service,
            name=name,
            ray_node=node,
            ray_job=work.job if work else "",
            ray_task=work.task if work else "",
        )
