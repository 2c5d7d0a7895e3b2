"""``docker:index/image:Image`` and ``docker:index/remoteImage:RemoteImage``."""

import time
from pathlib import Path

from docker_api.api import DockerApi
from docker_api.builds import Build, BuildError, Built, build
from docker_api.registry import RegistryError, has_login, is_pushed, pull, push
from embedded_engine.registration import Registration
from embedded_engine.resources.base import Actual, DockerObjects, Progress, ResourceError

BUILT_ANEW = "is built anew, as was asked"


class Image(DockerObjects):
    """An image built here, and pushed on request. Its tag names its content, so an existing one is up to date."""

    replaces = False
    replaces_dependents = ""
    replaced_with_dependencies = False
    inputs = frozenset({
        "build.args", "build.builderVersion", "build.cacheFrom", "build.context", "build.dockerfile", "build.platform",
        "build.target", "buildOnPreview", "imageName", "skipPush",
    })  # fmt: skip

    def __init__(self, api: DockerApi, *, rebuild: bool = False) -> None:
        """`rebuild`: an image that exists is built again."""
        super().__init__(api)
        self._rebuild = rebuild

    def read(self, wanted: Registration) -> Actual | None:
        """Found by tag; defective if it has yet to be pushed, or is to be built anew."""
        tag = wanted.inputs["imageName"]
        found = self.api.find(f"/images/{tag}/json")
        if found is None:
            return None
        if self._rebuild:
            return _actual(wanted, found["Id"], defect=BUILT_ANEW)
        if not _pushes(wanted):
            return _actual(wanted, found["Id"])
        digest = is_pushed(self.api, found, tag)
        return _actual(wanted, found["Id"], digest, defect=None if digest else "is not pushed yet")

    def create(self, wanted: Registration, defective: Actual | None, progress: Progress) -> Actual:
        """Built by BuildKit, unless only the push is missing; then pushed."""
        only_push = defective and defective.defect != BUILT_ANEW
        image_id = defective.identifier if defective and only_push else self._build(wanted, progress)
        if not _pushes(wanted):
            return _actual(wanted, image_id)
        from build_report.store import record_push  # here, because most runs push nothing

        tag, started = wanted.inputs["imageName"], time.time()
        try:
            digest = push(self.api, tag, progress)
        except RegistryError as error:
            raise ResourceError(f"is built, but cannot be pushed: {error}") from error
        record_push(tag, started)
        return _actual(wanted, image_id, digest)

    def _build(self, wanted: Registration, progress: Progress) -> str:
        inputs = wanted.inputs["build"]
        cache_from = tuple(inputs.get("cacheFrom", {}).get("images", ()))
        self._fetch_caches(cache_from, inputs["platform"], progress)
        return recorded_build(
            self.api,
            Build(
                tag=wanted.inputs["imageName"],
                context=Path(inputs["context"]),
                dockerfile=Path(inputs["dockerfile"]),
                target=inputs.get("target"),
                args=inputs["args"],
                platform=inputs["platform"],
                cache_from=cache_from,
            ),
            progress,
        ).image_id

    def _fetch_caches(self, images: tuple[str, ...], platform: str, progress: Progress) -> None:
        """Pulls the caches whose registry wants a login.

        BuildKit takes layers from an open registry by itself, and only those that it needs; for a login it would ask
        its client, which has to be one that it can call back.
        """
        for image in images:
            try:
                if has_login(image):
                    pull(self.api, image, progress, platform)
            except RegistryError as error:
                progress(f"builds without the cache: {error}")  # as with an open registry: the first build has none


def recorded_build(api: DockerApi, wanted: Build, progress: Progress) -> Built:
    """A build, kept in the build report with what the host used meanwhile, whether it ends well or not."""
    # Here, because most runs build nothing.
    from build_report.records import BuildRecord, subject_of
    from build_report.sampling import Sampler, docker_root
    from build_report.store import record_build

    # Read before: a build can take its daemon down.
    started, builder = time.time(), api.call("GET", "/version")["Version"]
    with Sampler(docker_root(api)) as sampler:
        try:
            outcome: Built | BuildError = build(api, wanted, progress)
        except BuildError as error:
            outcome = error
    built = outcome if isinstance(outcome, Built) else None
    record_build(
        BuildRecord(
            tag=wanted.tag,
            subject=subject_of(wanted.tag, platform=wanted.platform, target=wanted.target),
            engine="embedded",
            started=started,
            ended=time.time(),
            result="built" if built else "failed",
            error="" if built else str(outcome),
            image_id=built.image_id if built else None,
            steps=outcome.steps,
            builder=builder,
            sent=built.sent if built else None,
            usage=sampler.usage,
        )
    )
    if isinstance(outcome, BuildError):
        raise outcome
    return outcome


class RemoteImage(DockerObjects):
    """An image pulled from a registry, unless it is here already (as behind a closed network, after `docker load`)."""

    replaces = False
    replaces_dependents = ""
    replaced_with_dependencies = False
    inputs = frozenset({"keepLocally", "name"})

    def read(self, wanted: Registration) -> Actual | None:
        """Found by reference."""
        found = self.api.find(f"/images/{wanted.inputs['name']}/json")
        return _pulled(wanted, found["Id"]) if found else None

    def create(self, wanted: Registration, _: Actual | None, progress: Progress) -> Actual:
        """Pulled."""
        reference: str = wanted.inputs["name"]
        try:
            pull(self.api, reference, progress)
        except RegistryError as error:
            raise ResourceError(
                f"{reference} cannot be pulled: {error}\n"
                "  Where the registry cannot be reached, load it by hand (docker load), set `source: build` if the\n"
                "  platform builds it, or disable the service."
            ) from error
        found = self.api.find(f"/images/{reference}/json")
        if found is None:
            raise ResourceError(f"{reference} was pulled, but is not there")
        return _pulled(wanted, found["Id"])


def _pushes(wanted: Registration) -> bool:
    return not wanted.inputs.get("skipPush", False)


def _actual(wanted: Registration, image_id: str, digest: str | None = None, defect: str | None = None) -> Actual:
    name = wanted.inputs["imageName"]
    outputs = {"repoDigest": digest or image_id, "imageName": name, "baseImageName": name}
    return Actual(identifier=image_id, outputs=outputs, inputs=wanted.recorded, defect=defect)


def _pulled(wanted: Registration, image_id: str) -> Actual:
    outputs = {"imageId": image_id, "name": wanted.inputs["name"]}
    return Actual(identifier=image_id, outputs=outputs, inputs=wanted.recorded)
