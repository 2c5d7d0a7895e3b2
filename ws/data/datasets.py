"""The datasets of a stack, or of its whole cluster, and the hosts that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.cluster import ClusterHost
from config.datasets import KEY, USERS, DatasetSettings
from config.notation import listed_as
from config.platform import KEY as PLATFORM
from config.platform import PlatformSettings
from config.problems import did_you_mean
from contracts.datasets import target
from stack.identity import StackIdentity
from ws.data.files import Record, Size, read_record, record_file, size_of
from ws.errors import WsError
from ws.stack_settings import open_stack

COUNTING_SECONDS = 2.0  # for a dataset without a record


def open_datasets(stack: str) -> "Datasets":
    """Those of a stack, for a command. Raises `ConfigError` and `SettingsError`."""
    opened = open_stack(stack)
    return Datasets.of(opened.platform, opened.identity, opened.file.name)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset as declared."""

    name: str
    settings: DatasetSettings
    hosts: tuple[str, ...]  # that hold it; none for a single host
    here: bool  # whether this host does
    services: tuple[str, ...]  # of this host that mount it

    @property
    def folder(self) -> Path:
        """Its folder."""
        return Path(self.settings.source)

    @property
    def targets(self) -> Mapping[str, tuple[str, ...]]:
        """Where containers of this host have it → which."""
        found: dict[str, tuple[str, ...]] = {}
        for service in self.services:
            place = target(service, self.name)
            found[place] = (*found.get(place, ()), service)
        return found


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """All of them."""

    identity: StackIdentity
    block: str  # the key that declares them
    file: str  # that has it
    host: str | None  # this one's name in its cluster
    peers: Mapping[str, ClusterHost] = field(default_factory=dict)  # hosts of the cluster besides this one
    found: Mapping[str, Dataset]

    @classmethod
    def of(cls, settings: PlatformSettings, identity: StackIdentity, stack_file: str) -> "Datasets":
        """Those that a stack's host has or knows."""
        users = tuple(name for name in settings.services() if listed_as(name) in USERS)
        membership = settings.membership
        if membership is None:
            found = {
                name: Dataset(name=name, settings=each, hosts=(), here=True, services=users)
                for name, each in settings.datasets.items()
            }
            return cls(identity=identity, block=f"{PLATFORM}.{KEY}", file=stack_file, host=None, found=found)
        cluster, host = membership.cluster, membership.host
        found = {
            name: Dataset(
                name=name,
                settings=each.held,
                hosts=cluster.holders(name),
                here=name in settings.datasets,
                services=users if name in settings.datasets else (),
            )
            for name, each in cluster.datasets.items()
        }
        return cls(
            identity=identity,
            block=f"{membership.key}.{KEY}" if membership.key else KEY,
            file=membership.file,
            host=host,
            peers={name: each for name, each in cluster.hosts.items() if name != host},
            found=found,
        )

    def where(self, *steps: str) -> str:
        """The key of a dataset and the file that has it, for people."""
        return f"{'.'.join((self.block, *steps))} in {self.file}"

    def get(self, name: str) -> Dataset:
        """A dataset by its name. Raises `WsError`."""
        if name in self.found:
            return self.found[name]
        known = did_you_mean(name, self.found) if self.found else "None is declared yet (docs/datasets.md)."
        raise WsError(f"{name[:60]!r} is not a dataset: {self.where()} does not have it. {known}")

    def held(self, name: str) -> Dataset:
        """A dataset whose folder is on this host. Raises `WsError`."""
        dataset = self.get(name)
        if not dataset.here:
            raise WsError(
                f"{self.host} does not hold the dataset {name}. Run this on one that does: {', '.join(dataset.hosts)}"
            )
        if not dataset.folder.is_dir():
            elsewhere = [host for host in dataset.hosts if host != self.host]
            advice = f" Copy it from {elsewhere[0]}, there: ws data sync {name} --to {self.host}" if elsewhere else ""
            raise WsError(f"{dataset.folder}, the folder of the dataset {name}, is not there.{advice}")
        return dataset

    def record(self, name: str) -> Record | None:
        """What is recorded of a dataset's folder."""
        record = read_record(record_file(self.identity, name))
        return record if record and record.source == self.get(name).settings.source else None

    def size(self, name: str) -> Size | None:
        """How much a dataset is: as recorded, else counted for a moment; None where it is not on this host."""
        dataset = self.get(name)
        if not dataset.here:
            return None
        if (record := self.record(name)) and dataset.folder.is_dir():
            return Size(files=len(record.sums), bytes=record.size)
        return size_of(dataset.folder, COUNTING_SECONDS)
