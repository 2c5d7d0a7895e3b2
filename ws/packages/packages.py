"""`ws packages`: a stack's own packages, in its stack file and in the lock beside it.

Resolved by uv against what the images hold, so that these stay as they are. Owns the edits of both files: neither is
written where the packages do not fit.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version
from rich.table import Table
from rich.text import Text

from config.packages import load_lock, lock_name
from config.platform import KEY, PlatformSettings
from config.problems import SettingsError
from config.project import FOLDER
from config.stack_file import stack_file
from images import packages_lock
from images.catalog import CATALOG
from images.lockfile import Pin, locked, parse
from images.packages_lock import PackagesLock, name_of
from images.variants import Variant
from ws.config.edit import with_list
from ws.config.editing import editing, put
from ws.environment import inherited
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack

PLATFORM = "x86_64-manylinux_2_40"  # what Debian forky runs
NEVER = "sys_platform == 'never'"
VERSIONS = r"(?:[<>=!~]=?[^\s,;]+(?:,[<>=!~]=?[^\s,;]+)*)"
DEPENDS = re.compile(rf"(?:all versions of )?(\S+) depends? on ([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?({VERSIONS})")
ASKED = re.compile(rf"you require ([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?({VERSIONS}) and ")
MOST_LINES = 25  # of uv's own words


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The packages that a stack requests."""

    packages: tuple[str, ...]  # requirements
    apt: tuple[str, ...]  # names of Debian packages

    def with_more(self, packages: Iterable[str], apt: Iterable[str]) -> "Wanted":
        """Also these; a requirement takes the place of one on the same package."""
        new = {name_of(item): item for item in packages}
        kept = [new.pop(name_of(item), item) for item in self.packages]
        return Wanted(packages=(*kept, *new.values()), apt=tuple(dict.fromkeys((*self.apt, *apt))))

    def without(self, names: Collection[str]) -> "Wanted":
        """Without the packages of these names, of either kind. Raises WsError for one that is not asked for."""
        known = {*map(name_of, self.packages), *self.apt}
        if strange := [name for name in names if name not in known and name_of(name) not in known]:
            there = f"it asks for {', '.join(sorted(known))}" if known else "it asks for none"
            raise WsError(f"the stack does not ask for {', '.join(strange)}: {there}.")
        gone = {*names, *map(name_of, names)}
        return Wanted(
            packages=tuple(item for item in self.packages if name_of(item) not in gone),
            apt=tuple(name for name in self.apt if name not in gone),
        )


def stack_with_packages(stack: str) -> StackSettings:
    """A stack that may have packages of its own. Raises WsError for one that only builds images."""
    configured = open_stack(stack)
    if configured.matrix is not None:
        raise WsError(f"stack {stack} only builds the images of the family: packages belong to a stack that deploys.")
    return configured


def wanted_by(settings: PlatformSettings) -> Wanted:
    """The packages that a stack requests now."""
    return Wanted(packages=settings.images.packages, apt=settings.images.apt)


def present_lock(stack: str) -> PackagesLock | None:
    """The lock that there is, in order or not."""
    try:
        return packages_lock.read(_lock_path(stack))
    except (OSError, ValueError):
        return None


def problem_of(stack: str, settings: PlatformSettings) -> str:
    """The problem of the stack's lock; empty if there is none."""
    try:
        load_lock(settings.images, settings.variant, stack_file=f"Pulumi.{stack}.yaml", key=KEY, folder=FOLDER)
    except SettingsError as error:
        return str(error)
    return ""


def change(configured: StackSettings, wanted: Wanted, forget: Collection[str] | None = ()) -> str:
    """Make stack file and lock say what is wanted; return what changed, in words.

    ``forget``: packages that need not stay at the versions of the present lock; None: all of them.

    Raises:
        WsError: it is not available; nothing is written then.
    """
    settings, stack = configured.platform, configured.file.stack
    lock_path, before = _lock_path(stack), present_lock(stack)
    edited_stack_file(configured.file.text, wanted)  # refuses before anything is looked for
    lock = None
    if wanted.packages:
        known = _kept(before, forget)
        lock = resolve(wanted.packages, settings.variant, index=settings.images.mirrors.pypi, known=known)
    with editing(stack) as edit:
        if edit.configured.platform.images != settings.images or present_lock(stack) != before:
            raise WsError(
                f"another command changed the packages of stack {stack} while this one looked for versions. Nothing "
                "was changed. Run it again."
            )
        if wanted != wanted_by(settings):
            edit.write(edited_stack_file(edit.file.text, wanted))
        if lock:
            put(lock_path, lock.text.encode())
        else:
            lock_path.unlink(missing_ok=True)
    return _changes(before, lock, wanted_by(settings), wanted)


def resolve(
    asked: Sequence[str], variant: Variant, *, index: str | None = None, known: Mapping[str, str] | None = None
) -> PackagesLock:
    """The lock of these requirements on the images of a variant; ``known`` are versions to keep where they fit.

    Raises:
        WsError: the index has not what fits the images, with both sides of a conflict.
    """
    held, lean = packages_lock.held(variant), packages_lock.held_without_torch(variant)
    found = _compile(asked, variant, index, known or {}, held)
    more: dict[str, Pin] = {}
    torch = built_for_torch(variant)
    # A node without torch gets what needs it, and not torch itself.
    everything = _compile(asked, variant, index, _versions(found), held, torch) if found.keys() & torch else found
    more = {name: pin for name, pin in everything.items() if name in held and name not in lean and name not in torch}
    return PackagesLock(
        pair=variant.key,
        images=packages_lock.held_digest(variant),
        asked=tuple(asked),
        pins={name: pin for name, pin in found.items() if name not in held},
        more=more,
    )


def built_for_torch(variant: Variant) -> set[str]:
    """torch, what is built for it, and its CUDA libraries."""
    files = [path for path in CATALOG["runtime"].lock_files(variant) if path.stem.split("-")[-1] == "cuda"]
    return {*locked(*files), "torch"}


def explain(error: str, held: Mapping[str, str]) -> list[str]:
    """Each conflict that uv tells of, with both sides."""
    found = [(f"{who} needs {what}{versions}", what, versions) for who, what, versions in DEPENDS.findall(error)]
    found += [(f"you ask for {what}{versions}", what, versions) for what, versions in ASKED.findall(error)]
    return list(
        dict.fromkeys(
            f"{said}, and the images hold {what} {held[name_of(what)]}"
            for said, what, versions in found
            if name_of(what) in held and not _fits(held[name_of(what)], versions)
        )
    )


def edited_stack_file(text: str, wanted: Wanted) -> str:
    """The text of a stack file with other packages. All else, comments too, stays as it is."""
    config = (yaml.safe_load(text) or {}).get("config") or {}
    key = KEY if KEY in config or "platform" not in config else "platform"
    for name, values in (("packages", wanted.packages), ("apt", wanted.apt)):
        text = with_list(text, ("config", key, "images", name), values)
    return text


def table(settings: PlatformSettings, lock: PackagesLock | None) -> Table:
    """A table of the requested packages and their versions."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Package", "Version", "Asked as"):
        shown.add_column(title, no_wrap=title != "Asked as")
    for row in rows(settings, lock):
        style = "" if row["asked"] else "dim"
        shown.add_row(Text(row["name"], style=style), Text(row["version"] or "-", style=style), Text(row["as"]))
    return shown


def rows(settings: PlatformSettings, lock: PackagesLock | None) -> list[dict[str, Any]]:
    """A row for each package: those that were asked for, then what they need, then Debian's."""
    held = packages_lock.held(settings.variant)
    asked = {name_of(item): item for item in settings.images.packages}
    pins = _versions(lock.pins) if lock else {}
    found = []
    for name, item in asked.items():
        inside = "" if name in pins else " (in the images)" if name in held else ""
        found.append({"name": name, "version": pins.get(name, held.get(name, "")), "as": item + inside, "asked": True})
    found += [
        {"name": name, "version": version, "as": "needed by these", "asked": False}
        for name, version in sorted(pins.items())
        if name not in asked
    ]
    found += [
        {"name": name, "version": "", "as": "of Debian, its newest when the image is built", "asked": True}
        for name in settings.images.apt
    ]
    return found


def _compile(
    asked: Sequence[str],
    variant: Variant,
    index: str | None,
    known: Mapping[str, str],
    held: Mapping[str, str],
    without: Collection[str] = (),
) -> dict[str, Pin]:
    """The requirements and their dependencies, with the images' packages at their versions."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        preferences, constraints, overrides = (folder / name for name in ("out.txt", "held.txt", "without.txt"))
        # An output file that exists is what uv takes preferences from.
        preferences.write_text(_lines(known))
        constraints.write_text(_lines(held))
        overrides.write_text("".join(f"{name}; {NEVER}\n" for name in sorted(without)))
        command = [uv(), "pip", "compile", "-", "--output-file", preferences, "--constraint", constraints]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--only-binary", ":all:", "--quiet"]
        command += ["--python-version", variant.python, "--python-platform", PLATFORM, "--no-python-downloads"]
        command += ["--override", overrides] if without else []
        command += ["--default-index", index] if index else []
        environment = inherited(NO_COLOR="1")
        done = subprocess.run(
            list(map(str, command)), input="\n".join(asked), capture_output=True, text=True, check=False,
            env=environment,
        )  # fmt: skip
        if done.returncode != 0:
            raise WsError(_refusal(done.stderr, variant, held))
        text = preferences.read_text()
    return parse(text) if "==" in text else {}


def _refusal(error: str, variant: Variant, held: Mapping[str, str]) -> str:
    """Why the packages are not available: conflicts first, then uv's own words."""
    conflicts = explain(" ".join(error.split()), held)
    lines = [line.rstrip() for line in error.strip().splitlines()]
    words = "\n".join(f"    {line}" for line in lines[:MOST_LINES])
    where = f"the images of {variant.key}"
    if conflicts:
        said = "\n".join(f"  {conflict}." for conflict in conflicts)
        advice = (
            "Packages of the images keep their versions: ask for another version, or use it in a job's runtime_env."
        )
        return f"the packages do not fit {where}:\n{said}\n  {advice}\n  uv says:\n{words}"
    return (
        f"the packages are not available for {where}, as wheels for Python {variant.python} on Linux:\n"
        f"  uv says:\n{words}"
    )


def uv() -> str:
    """The program uv, of this project's own environment where it is there."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise WsError("uv, which resolves packages, is missing. Run: make .venv/ready")
    return found


def _fits(version: str, versions: str) -> bool:
    try:
        return Version(version) in SpecifierSet(versions.rstrip(".,"), prereleases=True)
    except (InvalidSpecifier, ValueError):
        return True  # text that is not understood blames no package


def _kept(before: PackagesLock | None, forget: Collection[str] | None) -> dict[str, str]:
    if before is None or forget is None:
        return {}
    gone = set(map(name_of, forget))
    return {name: version for name, version in _versions(before.pins).items() if name not in gone}


def _changes(before: PackagesLock | None, after: PackagesLock | None, was: Wanted, now: Wanted) -> str:
    """The changes, one line each."""
    old, new = (_versions(lock.pins) if lock else {} for lock in (before, after))
    return "\n".join(_differences(old, new, was, now)) or "Nothing changed."


def _differences(old: Mapping[str, str], new: Mapping[str, str], was: Wanted, now: Wanted) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"+ {name} {new[name]}"
        elif name not in new:
            yield f"- {name} {old[name]}"
        elif old[name] != new[name]:
            yield f"~ {name} {old[name]} -> {new[name]}"
    names = {name_of(item) for item in now.packages} - {name_of(item) for item in was.packages} - new.keys()
    yield from (f"= {name} is in the images already" for name in sorted(names))
    yield from (f"+ {name} (Debian)" for name in now.apt if name not in was.apt)
    yield from (f"- {name} (Debian)" for name in was.apt if name not in now.apt)


def _versions(pins: Mapping[str, Pin]) -> dict[str, str]:
    return {name: pin.version for name, pin in pins.items()}


def _lines(versions: Mapping[str, str]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in versions.items())


def _lock_path(stack: str) -> Path:
    return FOLDER / lock_name(stack_file(FOLDER, stack).name)
