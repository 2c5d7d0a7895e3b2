"""`ws matrix --prune`: removes images of this project that no stack file here uses, and leftovers of builds.

Owns the decision what is old. Images of others, images in use and other people's build cache are never touched.
"""

import contextlib
import json
import re
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from build_report.contents import LABEL, SECONDS
from components.image import FAMILY_REPOSITORY
from config.project import FOLDER
from config.stack_file import StackConfig
from docker_api.api import DockerApi, DockerError, Json
from docker_api.disk_usage import disk_usage
from embedded_engine.changes import IMAGE, PULLED_IMAGE
from embedded_engine.program import Monitor, Outcome, run_program
from embedded_engine.registration import Registration
from images.catalog import CATALOG, OWN, PACKAGES, RAY_WHEEL
from images.family import SERVICES
from stack.identity import LEAVES_IMAGE
from ws.matrix.cache import CachePart, parts

TARGET_LABEL = "cslr.target"
TITLE_LABEL = "org.opencontainers.image.title"
# Last parts of this project's repositories, beside that of bases.
NAMES = (*CATALOG, *PACKAGES, *RAY_WHEEL, *OWN.values(), FAMILY_REPOSITORY)
CONTENT_TAG = re.compile(r"[:-][0-9a-f]{12}(-[a-z0-9]+)?$")  # ends in a digest, and the platform if it is not the usual
STEP = re.compile(r"\] RUN (?:--\S+ )*(?P<command>.*)", re.DOTALL)  # as BuildKit shows it
RECORD = re.compile(r" from exec (?:/bin/sh -c )?(?P<command>.*)", re.DOTALL)  # as its cache describes it
FORGOTTEN_SECONDS = 2 * SECONDS  # after which no build report waits for its container any more
VARIABLE = re.compile(r"\\\$(?:\\\{.*?\\\}|\w+)")  # escaped; shown with its value, described without


@dataclass(frozen=True, kw_only=True)
class Old:
    """Objects to remove: images, by tag, or by ID if they have none; containers; and records of the build cache."""

    images: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()  # by ID; forgotten ones, which hold an image
    records: tuple[str, ...] = ()
    size: int = 0  # bytes that nothing else shares
    cache: tuple[CachePart, ...] = ()  # the whole build cache, that of others included

    def __bool__(self) -> bool:
        return bool(self.images or self.containers or self.records)


def wanted_tags(configs: Iterable[StackConfig]) -> set[str]:
    """The tags of all images that the program makes or pulls with these configs. Raises what it raises for a wrong
    one.
    """
    tags: set[str] = set()

    def take(wanted: Registration) -> Outcome:
        if wanted.type == IMAGE:
            tags.add(wanted.inputs["imageName"])
        if wanted.type == PULLED_IMAGE:
            tags.add(wanted.inputs["name"])
        if tag := wanted.inputs.get("environment", {}).get(LEAVES_IMAGE):
            tags.add(tag)
        return "", {"name": wanted.inputs.get("name")}

    for config in configs:
        # Whether this host could bear the stack does not matter.
        run_program(FOLDER, config.laid_over({f"{config.project}:preflight": False}), Monitor(take), preview=True)
    return tags


def look(api: DockerApi, wanted: Collection[str], steps: Iterable[str]) -> Old:
    """Finds unused images on this host; `steps` are the names of all steps of this project's builds."""
    usage = disk_usage(api, "image", "build-cache")
    containers = api.call("GET", "/containers/json", query={"all": "true"})
    forgotten = tuple(container["Id"] for container in containers if _is_forgotten(container))
    used = {container["ImageID"] for container in containers if container["Id"] not in forgotten}
    own = own_repositories(wanted)
    images = {
        reference: image
        for image in usage["Images"]
        if image["Id"] not in used
        for reference in old_references(image, own, wanted)
    }
    records = old_records(usage["BuildCache"] or (), steps)
    gone = {image["Id"]: image for image in images.values() if images.keys() >= set(_tags(image))}
    size = sum(max(0, image["Size"] - image["SharedSize"]) for image in gone.values())
    return Old(
        images=tuple(images),
        containers=forgotten,
        records=tuple(record["ID"] for record in records),
        size=size + sum(record["Size"] for record in records),
        cache=tuple(parts(usage["BuildCache"] or ())),
    )


def _is_forgotten(container: Json) -> bool:
    """Whether it listed what an image has for a build report that was killed, and that did not remove it."""
    return (
        LABEL.items() <= (container["Labels"] or {}).items() and time.time() - container["Created"] > FORGOTTEN_SECONDS
    )


def own_repositories(wanted: Iterable[str]) -> set[str]:
    """The repositories of this project's images: wherever some image is wanted, any other of them may have been."""
    repositories = {_repository(tag) for tag in wanted}
    places = {place for place, _, name in (found.rpartition("/") for found in repositories) if name in NAMES}
    return repositories | {f"{place}/{name}" for place in places for name in NAMES}


def old_references(image: Json, own: Collection[str], wanted: Collection[str]) -> tuple[str, ...]:
    """The tags of an image that belong to this project and are unwanted; its ID, where it has lost all of them."""
    tags = _tags(image)
    if not tags:
        return (image["Id"],) if TARGET_LABEL in (image["Labels"] or {}) else ()
    title = (image["Labels"] or {}).get(TITLE_LABEL, "")
    # The readable name of an unwanted image holds that image until the next build takes the name.
    kept = {tag for tag in tags if tag in wanted}
    if all(_is_readable(tag, title) for tag in kept):
        kept = set()
    # Others may have a redis, too, below the prefix of a registry that we share with them.
    made_here = (tag for tag in tags if _is_readable(tag, title) or CONTENT_TAG.search(tag))
    return tuple(tag for tag in made_here if tag not in kept and _repository(tag) in own)


def old_records(records: Iterable[Json], steps: Iterable[str]) -> list[Json]:
    """Records of this project's steps in BuildKit's cache that no image and no build uses."""
    own = {" ".join(match["command"].split()) for step in steps if (match := STEP.search(step))}
    return [
        record
        for record in records
        if not (record["InUse"] or record["Shared"])
        and (match := RECORD.search(record["Description"]))
        and _is_one_of(match["command"], own)
    ]


def remove(api: DockerApi, old: Old) -> list[str]:
    """Removes it. Returns a sentence on each image that stays."""
    kept = []
    for container in old.containers:
        with contextlib.suppress(DockerError):  # gone meanwhile; else its image stays, which is said
            api.call("DELETE", f"/containers/{container}", query={"force": "true", "v": "true"})
    for reference in old.images:
        try:
            api.call("DELETE", f"/images/{reference}")
        except DockerError as error:
            kept.append(f"{reference} stays: {error}")
    left = set(old.records)
    # A record that another stands on cannot go before that.
    while left:
        gone = {record for record in left if _forget(api, record)}
        if not gone:
            break
        left -= gone
    return kept


def _forget(api: DockerApi, record: str) -> bool:
    filters = json.dumps({"id": [record]})
    answer = api.call("POST", "/build/prune", query={"all": "true", "filters": filters})
    return bool(answer.get("CachesDeleted"))


def _is_one_of(command: str, own: Collection[str]) -> bool:
    text = " ".join(command.split())
    if text in own:
        return True
    escaped = re.escape(text)
    # What is mostly variables could be anybody's.
    telling = len(VARIABLE.sub("", escaped)) >= len(escaped) / 2
    pattern = re.compile(VARIABLE.sub(".*", escaped), re.DOTALL)
    return telling and any(pattern.fullmatch(known) for known in own)


def _tags(image: Json) -> list[str]:
    return [tag for tag in image["RepoTags"] or () if tag != "<none>:<none>"]


def _is_readable(tag: str, title: str) -> bool:
    """Whether it is a name for people, such as a version, of an image with this title."""
    _, _, name = _repository(tag).rpartition("/")
    return name == FAMILY_REPOSITORY or (name in SERVICES and title == f"cslr {name}" and not CONTENT_TAG.search(tag))


def _repository(tag: str) -> str:
    return tag.rpartition(":")[0]
