"""Checks that no other stack of this host keeps data where this one would: each would destroy the other's."""

from collections.abc import Iterator

from config.mount_sources import is_within
from config.notation import listed_as, person_of
from config.platform import PlatformSettings
from config.platform_rules import DATA_TARGETS, own_locations
from config.problems import Path, Problem, Remove, dotted
from config.services import SERVICES
from config.types import is_path
from preflight.host_facts import LABEL_COMPONENT, LABEL_STACK, DataMount, HostFacts

SCRATCH, SCRATCH_TARGET = ("ray", "scratch"), "/scratch"
# Files of people and their jobs, which several stacks may have in common.
MAY_BE_SHARED: tuple[Path, ...] = (("ray", "home"), ("ray", "checkpoints"))


def data_is_not_shared(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """No folder or volume that the stack file names holds data of another stack, running or stopped."""
    others = [(key, mount) for mount in facts.data_mounts if not facts.owns(mount.labels) and (key := key_of(mount))]
    for path, location in own_locations(settings):
        if path in MAY_BE_SHARED:
            continue
        for key, mount in others:
            if not _overlap(location, mount.source, facts):
                continue
            stack = mount.labels[LABEL_STACK]
            where = location if location == mount.source else f"{location} overlaps {mount.source}, which"
            yield Problem(
                path,
                f"{where} is {dotted(key)} of the stack {stack} as well (container {mount.container})",
                "Two stacks would destroy each other's data. Name another place, or leave the key out to get a volume "
                "of this stack:",
                (
                    Remove(path),
                    "# Or take that stack down, if this one is to go on with its data:",
                    f"ws down -s {stack}",
                ),
            )
            break


def key_of(mount: DataMount) -> Path | None:
    """The key by which the other stack's file names the place; None where it is not that stack's own data."""
    component = mount.labels.get(LABEL_COMPONENT, "")
    if mount.target == SCRATCH_TARGET:
        return SCRATCH
    service = listed_as(component)
    if mount.target != DATA_TARGETS.get(service):
        return None
    person, data_key = person_of(component), PlatformSettings().service(service).data_key or ""
    return (*SERVICES[service], *(("users", person) if person else ()), data_key)


def _overlap(location: str, source: str, facts: HostFacts) -> bool:
    """Whether one of two volumes or folders is the other, or in it, under any of their paths."""
    if location == source:
        return True
    one, other = (_folder(each, facts) for each in (location, source))
    if not (is_path(one) and is_path(other)):
        return False
    return any(
        is_within(mine, theirs) or is_within(theirs, mine)
        for mine in (one, *facts.all_spellings(one))
        for theirs in (other, *facts.all_spellings(other))
    )


def _folder(location: str, facts: HostFacts) -> str:
    """The folder of this host behind a volume that was made to show one."""
    volume = facts.docker_volumes.get(location)
    return volume.device if volume and volume.device else location
