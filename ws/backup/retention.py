"""Implements `ws backup prune`: removes backups that the settings do not keep, and what interrupted ones left."""

from collections.abc import Sequence
from dataclasses import dataclass

from config.backup import BackupKeepSettings
from ws.backup.restic import Repository
from ws.backup.sets import Entry

PERIODS = {"daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What stays and what goes."""

    kept: tuple[Entry, ...]
    removed: tuple[Entry, ...]


def plan(every: Sequence[Entry], keep: BackupKeepSettings) -> Plan:
    """Which backups stay, by the end of each; those of every host by themselves.

    An interrupted one that is newer than all others stays: it may be running.
    """
    kept: set[str] = set()
    for host in {one.host for one in every}:
        own = sorted((one for one in every if one.host == host), key=lambda one: one.time, reverse=True)
        completed = [one for one in own if one.manifest]
        kept |= {one.name for one in completed[: keep.last]}
        for period, form in PERIODS.items():
            newest: dict[str, str] = {}
            for one in completed:
                newest.setdefault(one.when.strftime(form), one.name)
            kept |= set(list(newest.values())[: getattr(keep, period)])
        latest = completed[0].time if completed else ""
        kept |= {one.name for one in own if not one.manifest and one.time > latest}
    return Plan(
        kept=tuple(one for one in every if one.name in kept),
        removed=tuple(one for one in every if one.name not in kept),
    )


def remove(repository: Repository, entries: Sequence[Entry]) -> None:
    """Removes backups and frees their space; manifests first, so that none is listed of which a part is gone."""
    manifests = [one.manifest for one in entries if one.manifest]
    if manifests:
        repository.run("forget", *manifests)
    others = [snapshot for one in entries for snapshot in one.snapshots if snapshot != one.manifest]
    if others:
        repository.run("forget", *others)
    repository.run("prune")
