"""Groups of live tests: tests of different groups share no stack, network or port, and may run in parallel.

A group is a test module, or all modules that use one deployment. `make test-live` runs three groups at a time: they
wait more than they compute.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from testing.live.deployment import FULL, SMALL

# Modules that use one deployment, which a fixture shares → their group.
GROUPS = {
    "test_client": "platform",
    "test_lifecycle": "platform",
    "test_security": "platform",
    "test_teardown": "platform",
    "test_interruptions": "small",
    "test_keeper": "small",
}
SHARED = {"undeployed": "platform", "small": "small"}  # fixture → group
# The groups that take longest, so that none of them is begun last. Those of alerts wait five minutes at a time and
# compute little, so they are begun beside the first ones, which do.
LONGEST_FIRST = (
    "platform",
    "test_daily_work",
    "test_metrics",
    "test_running_work",
    "test_alerts",
    "test_matrix",
    "test_reverse_proxy",
    "test_outside",
)


def group_of(nodeid: str) -> str:
    """The group of a test."""
    module = PurePosixPath(nodeid.partition("::")[0]).stem
    return GROUPS.get(module, module)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives each worker one group after the other. (`--dist loadgroup` does nothing with pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def ordered(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests group after group, the longest groups first; within a group as they were."""
    order = [*LONGEST_FIRST, *dict.fromkeys(group_of(item.nodeid) for item in items)]
    return sorted(items, key=lambda item: order.index(group_of(item.nodeid)))


def strangers(items: Iterable[pytest.Item]) -> list[str]:
    """The modules that use a shared deployment and are not in its group."""
    found = {
        f"{item.path.name} belongs to the group {group}"
        for item in items
        for fixture, group in SHARED.items()
        if fixture in getattr(item, "fixturenames", ()) and group_of(item.nodeid) != group
    }
    return sorted(found)


def addresses(settings: Any) -> Iterator[str]:
    """The network and the ports on this host that settings of a stack name."""
    for key, value in settings.items() if isinstance(settings, Mapping) else ():
        if key == "subnet":
            yield str(value)
        elif isinstance(value, int) and key in ("port", "gcs", "client", "dashboard"):
            yield f"port {value}"
        else:
            yield from addresses(value)


def collisions(groups: Iterable[tuple[str, ModuleType]]) -> list[str]:
    """Every address that two groups use, with their names."""
    users: dict[str, set[str]] = defaultdict(set)
    for group, settings in ((SHARED["undeployed"], FULL), (SHARED["small"], SMALL)):
        for address in addresses(settings):
            users[address].add(group)
    for group, module in groups:
        for value in vars(module).values():
            if isinstance(value, Mapping) and "network" in value and value not in (FULL, SMALL):
                for address in addresses(value):
                    users[address].add(group)
    return [f"{address}: {', '.join(sorted(names))}" for address, names in users.items() if len(names) > 1]
