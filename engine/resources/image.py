"""``docker:index/image:Image`` and ``docker:index/remoteImage:RemoteImage``."""

from collections.abc import Iterator
from pathlib import Path

from docker_engine.api import DockerError, Json
from docker_engine.builds import Build, build
from engine.registration import Registration
from engine.resources.base import Actual, DockerObjects, Progress, ResourceError


class Image(DockerObjects):
    """An image built here. Its tag names its content, so one that exists is right."""

    replaces = False
    inputs = frozenset({"build", "buildOnPreview", "imageName", "skipPush"})

    def read(self, wanted: Registration) -> Actual | None:
        """Found by tag."""
        found = self.api.find(f"/images/{wanted.inputs['imageName']}/json")
        return _actual(wanted, found["Id"]) if found else None

    def create(self, wanted: Registration, _: Actual | None, progress: Progress) -> Actual:
        """Built by BuildKit."""
        inputs = wanted.inputs["build"]
        return _actual(
            wanted,
            build(
                self.api,
                Build(
                    tag=wanted.inputs["imageName"],
                    context=Path(inputs["context"]),
                    dockerfile=Path(inputs["dockerfile"]),
                    target=inputs.get("target"),
                    args=inputs["args"],
                    platform=inputs["platform"],
                ),
                progress,
            ).image_id,
        )


class RemoteImage(DockerObjects):
    """An image pulled from a registry, unless it is here already (as behind a closed network, after `docker load`)."""

    replaces = False
    inputs = frozenset({"keepLocally", "name"})

    def read(self, wanted: Registration) -> Actual | None:
        """Found by reference."""
        found = self.api.find(f"/images/{wanted.inputs['name']}/json")
        return _pulled(wanted, found) if found else None

    def create(self, wanted: Registration, _: Actual | None, progress: Progress) -> Actual:
        """Pulled."""
        reference: str = wanted.inputs["name"]
        layers: dict[str, tuple[int, int]] = {}
        for message in self._pull(reference):
            detail = message.get("progressDetail") or {}
            if "total" in detail:
                layers[message["id"]] = (detail["current"], detail["total"])
                done, total = (sum(part) / 1e6 for part in zip(*layers.values(), strict=True))
                progress(f"{message['status'].lower()} {done:.0f} of {total:.0f} MB")
        found = self.api.find(f"/images/{reference}/json")
        if found is None:
            raise ResourceError(f"{reference} was pulled, but is not there")
        return _pulled(wanted, found)

    def _pull(self, reference: str) -> Iterator[Json]:
        try:
            for message in self.api.stream("/images/create", query={"fromImage": _with_tag(reference)}):
                if "error" in message:
                    raise DockerError(message["error"])
                yield message
        except DockerError as error:
            raise ResourceError(
                f"{reference} cannot be pulled: {error}\n"
                "  Where the registry cannot be reached, load it by hand (docker load), or set `source: build`."
            ) from error


def _actual(wanted: Registration, identifier: str) -> Actual:
    name = wanted.inputs["imageName"]
    outputs = {"repoDigest": identifier, "imageName": name, "baseImageName": name}
    return Actual(identifier=identifier, outputs=outputs, inputs=wanted.recorded)


def _pulled(wanted: Registration, found: Json) -> Actual:
    outputs = {"imageId": found["Id"], "name": wanted.inputs["name"]}
    return Actual(identifier=found["Id"], outputs=outputs, inputs=wanted.recorded)


def _with_tag(reference: str) -> str:
    """Without a tag or digest, Docker would pull every tag of the repository."""
    return reference if ":" in reference.rpartition("/")[2] or "@" in reference else f"{reference}:latest"
