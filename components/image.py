"""Images: bases, variants built on them, and images pulled instead.

Owns the resources that build or pull, and the tags. What an image is made from is images/catalog.py's table; what is in
it, its Dockerfile's.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_command as command
import pulumi_docker as docker

from components.variants import Variant
from images.base.recipe import Source, Suite, base_tag
from images.catalog import Flavour, Image

PROJECT = Path(__file__).parent.parent
REPOSITORY = "cslr"
# The lock files are for this platform. It is named because the default is that of the machine that runs Pulumi.
PLATFORM = "linux/amd64"
# By this variable of a command's environment the embedded engine knows which image it makes, and whether that is there.
LEAVES_IMAGE = "CSLR_LEAVES_IMAGE"


@dataclass(frozen=True, kw_only=True)
class BaseImageArgs:
    """Plain values only: the tag must be known in a preview."""

    suite: Suite
    source: Source
    python: str  # the interpreter that runs the program that makes it
    mirror: str | None = None


class BaseImage(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:image:BaseImage``. Ready when the image `tag` exists.

    A command and no `docker.Image`, because BuildKit cannot begin with debootstrap, nor take the site's certificates
    from outside the project.
    """

    tag: str

    def __init__(self, name: str, args: BaseImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:image:BaseImage", name, None, opts)
        self.tag = base_tag(args.suite, args.source, args.mirror)
        options = {"--suite": args.suite, "--source": args.source, "--tag": self.tag, "--debian-mirror": args.mirror}
        words = [word for option, value in options.items() if value for word in (option, value)]
        command.local.Command(
            name,
            # To standard error, where both engines look for progress.
            create=f"{shlex.join([args.python, '-m', 'images.base.bootstrap', *words])} >&2",
            environment={LEAVES_IMAGE: self.tag},
            triggers=[self.tag],
            # Outputs of an earlier run in the environment can be too long for it (pulumi-command#285).
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"tag": self.tag})


@dataclass(frozen=True, kw_only=True)
class ImageVariantArgs:
    """One row of the catalog, and what it becomes here. Plain values, so that previews know the tag."""

    image: Image
    base: BaseImage
    variant: Variant
    flavour: Flavour
    registry: str | None = None
    pypi_index: str | None = None
    pytorch_index: str | None = None
    after: Sequence[pulumi.Resource] = ()  # bounds how many are built at the same time


class ImageVariant(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:image:ImageVariant``. Produces a `docker.Image`, built here and not pushed."""

    tag: str
    image_id: pulumi.Output[str]

    def __init__(self, name: str, args: ImageVariantArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:image:ImageVariant", name, None, opts)
        image = args.image
        build_args = image.build_args(
            base=args.base.tag,
            variant=args.variant,
            flavour=args.flavour,
            pypi_index=args.pypi_index,
            pytorch_index=args.pytorch_index,
        )
        digest = content_digest(image, args.variant, args.flavour, build_args)
        kind = f"{args.variant.key}-{args.flavour}-" if image.depends_on_variant else ""
        self.tag = f"{args.registry or REPOSITORY}/{image.name}:{kind}{digest}"
        built = docker.Image(
            name,
            image_name=self.tag,
            skip_push=True,
            build=docker.DockerBuildArgs(
                # Relative, because the provider compares paths literally: another checkout must not differ.
                context=str(image.folder.relative_to(PROJECT)),
                dockerfile=str(image.dockerfile.relative_to(PROJECT)),
                target=image.target,
                args=dict(sorted(build_args.items())),
                platform=PLATFORM,
                builder_version=docker.BuilderVersion.BUILDER_BUILD_KIT,
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[args.base, *args.after]),
        )
        # With skip_push this is the local image ID, which replaces the container when the content changed.
        self.image_id = built.repo_digest
        self.register_outputs({"tag": self.tag, "image_id": self.image_id})


class PulledImage(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:image:PulledImage``. Produces a `docker.RemoteImage`; one that is here is not pulled."""

    tag: str
    image_id: pulumi.Output[str]

    def __init__(self, name: str, reference: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:image:PulledImage", name, None, opts)
        self.tag = reference
        pulled = docker.RemoteImage(
            # Kept, because behind a closed network it may not be had again.
            name,
            name=reference,
            keep_locally=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.image_id = pulled.image_id
        self.register_outputs({"tag": self.tag, "image_id": self.image_id})


def content_digest(image: Image, variant: Variant, flavour: Flavour, build_args: Mapping[str, str]) -> str:
    """Twelve hexadecimal digits that change with anything that the image is made of.

    The base's tag is among the arguments, so a changed base changes what is built on it.
    """
    digest = hashlib.sha256(json.dumps([image.target, PLATFORM, sorted(build_args.items())]).encode())
    for path in image.context_files(variant, flavour):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(image.folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]
