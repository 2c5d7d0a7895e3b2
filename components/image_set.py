"""The images of one stack: which service gets which, each made once, no more built at a time than allowed."""

from dataclasses import dataclass

import pulumi

from components.image import BaseImage, BaseImageArgs, ImageVariant, ImageVariantArgs, PulledImage
from components.service_settings import IMAGE_OF, RayNodeSettings
from components.settings import PlatformSettings
from components.sources import Sources, indices
from images.base.recipe import Suite
from images.catalog import CATALOG

# Service → image that is built for it; one that runs another service's image is not here.
IMAGES = {
    "redis": "redis",
    "postgres": "postgres",
    "mlflow": "mlflow",
    "health": "health",
    "ray-cpu": "ray-runtime",
    "ray-gpu": "ray-runtime",
    "marimo": "marimo-runtime",
}
LEAN_IMAGE = "ray-lean"


@dataclass(frozen=True, kw_only=True)
class ImageSetArgs:
    """Plain values, already validated."""

    settings: PlatformSettings
    sources: Sources
    python: str  # the interpreter for the command that makes a base


class ImageSet:
    """Declares the images that the enabled services need, as children of `opts.parent`."""

    def __init__(self, args: ImageSetArgs, opts: pulumi.ResourceOptions) -> None:
        self._args = args
        self._opts = opts
        self._bases: dict[Suite, BaseImage] = {}
        self._built: dict[str, ImageVariant] = {}
        self._pulled: dict[str, PulledImage] = {}
        services = args.settings.services()
        self._images = {service: self._declare(IMAGE_OF.get(service, service)) for service in services}

    def image_id(self, service: str) -> pulumi.Output[str]:
        """The ID of the image of an enabled service."""
        return self._images[service].image_id

    def _declare(self, service: str) -> ImageVariant | PulledImage:
        source = self._args.settings.service(service).image
        if source.source == "pull" and source.reference:
            if source.reference not in self._pulled:
                self._pulled[source.reference] = PulledImage(f"{service}-image", source.reference, self._opts)
            return self._pulled[source.reference]
        settings = self._args.settings.service(service)
        lean = isinstance(settings, RayNodeSettings) and not settings.torch
        name = LEAN_IMAGE if lean else IMAGES[service]
        if name not in self._built:
            self._built[name] = self._build(name)
        return self._built[name]

    def _build(self, name: str) -> ImageVariant:
        args, images = self._args, self._args.settings.images
        # Neither engine bounds builds by itself (pulumi-docker#496): each waits for the one so many places before it.
        before = list(self._built.values())[-images.parallel_builds :]
        return ImageVariant(
            name,
            ImageVariantArgs(
                image=CATALOG[name],
                base=self._base(CATALOG[name].suite),
                variant=args.settings.variant,
                flavour=args.sources.torch,
                registry=images.registry,
                cache_from=(images.cache_from,) if images.cache_from else (),
                python=args.python,
                **indices(images, args.sources),
                after=before[:1] if len(before) == images.parallel_builds else (),
            ),
            self._opts,
        )

    def _base(self, suite: Suite) -> BaseImage:
        args = self._args
        if suite not in self._bases:
            base_args = BaseImageArgs(
                suite=suite, source=args.sources.bases, python=args.python, mirror=args.settings.images.mirrors.debian
            )
            self._bases[suite] = BaseImage(f"base-{suite}", base_args, self._opts)
        return self._bases[suite]
