"""The images of one stack: assigns one to each service, builds each once, and limits concurrent builds."""

from dataclasses import dataclass

import pulumi

from components.image import Base, BaseImage, BaseImageArgs, ImageVariant, ImageVariantArgs, PulledImage
from config.packages import lock_name
from config.platform import PlatformSettings
from config.services import IMAGE_OF, RayNodeSettings, TranscriptionSettings
from images.base.recipe import Suite
from images.catalog import CATALOG, PACKAGES, RAY_WHEEL, Image, packages_image, ray_wheel_image
from stack.sources import Sources, indices

# Service → image that is built for it; services that run another one's image are not listed.
IMAGES = {
    "firewall": "firewall",
    "redis": "redis",
    "postgres": "postgres",
    "mlflow": "mlflow",
    "health": "health",
    "transcription-frontend": "transcription-frontend",
    "exporter": "system-info-exporter",
    "prometheus": "metrics",
    "transcription": "transcription-backend",
    "ray-cpu": "ray-runtime",
    "ray-gpu": "ray-runtime",
    "marimo": "marimo-runtime",
}
LEAN_IMAGE = "ray-lean"
TRANSCRIPTION_ON_GPUS = "transcription-backend-cuda"
WITH_PACKAGES = ("ray-cpu", "ray-gpu", "marimo")  # services that run users' code


@dataclass(frozen=True, kw_only=True)
class ImageSetArgs:
    """Plain values, already validated."""

    stack: str
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
        if isinstance(settings, TranscriptionSettings) and settings.variant == "cuda":
            name = TRANSCRIPTION_ON_GPUS
        images = self._args.settings.images
        if service in WITH_PACKAGES and (images.packages or images.apt):
            # One image for all services with torch, Marimo included, so that there is one layer and one build.
            return self._with_packages(next(own for own, below in PACKAGES.items() if lean == (below == LEAN_IMAGE)))
        if service in WITH_PACKAGES and images.ray:
            return self._with_ray(LEAN_IMAGE if lean else IMAGES["marimo"])
        return self._family(name)

    def _family(self, name: str) -> ImageVariant:
        if name not in self._built:
            image = CATALOG[name]
            below = self._family(image.parent) if image.parent and image.begins_with_parent else self._base(image.suite)
            self._built[name] = self._build(image, below)
        return self._built[name]

    def _with_ray(self, below: str) -> ImageVariant:
        """An image of the family with the build of Ray that the stack names."""
        wheel = self._args.settings.images.ray
        name = next(own for own, under in RAY_WHEEL.items() if under == below)
        if wheel and name not in self._built:
            image = ray_wheel_image(
                name, stack=self._args.stack, version=wheel.version, wheel=wheel.wheel, sha256=wheel.sha256
            )
            self._built[name] = self._build(image, self._family(below))
        return self._built[name]

    def _with_packages(self, name: str) -> ImageVariant:
        """An image of the family with the stack's own packages."""
        if name not in self._built:
            settings = self._args.settings
            lock = settings.packages_lock
            below = (self._with_ray if settings.images.ray else self._family)(PACKAGES[name])
            image = packages_image(
                name,
                stack=self._args.stack,
                lock_file=lock_name(f"Pulumi.{self._args.stack}.yaml") if lock else None,
                lock=lock.digest if lock else "",
                packages=lock.versions(settings.variant) if lock else {},
                apt=settings.images.apt,
            )
            self._built[name] = self._build(image, below)
        return self._built[name]

    def _build(self, image: Image, base: Base) -> ImageVariant:
        args, images = self._args, self._args.settings.images
        # Neither engine limits concurrent builds (pulumi-docker#496): each waits for the one `parallel_builds` earlier.
        before = list(self._built.values())[-images.parallel_builds :]
        return ImageVariant(
            image.name,
            ImageVariantArgs(
                image=image,
                base=base,
                build_base=self._base(image.suite) if image.is_partly_native else None,
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
                suite=suite,
                source=args.sources.bases,
                python=args.python,
                mirror=args.settings.images.mirrors.debian,
                edition=args.sources.edition,
            )
            self._bases[suite] = BaseImage(f"base-{suite}", base_args, self._opts)
        return self._bases[suite]
