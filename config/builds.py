"""Settings of image builds, common to stacks that run images and the stack that only builds them."""

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from config.problems import Path, Problem, Remove, Set
from config.services import Settings
from config.types import (
    AsTuple,
    Count,
    DebianPackage,
    KeyPath,
    RegistryPrefix,
    Requirement,
    Sha256,
    Url,
    Version,
    Wheel,
)
from images.variants import DEFAULT_VARIANT, VARIANTS


class MirrorSettings(Settings):
    """Where image builds find packages."""

    debian: Url | None = Field(default=None, description="Mirror of Debian's packages. Unset: debootstrap's default.")
    pypi: Url | None = Field(
        default=None, description="Mirror of the Python package index. Unset: the default of pip and uv."
    )
    npm: Url | None = Field(
        default=None,
        description="Mirror of the npm registry, for the page of the transcription service. Unset: npm's own.",
    )
    pytorch: Url | None = Field(default=None, description="Mirror of PyTorch's wheel index. Unset: PyTorch's own.")
    pyg: Url | None = Field(default=None, description="Mirror of PyG's wheel index. Unset: PyG's own.")
    nvidia: Url | None = Field(
        default=None, description="Mirror of NVIDIA's package repository for Debian. Unset: NVIDIA's own."
    )


class BuildSettings(Settings):
    """Where images come from, and where they go."""

    registry: RegistryPrefix | None = Field(
        default=None, description="Prefix of the names of built images, for example `registry.example.org:5000/cslr`."
    )
    bases: Literal["auto", "registry", "bootstrap"] = Field(
        default="auto",
        description="Where base images come from: a `registry`, or Debian's packages (`bootstrap`). `auto`: a registry "
        "if it can be reached, otherwise `bootstrap`.",
    )
    pyg_lib: Literal["auto", "no"] = Field(
        default="auto",
        description="PyG's compiled extension. `auto`: installed if PyG's wheel index can be reached. The image's "
        "label `cslr.pyg-lib` holds its version, or `none`.",
    )
    cache_from: RegistryPrefix | None = Field(
        default=None, description="Prefix of images pushed earlier, whose layers builds reuse."
    )
    signers: KeyPath | None = Field(
        default=None,
        description="File with the keys of those whose signed lists of images count, as OpenSSH's allowed_signers. "
        "Set, services pull images of `registry` only by digest, and only if such a list has them (docs/images.md).",
    )
    parallel_builds: Count = Field(default=2, description="How many images to build at the same time.")
    mirrors: MirrorSettings = MirrorSettings()


class RayWheelSettings(Settings):
    """A build of Ray in place of the images' release: a nightly, or one of your own. It is one more layer."""

    version: Annotated[str, Field(title="version")] = Field(
        description="Its version, such as `3.0.0.dev0`.", examples=["3.0.0.dev0"]
    )
    wheel: Wheel = Field(
        description="The wheel for the images' Python: an `https://` address, or a file below the project's folder "
        "`wheels`, which may be a mount: `wheels/ray-3.0.0.dev0-cp314-cp314-manylinux2014_x86_64.whl`.",
    )
    sha256: Sha256 = Field(
        description="Its digest, as `sha256sum` prints it: another build under the same name is refused."
    )


class ImagesSettings(BuildSettings):
    """The image family that this stack runs on."""

    cuda: Version = Field(
        default=DEFAULT_VARIANT.cuda,
        description="CUDA version of the images. Supported with Python: "
        + ", ".join(f"{variant.cuda} with {variant.python}" for variant in VARIANTS)
        + ".",
    )
    python: Version = Field(default=DEFAULT_VARIANT.python, description="Python version of the images, in quotes.")
    packages: Annotated[tuple[Requirement, ...], AsTuple] = Field(
        default=(),
        description="Python packages to add to the images of the Ray nodes and Marimo, such as `transformers>=5`. "
        "`ws packages` edits this list and locks the versions.",
    )
    apt: Annotated[tuple[DebianPackage, ...], AsTuple] = Field(
        default=(), description="Debian packages to add to the same images, such as `ffmpeg`."
    )
    ray: RayWheelSettings | None = Field(
        default=None,
        description="Another build of Ray than the images' release, such as a nightly (docs/images.md). Unset: none.",
    )
    torch: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="PyTorch build. `auto`: `cpu` on a stack without GPUs if PyTorch's own wheel index can be reached, "
        "which saves 4 GB; otherwise `cuda`, which also runs on CPUs.",
    )


def build_problems(settings: BuildSettings, below: Path) -> Iterator[Problem]:
    """Caches belong to a registry, and mirrors want no login; `below` is where the settings are."""
    if settings.cache_from and not settings.registry:
        yield Problem(
            (*below, "cache_from"),
            "works only for images whose names have a registry, and none is given",
            "Name one, whether or not images are pushed there; or build without the cache:",
            (Set((*below, "registry"), settings.cache_from), Remove((*below, "cache_from"))),
        )
    if settings.signers and not settings.registry:
        yield Problem(
            (*below, "signers"),
            "is set, but no registry is named whose images must be signed",
            "Name it, or do without signatures:",
            (Set((*below, "registry"), "registry.example.org:5000/cslr"), Remove((*below, "signers"))),
        )
    if settings.signers and settings.cache_from:
        yield Problem(
            (*below, "cache_from"),
            "gives builds layers of images whose signatures nobody checks, and signers asks for signed ones",
            "Build without that cache, or do without signatures:",
            (Remove((*below, "cache_from")), Remove((*below, "signers"))),
        )
    for name, mirror in settings.mirrors:
        login, at, server = urlsplit(mirror or "").netloc.rpartition("@")
        if at:
            yield Problem(
                (*below, "mirrors", name),
                "has a login, which would stay in the history of every image that is built with it",
                "Name a mirror that wants none from this host:",
                (Set((*below, "mirrors", name), mirror.replace(f"{login}@{server}", server, 1)),),
            )
