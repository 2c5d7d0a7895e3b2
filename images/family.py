"""The image family: the build targets that exist for every variant."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from images.base.recipe import Platform, platform_suffix
from images.catalog import CATALOG, Image
from images.variants import Variant

# Parents first, and the phases in which they may be asked for.
FAMILY: tuple[str, ...] = ("runtime", "ray-runtime", "marimo-runtime", "devel", "ray-devel", "marimo-devel")
PHASES: dict[int, tuple[str, ...]] = {
    1: ("runtime",),
    2: ("ray-runtime",),
    3: ("marimo-runtime",),
    4: ("devel", "ray-devel", "marimo-devel"),
}


@dataclass(frozen=True, kw_only=True)
class BuildTarget:
    """One image of the family for one variant and platform."""

    image: Image
    variant: Variant
    platform: Platform

    @property
    def name(self) -> str:
        """The target's name in a stack: ``ray-runtime-cuda13.1.1-py3.14``."""
        return f"{self.family_name}{platform_suffix(self.platform)}"

    @property
    def family_name(self) -> str:
        """The name without the platform."""
        return f"{self.image.name}-{self.variant.key}"

    @property
    def ancestors(self) -> Iterator["BuildTarget"]:
        """The images that it is built on, the nearest first, whether or not they are selected."""
        parent = self.image.parent
        while parent:
            yield replace(self, image=CATALOG[parent])
            parent = CATALOG[parent].parent
