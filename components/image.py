"""Images: base images, variants built on them, and pulled images.

Owns the resources that build, push or pull, and the tags. The inputs of each image are in images/catalog.py, its
content in its Dockerfile.
"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pulumi
import pulumi_command as command
import pulumi_docker as docker

from config.project import FOLDER
from docker_api.builds import context_files
from images.base.recipe import PLATFORM, Platform, Source, Suite, base_tag, platform_suffix
from images.catalog import Flavour, Image
from images.dockerfile import Recipe, recipe
from images.variants import Variant
from stack.identity import LEAVES_IMAGE

REPOSITORY = "cslr"
FAMILY_REPOSITORY = "ml"  # of the readable tags
# Makes BuildKit record in the image which step made which layer, so that it can serve as a cache elsewhere.
INLINE_CACHE = {"BUILDKIT_INLINE_CACHE": "1"}


@dataclass(frozen=True, kw_only=True)
class BaseImageArgs:
    """Plain values only: the tag must be known in a preview."""

    suite: Suite
    source: Source
    python: str  # the interpreter that runs the program that makes it
    mirror: str | None = None
    platform: Platform = PLATFORM
    edition: str = ""  # the day of Debian's packages, where bases were renewed


class BaseImage(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:image:BaseImage``. Ready when the image `tag` exists.

    A command and no `docker.Image`, because BuildKit cannot begin with debootstrap, nor take the site's certificates
    from outside the project.
    """

    tag: str

    def __init__(self, name: str, args: BaseImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:image:BaseImage", name, None, opts)
        self.tag = base_tag(args.suite, args.source, args.mirror, args.platform, args.edition)
        options = {
            "--suite": args.suite,
            "--source": args.source,
            "--platform": args.platform,
            "--tag": self.tag,
            "--debian-mirror": args.mirror,
            "--edition": args.edition,
        }
        program = "images.renewed_base" if args.edition else "images.base.bootstrap"
        words = [word for option, value in options.items() if value for word in (option, value)]
        image_command(
            name,
            # On stderr, where both engines look for progress.
            f"{shlex.join([args.python, '-m', program, *words])} >&2",
            environment={LEAVES_IMAGE: self.tag},
            triggers=[self.tag],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"tag": self.tag})


class Base(Protocol):
    """The parent of an image: a `BaseImage`, another `ImageVariant`, or only a name when computing tags."""

    tag: str


@dataclass(frozen=True, kw_only=True)
class ImageVariantArgs:
    """One row of the catalog, with this stack's settings. Plain values, so that previews know the tag."""

    image: Image
    base: Base
    variant: Variant
    flavour: Flavour
    python: str  # the interpreter that runs the commands beside the build
    platform: Platform = PLATFORM
    build_base: Base | None = None  # of what is the same for every processor; None: `base`
    version: str | None = None  # by which people name an image that is not made per variant; None: they do not
    in_index: bool = False  # whether an index will hold it beside other platforms, and takes the readable tag
    registry: str | None = None
    push: bool = False  # needs a registry
    cache_from: Sequence[str] = ()  # registries, as in `registry`, whose images of earlier builds are used as a cache
    pypi_index: str | None = None
    pytorch_index: str | None = None
    pyg_index: str | None = None
    nvidia_apt: str | None = None
    npm_registry: str | None = None
    after: Sequence[pulumi.Resource] = ()  # limits how many are built at the same time


class ImageVariant(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:image:ImageVariant``. Produces a `docker.Image`, built here and pushed if requested."""

    args: ImageVariantArgs
    tag: str
    readable_tag: str | None  # ``…/ml:<target>-cuda<cuda>-py<python>``; of an image of a service ``…/<name>:<version>``
    image_id: pulumi.Output[str]  # for a pushed image: ``name@sha256:…``
    built: docker.Image  # dependency of images built on this one, which need not wait for its other tag or its report

    def __init__(self, name: str, args: ImageVariantArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:image:ImageVariant", name, None, opts)
        image, content = args.image, _content(args)
        below = [one.built if isinstance(one, ImageVariant) else one for one in (args.base, args.build_base)]
        bases = [one for one in below if isinstance(one, pulumi.Resource)]
        self.args = args
        self.tag, self.readable_tag = _tag(args, content), readable_tag_of(args)
        self.built = docker.Image(
            name,
            image_name=self.tag,
            skip_push=not args.push,
            build=docker.DockerBuildArgs(
                # Relative, because the provider compares paths literally: another checkout must not differ.
                context=str(image.folder.relative_to(FOLDER)),
                dockerfile=str(image.dockerfile.relative_to(FOLDER)),
                target=image.target,
                # Only the arguments in use, so that a change of another rebuilds nothing.
                args={**content.args, **(INLINE_CACHE if args.registry else {})},
                platform=args.platform,
                builder_version=docker.BuilderVersion.BUILDER_BUILD_KIT,
                cache_from=_cache_from(args),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*bases, *args.after]),
        )
        # With skip_push this is the local image ID, which replaces the container when the content changed.
        self.image_id = self.built.repo_digest
        after_build = pulumi.ResourceOptions(parent=self, depends_on=[self.built])
        if self.readable_tag:
            push = ["--push"] if args.push else []
            image_command(
                f"{name}-tag",
                shlex.join([args.python, "-m", "docker_api.registry", "tag", self.tag, self.readable_tag, *push]),
                environment={LEAVES_IMAGE: self.readable_tag},
                triggers=[self.image_id],
                opts=after_build,
            )
        spec, budget = _report_spec(args, self.tag), _budget(args)
        image_command(
            f"{name}-report",
            shlex.join([args.python, "-m", "build_report.measure"]),
            environment={
                "CSLR_BUILD": json.dumps(spec),
                # Saves a request to Docker. A pushed image is known by its name in the registry.
                **({} if args.push else {"CSLR_IMAGE_ID": self.image_id}),
            },
            triggers=[
                self.image_id,
                *([hashlib.sha256(budget.read_bytes()).hexdigest()] if budget else []),
                *([str(image.limit.size)] if image.limit else []),
            ],
            opts=after_build,
        )
        self.register_outputs({"tag": self.tag, "image_id": self.image_id})


class PulledImage(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:image:PulledImage``. Produces a `docker.RemoteImage`; a local image is not pulled."""

    tag: str
    image_id: pulumi.Output[str]

    def __init__(self, name: str, reference: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cslr:image:PulledImage", name, None, opts)
        self.tag = reference
        pulled = docker.RemoteImage(
            name,
            name=reference,
            keep_locally=True,  # in a closed network it could not be pulled again
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.image_id = pulled.image_id
        self.register_outputs({"tag": self.tag, "image_id": self.image_id})


def image_command(
    name: str,
    line: str,
    *,
    triggers: Sequence[pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
    environment: Mapping[str, pulumi.Input[str]] | None = None,
) -> None:
    """Declares a command that works on images; it runs again when `triggers` change."""
    command.local.Command(
        name,
        create=line,
        environment=environment,
        triggers=triggers,
        # Outputs of an earlier run in the environment can be too long for it (pulumi-command#285).
        add_previous_output_in_env=False,
        logging=command.local.Logging.STDERR,  # its output is in the state and need not be logged too
        opts=opts,
    )


def tag_of(args: ImageVariantArgs) -> str:
    """The tag that identifies all inputs of an image: ``cslr/runtime:cuda13.1.1-py3.14-0123456789ab``."""
    return _tag(args, _content(args))


def content_tag(args: ImageVariantArgs, digest: str) -> str:
    """The tag of an image with this content digest."""
    kind = f"{_kind(args)}-" if args.image.depends_on_variant else ""
    return f"{args.registry or REPOSITORY}/{args.image.name}:{kind}{digest}"


def readable_tag_of(args: ImageVariantArgs) -> str | None:
    """The tag for people and caches: ``cslr/ml:runtime-cuda13.1.1-py3.14``, ``cslr/health:0.2.0``; None for none."""
    return _readable_tag(args, args.registry or REPOSITORY)


def content_digest(args: ImageVariantArgs, content: Recipe) -> str:
    """Twelve hexadecimal digits that change with the image's inputs, and with nothing else.

    The base's tag is among the arguments, so a changed base changes what is built on it.
    """
    parts = [args.image.target, args.platform, sorted(content.args.items()), content.text]
    digest = hashlib.sha256(json.dumps(parts).encode())
    for name in content.files:
        data = (args.image.folder / name).read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:12]


def _tag(args: ImageVariantArgs, content: Recipe) -> str:
    return content_tag(args, content_digest(args, content)) + platform_suffix(args.platform)


def _content(args: ImageVariantArgs) -> Recipe:
    image = args.image
    return recipe(
        image.dockerfile,
        context_files(image.folder, image.dockerfile),
        target=image.target,
        args=image.build_args(
            base=args.base.tag,
            build_base=args.build_base.tag if args.build_base else None,
            variant=args.variant,
            flavour=args.flavour,
            pypi_index=args.pypi_index,
            pytorch_index=args.pytorch_index,
            pyg_index=args.pyg_index,
            nvidia_apt=args.nvidia_apt,
            npm_registry=args.npm_registry,
        ),
        platform=args.platform,
    )


def _budget(args: ImageVariantArgs) -> Path | None:
    """The file of the image's size budgets, beside its Dockerfile."""
    path = args.image.folder / args.image.sizes
    return path if path.is_file() and not args.image.limit else None


def _report_spec(args: ImageVariantArgs, tag: str) -> dict[str, str | None]:
    """Input of `build_report.measure` for an image."""
    budget, limit = _budget(args), args.image.limit
    return {
        "tag": tag,
        "image": args.image.name,
        "target": args.image.target,
        "variant": args.variant.key if args.image.depends_on_variant else None,
        "flavour": args.flavour,
        "platform": args.platform,
        "budget": str(budget.relative_to(FOLDER)) if budget else None,
        **({"limit": str(limit.size), "limit_key": limit.key} if limit else {}),
    }


def _kind(args: ImageVariantArgs) -> str:
    return args.variant.key if args.flavour == "cuda" else f"{args.variant.key}-{args.flavour}"


def _readable_tag(args: ImageVariantArgs, registry: str) -> str | None:
    suffix = platform_suffix(args.platform, always=args.in_index)
    if args.image.depends_on_variant:
        return f"{registry}/{FAMILY_REPOSITORY}:{args.image.shown_as or args.image.name}-{_kind(args)}{suffix}"
    return f"{registry}/{args.image.name}:{args.version}{suffix}" if args.version else None


def _cache_from(args: ImageVariantArgs) -> docker.CacheFromArgs | None:
    images = [tag for place in args.cache_from if (tag := _readable_tag(args, place))]
    return docker.CacheFromArgs(images=images) if images else None
