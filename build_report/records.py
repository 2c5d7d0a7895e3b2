"""Builds and images as plain values, as stored and shown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from docker_api.step import Step
from images.layers import BASE, BASE_DATE

Engine = Literal["embedded", "pulumi", "elsewhere"]  # elsewhere: the image was here before the run
Result = Literal["built", "failed", "over budget"]
# BuildKit's times of its steps; creation times of the image's layers; or none, for images that were here before
Timing = Literal["steps", "history", "none"]
Kind = Literal["debian", "python"]

# <anything>/<image>:<variant>[-cpu]-<digest>[-arm64], as components/image.py names images
VARIANT_TAG = re.compile(r"^(?P<variant>cuda[0-9.]+-py[0-9.]+)(?:-(?P<flavour>cuda|cpu))?-")

PUSHING = "push "  # begins the name of the step that a push is


class ReportError(Exception):
    """The build report cannot do something. The message is one sentence with the remedy."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the host used during an interval, including other work."""

    cpu_peak: float  # percent of all cores
    cpu_mean: float
    memory_peak: int  # bytes in use
    disk_before: int | None  # bytes free where Docker keeps its data; None: unknown here
    disk_after: int | None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One sample of the host."""

    time: float
    cpu: float  # percent of all cores, since the last sample
    memory: int  # bytes in use
    disk: int | None  # bytes free


def used(samples: Sequence[Sample]) -> Usage | None:
    """Summarises samples; None if there are none."""
    if not samples:
        return None
    return Usage(
        cpu_peak=max(sample.cpu for sample in samples),
        cpu_mean=sum(sample.cpu for sample in samples) / len(samples),
        memory_peak=max(sample.memory for sample in samples),
        disk_before=samples[0].disk,
        disk_after=samples[-1].disk,
    )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is built. Builds of the same subject are compared."""

    image: str  # the catalog's name
    target: str | None = None
    variant: str | None = None  # key: cuda13.1.1-py3.14
    flavour: str = "cuda"
    platform: str = "linux/amd64"

    @property
    def title(self) -> str:
        """For people: ``ray-runtime cuda13.1.1-py3.14``, with flavour and platform where they are not the usual."""
        parts = [self.image, self.variant, self.flavour if self.flavour != "cuda" else None]
        parts += [self.platform] if self.platform != "linux/amd64" else []
        return " ".join(part for part in parts if part)


def subject_of(tag: str, *, platform: str, target: str | None = None) -> Subject:
    """The subject that a tag of this project names."""
    repository, _, label = tag.rpartition("/")[2].partition(":")
    found = VARIANT_TAG.match(label)
    return Subject(
        image=repository,
        target=target,
        variant=found["variant"] if found else None,
        flavour=(found["flavour"] if found else None) or "cuda",
        platform=platform,
    )


@dataclass(frozen=True, kw_only=True)
class BuildRecord:
    """One build, successful or not, as an engine reports it. Times in seconds since the epoch."""

    tag: str
    subject: Subject
    engine: Engine
    started: float
    ended: float
    result: Result = "built"
    error: str = ""
    image_id: str | None = None
    steps: Sequence[Step] = ()
    builder: str = ""  # version of the Docker Engine
    sent: int | None = None  # bytes of context
    usage: Usage | None = None
    timing: Timing = "steps"


@dataclass(frozen=True, kw_only=True)
class Build(BuildRecord):
    """A build as read from the store."""

    number: int
    run: str

    @property
    def finished(self) -> float:
        """When it ended, with its push."""
        pushed = (step.completed for step in self.steps if step.completed and step.name.startswith(PUSHING))
        return max([self.ended, *pushed])

    @property
    def seconds(self) -> float | None:
        """How long it took, without the push; None for an image that was here before."""
        return None if self.timing == "none" else self.ended - self.started


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of an image, the lowest first."""

    diff_id: str  # digest of its content
    chain_id: str  # digest of it and all below it: stored once by a daemon
    name: str  # of images/layers.py, or base, or other
    size: int  # bytes, unpacked
    created: float  # seconds since the epoch
    compressed: int | None = None  # bytes, where they were measured


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package in an image."""

    kind: Kind
    name: str
    version: str
    size: int  # bytes on disk
    architecture: str = ""  # Debian's
    source: str = ""  # Debian's source package, if it differs


@dataclass(frozen=True, kw_only=True)
class Image:
    """A measured image. Identified by its ID, so it never changes."""

    image_id: str
    created: float
    labels: dict[str, str]
    distribution: str  # ID-VERSION of /etc/os-release: debian-13
    python: str  # of its own interpreter; empty where it has none
    torch: str
    torch_cuda: str
    layers: tuple[Layer, ...]
    packages: tuple[Package, ...]

    @property
    def size(self) -> int:
        """Bytes, unpacked: what `docker image inspect` says."""
        return sum(layer.size for layer in self.layers)

    @property
    def base_date(self) -> str:
        """The day of its base image, as 2026-11-27: by its label, or that of the base's newest layer; or empty."""
        made = max((layer.created for layer in self.layers if layer.name == BASE), default=0.0)
        return self.labels.get(BASE_DATE) or (date.fromtimestamp(made).isoformat() if made else "")

    @property
    def compressed(self) -> int | None:
        """Bytes as a registry holds them; None unless all layers were measured."""
        sizes = [layer.compressed for layer in self.layers]
        return sum(size for size in sizes if size is not None) if None not in sizes else None

    @property
    def layer_sizes(self) -> dict[str, int]:
        """Bytes by layer name, the lowest first."""
        sizes: dict[str, int] = {}
        for layer in self.layers:
            sizes[layer.name] = sizes.get(layer.name, 0) + layer.size
        return sizes
