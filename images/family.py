"""What a stack of images can build: the image family, whose targets exist for every variant, and images of services."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from images.base.recipe import PLATFORMS, Platform, platform_suffix
from images.catalog import CATALOG, ML, Image
from images.variants import Variant

# Parents first, and the phases in which they may be asked for.
FAMILY: tuple[str, ...] = ("runtime", "ray-runtime", "marimo-runtime", "devel", "ray-devel", "marimo-devel")
PHASES: dict[int, tuple[str, ...]] = {
    1: ("runtime",),
    2: ("ray-runtime",),
    3: ("marimo-runtime",),
    4: ("devel", "ray-devel", "marimo-devel"),
}
# Images of services: small, of Dockerfiles of their own.
SERVICES: tuple[str, ...] = tuple(name for name, image in CATALOG.items() if image.folder != ML)


@dataclass(frozen=True, kw_only=True)
class BuildTarget:
    """One image for one variant and platform."""

    image: Image
    variant: Variant  # any, where the image is the same for all
    platform: Platform

    @property
    def name(self) -> str:
        """The target's name in a stack: ``ray-runtime-cuda13.1.1-py3.14``."""
        return f"{self.family_name}{platform_suffix(self.platform)}"

    @property
    def family_name(self) -> str:
        """The name without the platform."""
        return "-".join(filter(None, (self.image.name, self.variant_key)))

    @property
    def variant_key(self) -> str | None:
        """The key of its variant; None for an image that is the same for all."""
        return self.variant.key if self.image.depends_on_variant else None

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that it can be built for."""
        return self.variant.platforms if self.image.depends_on_variant else PLATFORMS

    @property
    def ancestors(self) -> Iterator["BuildTarget"]:
        """The images that it is built on, the nearest first, whether or not they are selected."""
        parent = self.image.parent
        while parent:
            yield replace(self, image=CATALOG[parent])
            parent = CATALOG[parent].parent
