"""Reads versions.toml, the one place where versions of the images are chosen."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

FILE = Path(__file__).with_name("versions.toml")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pair(_Table):
    """A CUDA toolkit and a Python."""

    cuda: str  # "13.1.1"
    python: str  # "3.14"


class Pairs(_Table):
    """The supported pairs."""

    default: Pair
    supported: tuple[Pair, ...]


class Debian(_Table):
    """A release of Debian that images are built on."""

    pythons: tuple[str, ...]


class Torch(_Table):
    """A release of torch on the package index."""

    version: str
    cuda: str  # that it is built for: "13.0"
    pythons: tuple[str, str]  # the first and the last
    arm64: bool  # whether its wheel for arm64 is built for CUDA
    pyg_lib: str | None = None  # PyG's wheel for it; None: there is none, or a newer torch of this CUDA has one


class TorchReleases(_Table):
    """The releases of torch, and of torchaudio beside it."""

    last_torchaudio: str
    releases: tuple[Torch, ...]


class Cuda(_Table):
    """What differs between major versions of CUDA."""

    driver: int  # branch of NVIDIA's driver that the toolkits came with
    oldest_driver: int  # the lowest branch that they run on, with limits
    nvcc: Literal["wheels", "nvidia"]  # where its nvcc can be had: the package index, or only NVIDIA's apt repository
    toolkits: tuple[str, ...]


class Versions(_Table):
    """The whole file."""

    packages: dict[str, str]
    pairs: Pairs
    debian: dict[str, Debian]
    torch: TorchReleases
    cuda: dict[int, Cuda]


@cache
def versions() -> Versions:
    """The file's content. Raises pydantic's ValidationError, with each entry that is wrong."""
    return Versions.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8")))
