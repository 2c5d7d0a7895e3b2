"""Checks that a host has the datasets that it is said to hold, as containers can use them."""

from collections.abc import Iterator

from config.datasets import KEY, USERS, DatasetSettings, refusal_of
from config.notation import listed_as
from config.platform import PlatformSettings
from config.problems import Path, Problem, Remove, Set
from preflight.folders import closed_folder, missing_folder
from preflight.host_facts import Folder, HostFacts


def problems(settings: PlatformSettings, facts: HostFacts) -> Iterator[Problem]:
    """Every dataset of this host that cannot be mounted, by its path in the file that declares it."""
    for name, dataset in settings.datasets.items():
        path: Path = (KEY, name)
        found, reason = facts.folder(dataset.source), _refused(dataset, facts)
        if reason or (found and (found.special or not found.is_folder)):
            reason = (
                reason or f"{dataset.source} is {found.special if found and found.special else 'a file'}, no folder"
            )
            yield Problem((*path, "source"), reason, "Name another folder, or remove the dataset:", (Remove(path),))
        elif found is None:
            yield _missing(settings, facts, name)
        else:
            yield from _closed(settings, found, name)


def _refused(dataset: DatasetSettings, facts: HostFacts) -> str | None:
    """Why the folder is none to mount, under any of its paths."""
    reasons = (refusal_of(path, facts.docker_root) for path in facts.all_spellings(dataset.source))
    reason = next(filter(None, reasons), None)
    if reason and dataset.source not in reason:
        return f"{dataset.source} leads to what is not for containers: {reason}"
    return reason


def _missing(settings: PlatformSettings, facts: HostFacts, name: str) -> Problem:
    """The folder is not here. In a cluster it may be elsewhere only, or be copied from there."""
    source, path = settings.datasets[name].source, (KEY, name)
    first = next(iter(_users(settings)), "ray-cpu")
    uid, gid = settings.service(first).user.split(":")
    problem = missing_folder((*path, "source"), source, facts, f"-o {uid} -g {gid}", Remove(path))
    membership = settings.membership
    if membership is None:
        return problem
    others = [host for host in membership.cluster.holders(name) if host != membership.host]
    if not others:
        return problem
    advice = f"Copy it here, from {others[0]}, or say which hosts hold it:"
    copy = f"ws data sync {name} --to {membership.host}    # on {others[0]}"
    return Problem(problem.path, problem.reason, advice, (copy, Set((*path, "hosts"), others)))


def _closed(settings: PlatformSettings, found: Folder, name: str) -> Iterator[Problem]:
    """The first of the services that mounts it without the access that it needs."""
    dataset = settings.datasets[name]
    for service in _users(settings):
        uid, gid = map(int, settings.service(service).user.split(":"))
        write = not dataset.read_only
        if not found.allows(uid, gid, write=write):
            path: Path = (KEY, name)
            source = (*path, "source")
            yield closed_folder(source, dataset.source, found, name=service, uid=uid, write=write, removed=path)
            return


def _users(settings: PlatformSettings) -> tuple[str, ...]:
    """The enabled services that mount datasets."""
    return tuple(name for name in settings.services() if listed_as(name) in USERS)
