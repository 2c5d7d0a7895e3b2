"""Datasets: folders of hosts that nodes, notebooks and the transcription service are given.

Owns the models and the rules that need no look at a host; ``preflight/datasets.py`` looks for the folders.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from config.mount_sources import SOCKET_REASON, refusal
from config.problems import Problem, Remove
from config.services import Settings
from config.types import AsTuple, HostFolder, HostName

KEY = "datasets"
USERS = ("ray-cpu", "ray-gpu", "marimo", "devel", "transcription")  # services that mount them


class DatasetSettings(Settings):
    """A folder of this host that nodes, notebooks and the transcription service have at `/data/NAME`."""

    source: HostFolder = Field(
        description="Absolute path of the folder, on every host that holds it. System folders are refused.",
        examples=["/srv/datasets/phoenix"],
    )
    read_only: bool = Field(
        default=True, description="Whether containers can only read it. If `false`, tasks of all users can change it."
    )


class ClusterDatasetSettings(DatasetSettings):
    """A folder of several hosts that nodes, notebooks and the transcription service there have at `/data/NAME`."""

    hosts: Annotated[tuple[HostName, ...], AsTuple] | None = Field(
        default=None, description="The hosts that hold it. Unset: all hosts of the cluster."
    )

    @property
    def held(self) -> DatasetSettings:
        """What one host that holds it is told."""
        return DatasetSettings(source=self.source, read_only=self.read_only)


def problems(datasets: Mapping[str, DatasetSettings]) -> Iterator[Problem]:
    """No dataset is a folder that a host itself depends on."""
    for name, dataset in datasets.items():
        if reason := refusal_of(dataset.source):
            path = (KEY, name)
            yield Problem((*path, "source"), reason, "Name another folder, or remove the dataset:", (Remove(path),))


def refusal_of(folder: str, docker_root: str = "") -> str | None:
    """Why a folder is no dataset. What of the host's own may be read, such as certificates, is not one either."""
    reason = refusal(folder, write=True, docker_root=docker_root)
    if reason == SOCKET_REASON:
        return f"{folder} leads to the Docker socket, and {reason}"
    return reason and reason.partition("; it may")[0]
