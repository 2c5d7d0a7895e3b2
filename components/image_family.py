"""The image family and the images of services: declares each selected image once, and no containers.

Owns the order of builds. ``config/matrix_rules.py`` selects the images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pulumi

from components.image import Base, BaseImage, BaseImageArgs, ImageVariant, ImageVariantArgs, readable_tag_of, tag_of
from components.image_index import ImageIndex, ImageIndexArgs, index_members, index_name
from config.matrix import MatrixSettings, parse
from config.matrix_rules import check, select
from config.project import version
from images.base.recipe import PLATFORM, Platform, Suite, base_tag, platform_suffix
from images.family import BuildTarget
from stack.sources import Sources, indices


@dataclass(frozen=True, kw_only=True)
class ImageFamilyArgs:
    """Plain values, already validated."""

    settings: MatrixSettings
    sources: Sources
    wanted: Sequence[BuildTarget]  # parents before what is built on them
    python: str  # the interpreter for the commands beside builds


@dataclass
class PlannedBase:
    """A base image by its name alone."""

    tag: str


class ImageFamily(pulumi.ComponentResource):
    """**Pulumi type** ``cslr:image:ImageFamily``. Ready when every image is built, and pushed if requested."""

    images: dict[str, ImageVariant]  # by the names of the build targets

    def __init__(self, name: str, args: ImageFamilyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # The token still names components/image.py, where the class used to be: a new token would make existing stacks
        # replace every image.
        super().__init__("cslr:image:ImageFamily", name, None, opts)
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self._bases: dict[str, BaseImage] = {}
        self.images = {}
        for wanted in args.wanted:
            image_args = replace(
                _image_args(wanted, args, self._base, lambda parent: self.images[parent.name]),
                after=self._before(wanted),
            )
            self.images[wanted.name] = ImageVariant(wanted.name, image_args, self._child)
        for siblings in _by_platform(args.wanted) if args.settings.push else ():
            variants = [self.images[wanted.name] for wanted in siblings]
            index_args = ImageIndexArgs(variants=variants, python=args.python)
            ImageIndex(index_name(siblings[0].family_name), index_args, self._child)
        self.register_outputs({"tags": self.tags()})

    def tags(self) -> dict[str, str]:
        """The tag of each image."""
        return {name: image.tag for name, image in self.images.items()}

    def _before(self, wanted: BuildTarget) -> list[pulumi.Resource]:
        """The image's parent, and the one `parallel_builds` places earlier: neither engine limits concurrent builds."""
        parent = next((self.images[a.name] for a in wanted.ancestors if a.name in self.images), None)
        places = self._args.settings.parallel_builds
        earlier = list(self.images.values())[-places:]
        before = [*earlier[:1], parent] if len(earlier) == places else [parent]
        return [image.built for image in before if image]

    def _base(self, suite: Suite, platform: Platform) -> BaseImage:
        name = f"base-{suite}{platform_suffix(platform)}"
        if name not in self._bases:
            args = BaseImageArgs(
                suite=suite,
                source=self._args.sources.bases,
                platform=platform,
                python=self._args.python,
                mirror=self._args.settings.mirrors.debian,
                edition=self._args.sources.edition,
            )
            self._bases[name] = BaseImage(name, args, self._child)
        return self._bases[name]


def family_args(raw: object, *, stack_file: str, python: str, choose: Callable[..., Sources]) -> ImageFamilyArgs:
    """The arguments that follow from ``cslr:matrix`` in a stack file; `choose` returns the sources.

    Raises:
        SettingsError: the value is wrong, or selects nothing.
    """
    settings = parse(raw, stack_file=stack_file)
    check(settings, stack_file)
    wanted = select(settings)
    sources = choose(settings, torch="cuda", devel=any("toolkit" in one.image.layers for one in wanted))
    return ImageFamilyArgs(settings=settings, sources=sources, wanted=wanted, python=python)


@dataclass(frozen=True, kw_only=True)
class PushedName:
    """One name under which a registry gets an image or an index."""

    reference: str
    platforms: str  # with commas
    resources: tuple[str, ...]  # none of which has failed if it was pushed
    members: tuple[str, ...] = ()  # of an index: the names of its images


def pushed_names(args: ImageFamilyArgs) -> list[PushedName]:
    """Every name that a run with these arguments pushes, those of indexes last."""
    images = {wanted.name: (wanted, image) for wanted, image in _planned(args)}
    found = []
    for wanted, image in images.values():
        tag = PushedName(reference=tag_of(image), platforms=wanted.platform, resources=(wanted.name,))
        readable = readable_tag_of(image)
        further = [replace(tag, reference=readable, resources=(wanted.name, f"{wanted.name}-tag"))] if readable else []
        found += [tag, *further]
    for siblings in _by_platform(args.wanted) if args.settings.push else ():
        members = index_members([images[wanted.name][1] for wanted in siblings])
        parts = tuple(name for wanted in siblings for name in (wanted.name, f"{wanted.name}-tag"))
        platforms = ",".join(sorted(wanted.platform for wanted in siblings))
        resources = (*parts, index_name(siblings[0].family_name))
        found += [
            PushedName(reference=tag, platforms=platforms, resources=resources, members=tuple(of))
            for tag, of in members.items()
        ]
    return found


def planned_tags(args: ImageFamilyArgs) -> list[tuple[BuildTarget, str]]:
    """The tag of each image to be built. Declares nothing."""
    return [(wanted, tag_of(image)) for wanted, image in _planned(args)]


def _planned(args: ImageFamilyArgs) -> list[tuple[BuildTarget, ImageVariantArgs]]:
    source, mirror = args.sources.bases, args.settings.mirrors.debian

    @cache  # its name covers all authorities that this host trusts
    def base(suite: Suite, platform: Platform) -> PlannedBase:
        return PlannedBase(base_tag(suite, source, mirror, platform, args.sources.edition))

    def parent(wanted: BuildTarget) -> PlannedBase:
        return PlannedBase(tag_of(_image_args(wanted, args, base, parent)))

    return [(wanted, _image_args(wanted, args, base, parent)) for wanted in args.wanted]


def _by_platform(wanted: Sequence[BuildTarget]) -> list[list[BuildTarget]]:
    """Groups of images that differ only in the platform; images for one platform are left out."""
    families: dict[str, list[BuildTarget]] = {}
    for one in wanted:
        families.setdefault(one.family_name, []).append(one)
    return [siblings for siblings in families.values() if len(siblings) > 1]


def _image_args(
    wanted: BuildTarget,
    args: ImageFamilyArgs,
    base: Callable[[Suite, Platform], Base],
    parent: Callable[[BuildTarget], Base],
) -> ImageVariantArgs:
    settings, image = args.settings, wanted.image
    return ImageVariantArgs(
        image=image,
        base=parent(next(wanted.ancestors)) if image.begins_with_parent else base(image.suite, wanted.platform),
        build_base=base(image.suite, PLATFORM) if image.is_partly_native else None,
        variant=wanted.variant,
        flavour=args.sources.torch,
        platform=wanted.platform,
        version=version(),
        # From the settings, so that it is the same if another platform's image failed and is left out.
        in_index=settings.push and sum(p in wanted.platforms for p in set(settings.platforms)) > 1,
        registry=settings.registry,
        push=settings.push,
        cache_from=(settings.cache_from,) if settings.cache_from else (),
        python=args.python,
        **indices(settings, args.sources),
    )
