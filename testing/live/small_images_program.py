"""An image of a few bytes for two platforms, and their index. Copied as the ``__main__.py`` of a stack."""

import sys
from dataclasses import dataclass

import pulumi

from components.image import ImageVariant, ImageVariantArgs
from components.image_index import ImageIndex, ImageIndexArgs
from config.project import FOLDER
from images.base.recipe import PLATFORMS
from images.catalog import Image
from images.variants import VARIANTS


@dataclass
class Nothing:
    """No base."""

    tag: str = "scratch"


registry = pulumi.Config("cslr").require("registry")
image = Image(name="tiny", folder=FOLDER / "images" / "tiny", suite="trixie")
variants = [
    ImageVariant(
        f"tiny-{platform.rpartition('/')[2]}",
        ImageVariantArgs(
            image=image,
            base=Nothing(),
            variant=VARIANTS[0],
            flavour="cuda",
            python=sys.executable,
            platform=platform,
            in_index=True,
            registry=registry,
            push=True,
            cache_from=[registry],
        ),
    )
    for platform in PLATFORMS
]
index = ImageIndex("tiny", ImageIndexArgs(variants=variants, python=sys.executable))
pulumi.export("index", list(index.tags))
