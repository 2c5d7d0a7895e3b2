"""Image indexes: one name in the registry for the images of several platforms.

Owns the index (a manifest list); the images that it names are image.py's, which pushes them.
"""

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pulumi

from components.image import ImageVariant, ImageVariantArgs, content_tag, image_command, readable_tag_of, tag_of
from images.base.recipe import PLATFORM


@dataclass(frozen=True, kw_only=True)
class ImageIndexArgs:
    """The images, all pushed to one registry."""

    variants: Sequence[ImageVariant]  # of one image, one per platform
    python: str  # the interpreter that runs the command


class ImageIndex(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:image:ImageIndex``. Ready when the registry has both of its tags."""

    tags: tuple[str, ...]

    def __init__(self, name: str, args: ImageIndexArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # The token keeps its old module, as in image_family.py.
        super().__init__("cslr:image:ImageIndex", name, None, opts)
        members = index_members([variant.args for variant in args.variants])
        self.tags = tuple(members)
        calls = (
            shlex.join([args.python, "-m", "docker_api.registry", "index", tag, *of]) for tag, of in members.items()
        )
        image_command(
            name,
            " && ".join(calls),
            triggers=[variant.image_id for variant in args.variants],
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.variants),
        )
        self.register_outputs({"tags": list(self.tags)})


def index_name(family_name: str) -> str:
    """The component name of the index that joins these images."""
    return f"{family_name}-index"


def index_members(images: Sequence[ImageVariantArgs]) -> dict[str, list[str]]:
    """The names of the index and the images of each: a registry requires an index in the repository of its images."""
    tags = [tag_of(image) for image in images]
    digest = hashlib.sha256("\0".join(sorted(tags)).encode()).hexdigest()[:12]
    members = {content_tag(images[0], digest): tags}
    # As for the one platform whose images are named without it.
    if readable := readable_tag_of(replace(images[0], platform=PLATFORM, in_index=False)):
        members[readable] = [tag for image in images if (tag := readable_tag_of(image))]
    return members
