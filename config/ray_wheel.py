"""Another build of Ray: whether its wheel is for the images, and, where it is a file here, whether it is the one.

Reads that file and nothing else; what is downloaded is held to its digest by the build.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from config.builds import ImagesSettings, RayWheelSettings
from config.problems import Path as Key
from config.problems import Problem, Remove, Set, SettingsError
from config.project import FOLDER
from coordination.regular_file import refuse_others

KEY: Key = ("images", "ray")


def check_wheel(images: ImagesSettings, *, stack_file: str, key: str, folder: Path | None = None) -> None:
    """Passes if the stack names no build of Ray, or one that fits.

    Raises:
        SettingsError: it is for another Python, of another version, not there, or not the one with that digest.
    """
    if images.ray is None:
        return
    found = [*name_problems(images.ray, images.python)]
    if not found and "://" not in images.ray.wheel:
        found = [*_file_problems(images.ray, (folder or FOLDER) / images.ray.wheel)]
    if found:
        raise SettingsError(found, stack_file, key)


def name_problems(wheel: RayWheelSettings, python: str) -> Iterator[Problem]:
    """What the wheel's name says against it."""
    file, wanted = unquote(wheel.wheel.rpartition("/")[2]), f"cp{python.replace('.', '')}"
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except (InvalidWheelFilename, InvalidVersion):
        reason = f"{file[:100]} is not the name of a wheel, which has version, Python and platform"
        yield Problem((*KEY, "wheel"), reason, "Keep the name that it was published under.", ())
        return
    try:
        same = version == Version(wheel.version)
    except InvalidVersion:
        same = False
    if name != "ray":
        yield Problem((*KEY, "wheel"), f"{file} is a wheel of {name}", "Name one of Ray, or remove it:", (Remove(KEY),))
    elif not same:
        reason = f"{file} is version {version}, not {wheel.version[:40]}"
        yield Problem((*KEY, "version"), reason, "Say the same in both:", (Set((*KEY, "version"), str(version)),))
    elif not any(tag.interpreter == wanted for tag in tags):
        reason = f"{file} is for {', '.join(sorted({tag.interpreter for tag in tags}))}, and the images have {wanted}"
        yield Problem((*KEY, "wheel"), reason, "Take the wheel for this Python, or do without:", (Remove(KEY),))


def _file_problems(wheel: RayWheelSettings, path: Path) -> Iterator[Problem]:
    try:
        refuse_others(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = f"{wheel.wheel} cannot be read: {error.strerror}"
        advice = f"Copy or mount it to {path}; or do without:"
        yield Problem((*KEY, "wheel"), reason, advice, (Remove(KEY),))
        return
    if digest != wheel.sha256:
        reason = f"{wheel.wheel} is another file: its digest is {digest}"
        advice = "Put the right file there; or, if this one is meant:"
        yield Problem((*KEY, "sha256"), reason, advice, (Set((*KEY, "sha256"), digest),))
