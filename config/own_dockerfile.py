"""A stack's own Dockerfiles: whether each is named, is a file of the project, and builds on the platform's image.

Reads the Dockerfile and the names and sizes of its context; builds nothing.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from config.platform import PlatformSettings
from config.problems import Path as Key
from config.problems import Problem, Remedy, Remove, Set, SettingsError
from config.project import FOLDER
from config.services import RAY_NODES, SERVICES, OwnImageSettings
from images.dockerfile import DockerfileError, Stages, stages

OWNERS = (*RAY_NODES, "marimo")  # services whose image can be one
BASE = "BASE"  # the build argument that names the platform's image
PLATFORMS = "platform:image"  # its value here: an image, whatever the stages of a Dockerfile are called
ON_BASE = ("$BASE", "${BASE}")
EXAMPLE = "docker/mine/Dockerfile"
ROOT = re.compile(r"root|[+-]?0+")  # Docker reads the number of a user as Go does: 00 is 0
LARGEST_CONTEXT = 10**9  # bytes: the embedded engine sends it as one request


def dockerfiles_are_named(settings: PlatformSettings) -> Iterator[Problem]:
    """An image of one's own has a Dockerfile, and any other has none."""
    for name in OWNERS:
        image, key = settings.service(name).image, _key(name)
        if not isinstance(image, OwnImageSettings):
            continue
        source, path = (*key, "source"), (*key, "path")
        if image.is_own and image.path is None and name in settings.own_images:
            yield Problem(
                path,
                f"is missing, but the image of {name} is to be built from a Dockerfile of your own",
                "Name the Dockerfile, or use the platform's image:",
                (Set(path, EXAMPLE), Set(source, "build")),
            )
        for part in ("path", "target") if not image.is_own else ():
            if value := getattr(image, part):
                yield Problem(
                    (*key, part),
                    f"{value} would be ignored, since image.source is {image.source}",
                    "Build from that Dockerfile, or remove the key:",
                    (Set(source, "dockerfile"), Remove((*key, part))),
                )


def check_dockerfiles(settings: PlatformSettings, *, stack_file: str, key: str, folder: Path | None = None) -> None:
    """Passes if the stack has no Dockerfile of its own, or some that can be built.

    Raises:
        SettingsError: one is not there, outside the project, not on the platform's image, or has no such stage.
    """
    found = [
        problem
        for name, image in settings.own_images.items()
        for problem in _problems(_key(name), image, folder or FOLDER)
    ]
    if found:
        raise SettingsError(found, stack_file, key)


def _problems(key: Key, image: OwnImageSettings, folder: Path) -> Iterator[Problem]:
    """The first problem of a Dockerfile, since the others may follow from it."""
    back: tuple[Remedy, ...] = (Set((*key, "source"), "build"),)
    name = image.path or ""
    path = folder / name
    if reason := _unusable(path, folder):
        advice = f"Put the Dockerfile to {name} in the project, or use the platform's image:"
        yield Problem((*key, "path"), f"{name} {reason}", advice, back)
        return
    try:
        parsed = stages(path, args={BASE: PLATFORMS})
    except DockerfileError as error:
        advice = f"{error.remedy} Or use the platform's image:"
        yield Problem((*key, "path"), f"{name}, line {error.line}: {error.reason}", advice, back)
        return
    last = len(parsed.stages) - 1 if image.target is None else parsed.find(image.target)
    if last is None:
        known = tuple(parsed.names)
        reason = f"{name} has no stage {image.target}, only {', '.join(known) or 'one without a name'}"
        others: tuple[Remedy, ...] = (*(Set((*key, "target"), stage) for stage in known[-1:]), Remove((*key, "target")))
        yield Problem((*key, "target"), reason, "Name a stage of it, or build the last:", others)
        return
    if refusal := _not_on_base(parsed, last) or _ends_as_root(parsed, last) or _context_refusal(path):
        yield Problem((*key, "path"), f"{name} {refusal[0]}", f"{refusal[1]} Or use the platform's image:", back)


def _key(service: str) -> Key:
    return (*SERVICES[service], "image")


def _unusable(path: Path, folder: Path) -> str:
    """Why no file of the project can be read there; empty where one can."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # the latter for a loop of links, before Python 3.13
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if not real.is_relative_to(folder.resolve()):
        return f"leads to {real}, outside the project"
    if not real.is_file():
        return "is no file"
    return "" if os.access(real, os.R_OK) else "cannot be read: Permission denied"


def _not_on_base(parsed: Stages, last: int) -> tuple[str, str] | None:
    """Why the stage is not built on the platform's image, and what to write."""
    *_, lowest = parsed.chain(last)
    image = next(word for word in lowest.lines[0].split()[1:] if not word.startswith("--"))
    if image in ON_BASE:
        return None
    write = f"Begin it with the lines `ARG {BASE}` and `FROM ${{{BASE}}}`: {BASE} is the platform's image."
    return f"builds on {image}, not on the platform's image", write


def _ends_as_root(parsed: Stages, last: int) -> tuple[str, str] | None:
    """Says so where programs of the image would run as root by default."""
    lines = [line for stage in parsed.chain(last) for line in reversed(stage.lines)]
    user = next((line.partition(" ")[2] for line in lines if line.startswith("USER ")), "")
    if ROOT.fullmatch(user.strip("\"'").partition(":")[0]):
        return "ends as user root, and no image of the platform does", "End the stage with `USER 1000:1000`."
    return None


def _context_refusal(path: Path) -> tuple[str, str] | None:
    """What is wrong with the Dockerfile's folder as a context, and what to do."""
    from docker_api.builds import context_files  # Docker's SDK takes long to import, and most stacks have no Dockerfile

    ignore = f"Leave out what the Dockerfile does not read, in {path.name}.dockerignore or .dockerignore beside it."
    size = 0
    for name in context_files(path.parent, path):
        file = path.parent / name
        if file.is_symlink():
            return f"has the link {name} in its folder, which the engines send differently", f"Copy the file. {ignore}"
        if not os.access(file, os.R_OK):
            return f"has {name} in its folder, which cannot be read: Permission denied", ignore
        size += file.stat().st_size
    if size > LARGEST_CONTEXT:
        return f"has {size / 10**9:.1f} GB in its folder, all of which would be sent to Docker", ignore
    return None
