"""The images of one stack: assigns one to each service, builds each once, and limits concurrent builds."""

from dataclasses import dataclass, replace

import pulumi

from components.image import Base, BaseImage, BaseImageArgs, ImageVariant, ImageVariantArgs, PulledImage
from config.packages import lock_name
from config.platform import PlatformSettings
from config.problems import dotted
from config.services import (
    SERVICES,
    OwnImageSettings,
    PostgresSettings,
    RayNodeSettings,
    TranscriptionSettings,
    image_owner,
)
from images.base.recipe import Suite
from images.catalog import (
    CATALOG,
    PACKAGES,
    RAY_WHEEL,
    Image,
    SizeLimit,
    own_image,
    packages_image,
    postgres_image,
    ray_wheel_image,
)
from stack.sources import Sources, indices

# Service → image that is built for it; services that run another one's image are not listed.
IMAGES = {
    "firewall": "firewall",
    "redis": "redis",
    "postgres": "postgres",
    "mlflow": "mlflow",
    "health": "health",
    "queue": "queue",
    "devel": "devel-ssh",
    "transcription-frontend": "transcription-frontend",
    "exporter": "system-info-exporter",
    "prometheus": "metrics",
    "tls": "nginx",
    "transcription": "transcription-backend",
    "ray-cpu": "ray-runtime",
    "ray-gpu": "ray-runtime",
    "marimo": "marimo-runtime",
}
LEAN_IMAGE = "ray-lean"
TRANSCRIPTION_ON_GPUS = "transcription-backend-cuda"
WITH_PACKAGES = ("ray-cpu", "ray-gpu", "marimo")  # services that run users' code
DEVEL = IMAGES["devel"]  # and this one, below its own layer


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
        self._own: dict[tuple[object, ...], ImageVariant] = {}
        services = args.settings.services()
        self._images = {service: self._declare(image_owner(service)) for service in services}

    def image_id(self, service: str) -> pulumi.Output[str]:
        """The ID of the image of an enabled service."""
        return self._images[service].image_id

    def _declare(self, service: str) -> ImageVariant | PulledImage:
        source = self._args.settings.service(service).image
        if source.source == "pull" and source.reference:
            if source.reference not in self._pulled:
                self._pulled[source.reference] = PulledImage(f"{service}-image", source.reference, self._opts)
            return self._pulled[source.reference]
        if isinstance(source, OwnImageSettings) and source.is_own and source.path:
            return self._with_dockerfile(service, source.path, source)
        settings = self._args.settings.service(service)
        lean = self._is_lean(service)
        name = LEAN_IMAGE if lean else IMAGES[service]
        if isinstance(settings, TranscriptionSettings) and settings.variant == "cuda":
            name = TRANSCRIPTION_ON_GPUS
        if isinstance(settings, PostgresSettings):
            name = postgres_image(settings.version)
        if name == DEVEL and self._is_extended:
            return self._devel(CATALOG[name])
        return (
            self._extended(self._below(lean)) if service in WITH_PACKAGES and self._is_extended else self._family(name)
        )

    def _is_lean(self, service: str) -> bool:
        settings = self._args.settings.service(service)
        return isinstance(settings, RayNodeSettings) and not settings.torch

    @property
    def _is_extended(self) -> bool:
        """Whether the stack file asks for more than the family's images hold."""
        images = self._args.settings.images
        return bool(images.packages or images.apt or images.ray)

    @staticmethod
    def _below(lean: bool) -> str:
        """One image for all services with torch, Marimo included, so that there is one layer and one build."""
        return LEAN_IMAGE if lean else IMAGES["marimo"]

    def _devel(self, image: Image) -> ImageVariant:
        """The image to log in to, with what the stack file asks for. That has budgets of its own."""
        own = replace(image, shown_as=f"{image.name}-{self._args.stack}", sizes="")
        self._built[image.name] = self._build(own, self._extended(str(image.parent)))
        return self._built[image.name]

    def _extended(self, below: str) -> ImageVariant:
        """An image of the family with what the stack file asks for."""
        images = self._args.settings.images
        if images.packages or images.apt:
            return self._with_packages(next(own for own, under in PACKAGES.items() if under == below))
        return self._with_ray(below) if images.ray else self._family(below)

    def _with_dockerfile(self, service: str, dockerfile: str, source: OwnImageSettings) -> ImageVariant:
        """The image of a stack's own Dockerfile, which several services can share."""
        lean = self._is_lean(service)
        wanted = dockerfile, source.target, source.size_limit, lean
        if wanted not in self._own:
            image = own_image(
                service,
                stack=self._args.stack,
                parent=self._below(lean),
                dockerfile=dockerfile,
                target=source.target,
                limit=SizeLimit(key=dotted((*SERVICES[service], "image", "size_limit")), size=source.size_limit),
            )
            built = self._built[image.name] = self._build(image, self._extended(self._below(lean)))
            self._own[wanted] = built
        return self._own[wanted]

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
