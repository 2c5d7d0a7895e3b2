"""Makes a layer small and uniform: removes, strips, checks, compiles. What, and why, is data in ``prune.toml``."""

import hashlib
import os
import secrets
import shutil
import stat
import subprocess
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Literal

Kind = Literal["prune", "strip", "uncompiled"]

ROOT = Path("/")
SITE = "opt/venv/lib/python3*/site-packages"  # {site} in a path of the plan
MOUNTED = frozenset({"dev", "proc", "sys", "tmp"})  # no part of the layer
OWN = Path("/opt")  # where modes are ours to set; elsewhere they are Debian's
TRACES = ("var/log/*", "var/cache/*", "var/lib/apt/lists/*", "var/lib/dpkg/*-old", "root/.*cache", "opt/*/.lock")
ELF = b"\x7fELF"
# One time for all files, so that the same content is the same layer, wherever and whenever it was made.
EPOCH = 946_684_800


class TrimError(Exception):
    """What remains would not work. The message is one sentence with the remedy."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry of the plan."""

    kind: Kind
    layer: str
    paths: tuple[str, ...]  # globs below /
    why: str
    options: tuple[str, ...] = ()  # of strip

    def found(self) -> list[Path]:
        """What there is of it here."""
        return [path for pattern in self.paths for path in sorted(ROOT.glob(pattern))]


def read_plan(path: Path) -> tuple[Entry, ...]:
    """Read ``prune.toml``."""
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(
        Entry(
            kind=kind,
            layer=row["layer"],
            paths=tuple(pattern.replace("{site}", SITE) for pattern in row["paths"]),
            why=row["why"],
            options=tuple(row.get("options", ())),
        )
        for kind in ("prune", "strip", "uncompiled")
        for row in tables.get(kind, ())
    )


def trim(layer: str, plan: Iterable[Entry], strip: Path) -> None:
    """Remove and strip what the plan says of this layer, and tell what each entry gave."""
    for entry in (entry for entry in plan if entry.layer == layer and entry.kind != "uncompiled"):
        act = remove if entry.kind == "prune" else partial(shrink, strip=strip, options=entry.options)
        began = time.monotonic()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            freed = sum(pool.map(act, entry.found()))
        print(f"{entry.kind}: {freed / 1e6:.1f} MB in {time.monotonic() - began:.1f} s: {entry.why}", flush=True)


def remove(path: Path) -> int:
    """Remove a file or tree; return its bytes."""
    if path.is_symlink() or not path.is_dir():
        size = path.lstat().st_size
        path.unlink()
        return size
    size = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    shutil.rmtree(path)
    return size


def shrink(path: Path, strip: Path, options: Sequence[str]) -> int:
    """Strip one file; return the bytes that went."""
    if path.is_symlink() or not is_elf(path):
        return 0
    before = path.stat().st_size
    subprocess.run([strip, *options, path], check=True)
    return before - path.stat().st_size


def finish(started: float, plan: Sequence[Entry], readelf: Path, bytecode: Path) -> None:
    """Check, compile and even out what was made since ``started``. Raises TrimError."""
    for pattern in TRACES:
        for path in ROOT.glob(pattern):
            remove(path)
    fresh = list(made_since(started))
    libraries = [path for path in fresh if not path.is_symlink() and path.is_file() and is_elf(path)]
    broken = missing(needed(libraries, readelf), present_libraries(), plan)
    if broken:
        raise TrimError(f"prune.toml removes what is needed: {'; '.join(broken)}. Take it out of prune.toml.")
    began = time.monotonic()
    print(f"bytecode: {compile_bytecode(fresh, plan, bytecode)} in {time.monotonic() - began:.1f} s", flush=True)
    for path in made_since(started):
        settle(path, started)


def made_since(started: float, folder: Path = ROOT) -> Iterator[Path]:
    """Yield what this step made or changed in the image, folders after what is in them."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if folder == ROOT and entry.name in MOUNTED:
                continue
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from made_since(started, path)
            if entry.stat(follow_symlinks=False).st_ctime >= started:
                yield path


def is_elf(path: Path) -> bool:
    """Whether it is a program or library of the machine's."""
    with path.open("rb") as file:
        return file.read(len(ELF)) == ELF


def needed(libraries: Sequence[Path], readelf: Path) -> dict[str, set[str]]:
    """Name of a library → the files that are linked to it."""
    users: dict[str, set[str]] = {}
    if not libraries:
        return users
    command: list[str | Path] = [readelf, "--dynamic", "--wide", *libraries]
    text = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout
    file = libraries[0].name  # readelf names the file only where there are several
    for line in text.splitlines():
        if line.startswith("File: "):
            file = Path(line.removeprefix("File: ")).name
        elif "(NEEDED)" in line:
            users.setdefault(line.partition("[")[2].rstrip("]"), set()).add(file)
    return users


def present_libraries() -> set[str]:
    """The names of all shared libraries of ours in the image."""
    return {name for _, _, names in os.walk(OWN) for name in names if ".so" in name}


def missing(users: Mapping[str, set[str]], present: set[str], plan: Iterable[Entry]) -> list[str]:
    """Say what is linked to a library that the plan removed and that nothing else provides."""
    patterns = {pattern.rpartition("/")[2] for entry in plan if entry.kind == "prune" for pattern in entry.paths}
    removed = [name for name in users.keys() - present if any(fnmatch(name, pattern) for pattern in patterns)]
    return [f"{name}, by {', '.join(sorted(users[name]))}" for name in sorted(removed)]


def compile_bytecode(paths: Iterable[Path], plan: Iterable[Entry], kept: Path) -> str:
    """Compile the packages that are imported, and say how many files: nobody may write here at run time.

    The bytecode is never compared with its source, which nobody may change either; so it holds no time of a file, and
    what was compiled for another image is taken from the folder ``kept``.
    """
    site = next(ROOT.glob(SITE), None)
    if site is None:
        return "0 files"
    python, tag = site.parents[2] / "bin/python", site.parent.name.replace("python", "cpython-").replace(".", "")
    skipped = [f"/{pattern}/*" for entry in plan if entry.kind == "uncompiled" for pattern in entry.paths]
    sources = [
        path
        for path in paths
        if path.suffix == ".py" and path.is_relative_to(site) and not any(fnmatch(str(path), name) for name in skipped)
    ]
    pairs = {path: (path.parent / f"__pycache__/{path.stem}.{tag}.pyc", key(path, kept / tag)) for path in sources}
    for compiled, copy in pairs.values():
        if copy.exists():
            compiled.parent.mkdir(exist_ok=True)
            shutil.copyfile(copy, compiled)
    new = [source for source, (compiled, _) in pairs.items() if not compiled.exists()]
    command: list[str | Path] = [python, "-m", "compileall", "-qq", "-j", "0"]
    command += ["--invalidation-mode", "unchecked-hash", "-i", "-"]
    # Its status says only that some file is no valid Python, as templates and test data are not.
    if new:
        subprocess.run(command, input="\n".join(map(str, new)), check=False, text=True)
    for source in new:
        keep(*pairs[source])
    return f"{len(new)} files compiled, {len(sources) - len(new)} known"


def key(source: Path, folder: Path) -> Path:
    """Where the bytecode of this text at this path is kept; its path is part of it."""
    digest = hashlib.sha256(f"{source}\0".encode() + source.read_bytes()).hexdigest()
    return folder / digest[:2] / digest


def keep(compiled: Path, copy: Path) -> None:
    """Keep a file for later builds, whole or not at all: another build may do the same now."""
    if compiled.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        draft = copy.with_suffix(f".{secrets.token_hex(4)}")  # process numbers repeat from container to container
        shutil.copyfile(compiled, draft)
        draft.replace(copy)


def settle(path: Path, started: float) -> None:
    """Give a new file the time that all have, and in our folders what every user needs to read it."""
    found = path.lstat()
    mode = stat.S_IMODE(found.st_mode)
    wanted = mode & ~(stat.S_ISUID | stat.S_ISGID)
    if path.is_relative_to(OWN):
        wanted |= 0o555 if stat.S_ISDIR(found.st_mode) or mode & stat.S_IXUSR else 0o444
    if wanted != mode and not stat.S_ISLNK(found.st_mode):
        path.chmod(wanted)
    if found.st_mtime >= started:  # files of Debian's packages have times of their own, which their bytecode names
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
