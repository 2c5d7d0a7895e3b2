"""Cross-field validation of a transcription service that works on GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from config.problems import Path, Problem, Set, Together
from config.services import SERVICES
from images.catalog import CATALOG
from images.variants import VARIANTS, ImpossiblePair

if TYPE_CHECKING:
    from config.platform import PlatformSettings

VARIANT: Path = ("transcription", "variant")
IMAGE = CATALOG["transcription-backend-cuda"]
ON_CPUS = Set(VARIANT, "cpu")


def transcription_has_its_gpus(settings: PlatformSettings) -> Iterator[Problem]:
    """A service on GPUs finds GPUs that are not Ray's, and the libraries of its CUDA."""
    if not settings.transcription.enabled or settings.transcription.variant != "cuda":
        return
    if not settings.gpu.enabled:
        yield Problem(
            VARIANT,
            "is cuda, but gpu.enabled is false",
            "If this host has NVIDIA GPUs, offer them to the stack; otherwise use CPUs:",
            (Set(("gpu", "enabled"), True), ON_CPUS),
        )
    elif "ray-gpu" in settings.ray_nodes:
        yield Problem(
            VARIANT,
            "is cuda, but a GPU that the service took would be one that the node ray-gpu believes to be free",
            "Use CPUs, or do without that node:",
            (ON_CPUS, Set((*SERVICES["ray-gpu"], "enabled"), False)),
        )
    if settings.transcription.image.source == "build":
        yield from _libraries(settings)


def _libraries(settings: PlatformSettings) -> Iterator[Problem]:
    if settings.torch == "cpu":
        yield Problem(
            VARIANT,
            "is cuda, but images.torch is cpu, and images without CUDA lack the libraries that CTranslate2 calls",
            "Let the images have CUDA, or use CPUs:",
            (Set(("images", "torch"), "cuda"), ON_CPUS),
        )
    try:
        variant = settings.variant
    except ImpossiblePair:
        return  # a problem of its own
    if not IMAGE.fits(variant):
        able = min(filter(IMAGE.fits, VARIANTS), key=lambda one: one.python != settings.images.python)
        other = Together((Set(("images", "cuda"), able.cuda), Set(("images", "python"), able.python)))
        yield Problem(
            VARIANT,
            f"is cuda, but CTranslate2 calls cuBLAS {IMAGE.cuda}, and the images have CUDA {variant.cuda}",
            f"Use images of CUDA {able.cuda}, or CPUs:",
            (other, ON_CPUS),
        )
