"""The environment for packages that notebooks install: below the home folder, so it outlives container and image.

Each image has its own child environment there (entrypoints/hooks/child_environment.py), named after its Python and
packages. When a new image starts, the packages requested in the previous environment are installed again while Marimo
serves. An environment that keeps Marimo from starting is set aside. Standard library only, Python 3.10 or newer.

    notebook_packages.py restore FOLDER    internal: install the packages in FOLDER/pending.txt, as far as possible
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path

from entrypoints.hooks.child_environment import (
    ChildEnvironment,
    ImagePackage,
    canonical,
    create,
    find_program,
    fingerprint,
    image_packages,
    in_virtual_environment,
)

FOLDER = ".notebook-packages"  # below the home folder
KEPT_ENVIRONMENTS = 2  # environments: this image's, and the previous image's, for going back to it
START_CHECK = "import marimo, marimo._server.start"
CHECK_SECONDS = 60
RESTORE_SECONDS = 900
# Packages whose versions must match the cluster's, since notebooks exchange objects with it, and their dependencies.
CORE = ("ray", "marimo")
SHARED = re.compile(r"(torch|torchvision|torchaudio|triton|numpy|pandas|pyarrow|mlflow|mlflow-.*|nvidia-.*|cuda-.*)$")


def say(message: str) -> None:
    """Print one line for the container's log."""
    print(f"[marimo] {message}", flush=True)


def prepare(home: Path) -> ChildEnvironment | None:
    """Return the environment for notebooks below a folder, made if missing.

    None, and a line in the log, if that is impossible.
    """
    if not in_virtual_environment():
        say("packages that notebooks install do not last: this image's Python is not in a virtual environment")
        return None
    if not (find_program("uv") or find_program("pip")):
        say("notebooks cannot install packages: this image has neither uv nor pip")
        return None
    root = home / FOLDER
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root):
            return _prepare(root)
    except Exception as error:  # noqa: BLE001 (whatever it is, notebooks must be served)
        say(f"warning: {root} cannot be used ({error}), so notebooks can install no packages until the next start")
        return None


def _prepare(root: Path) -> ChildEnvironment:
    packages = image_packages()
    child = ChildEnvironment(root / fingerprint(packages))
    before = newest(root, besides=child.folder)
    if (complaint := broken(child)) and child.folder.exists():
        aside = child.folder.with_name(f"{child.folder.name}.broken")
        shutil.rmtree(aside, ignore_errors=True)
        before = before if not _complete(child.folder) else ChildEnvironment(aside)
        child.folder.rename(aside)
        wanted = ", ".join(requested(before)) if before else ""
        say(f"warning: the packages in {child.folder} keep Marimo from starting: {complaint}")
        say(f"they are in {aside} now, and notebooks have none of their own. Install again what you need: {wanted}")
        before = None
    if not child.folder.exists():
        create(child.folder, packages)
        pending = requested(before) if before else {}
        _pending(child).write_text("".join(f"{name}=={version}\n" for name, version in pending.items()))
        child.constraints.write_text("".join(f"{name}=={packages[name].version}\n" for name in pinned(packages)))
        (child.folder / "complete").touch()
        if pending:
            say(f"the image is a new one: installing again what notebooks had: {', '.join(pending)}")
    (child.folder / "complete").touch()  # when it was last used
    remove_old(root)
    return child


def broken(child: ChildEnvironment) -> str:
    """Return why Marimo cannot start in an environment; empty if it can."""
    if not _complete(child.folder):
        return "it is incomplete"
    try:
        done = subprocess.run(
            [child.python, "-c", START_CHECK], capture_output=True, text=True, timeout=CHECK_SECONDS, cwd=child.folder
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def environment(child: ChildEnvironment, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that make Marimo, its kernels and its terminal use the environment."""
    uv = find_program("uv")
    return {
        "VIRTUAL_ENV": str(child.folder),
        "PATH": os.pathsep.join([str(child.python.parent), inherited.get("PATH", os.defpath)]),
        "UV_CONSTRAINT": str(child.constraints),
        "PIP_CONSTRAINT": str(child.constraints),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_LINK_MODE": "copy",  # the cache is on another volume; uv would try links first, and warn
        # With this set, Marimo's Install button uses uv; otherwise pip, which is slower.
        **({"UV": uv} if uv else {}),
    }


def pinned(packages: Mapping[str, ImagePackage]) -> list[str]:
    """Return the packages that notebooks cannot replace: those shared with the cluster, and those of Marimo itself."""
    found: set[str] = set()
    waiting = [name for name in packages if name in CORE]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [need for need in _needs(packages[name].requires) if need in packages]
    return sorted(found | {name for name in packages if SHARED.match(name)})


def _needs(requirements: Iterable[str]) -> Iterator[str]:
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and "extra" not in requirement.partition(";")[2]:
            yield canonical(name[0])


def requested(child: ChildEnvironment) -> dict[str, str]:
    """Return name → version of the packages requested in an environment, without their dependencies.

    Includes packages of an earlier image that could not be installed again so far.
    """
    own = child.own_packages()
    asked = {
        canonical(dist.metadata["Name"])
        for dist in distributions(path=[str(child.site)])
        if dist.read_text("METADATA") and dist.read_text("REQUESTED") is not None
    }
    waiting = dict(line.split("==") for line in _lines(_pending(child)) if line.count("==") == 1)
    return {**waiting, **{name: version for name, version in sorted(own.items()) if name in asked}}


def newest(root: Path, besides: Path) -> ChildEnvironment | None:
    """Return the most recently used environment, except one."""
    return next((ChildEnvironment(folder) for folder in _by_use(root) if folder != besides), None)


def remove_old(root: Path) -> None:
    """Remove the environments of all images older than the previous one."""
    for folder in _by_use(root)[KEPT_ENVIRONMENTS:]:
        shutil.rmtree(folder, ignore_errors=True)


def _by_use(root: Path) -> list[Path]:
    folders = [folder for folder in root.iterdir() if _complete(folder) and not folder.name.endswith(".broken")]
    return sorted(folders, key=lambda folder: (folder / "complete").stat().st_mtime, reverse=True)


def _complete(folder: Path) -> bool:
    return (folder / "complete").is_file()


def _pending(child: ChildEnvironment) -> Path:
    return child.folder / "pending.txt"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keep out another Marimo with the same home folder."""
    with (root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --------------------------------------------------------------------------------------------- after a new image


def start_restoring(child: ChildEnvironment) -> None:
    """Install pending packages in a separate process, so that no notebook waits for an unresponsive index."""
    if _lines(_pending(child)):
        program = [sys.executable, "-m", "entrypoints.marimo.notebook_packages", "restore", str(child.folder)]
        # Through a shell that ends: Marimo, which this process becomes, would not reap a child that it does not know.
        subprocess.run(["sh", "-c", '"$@" &', "sh", *program])


def restore(child: ChildEnvironment) -> int:
    """Install pending packages at their old versions, or else at compatible ones; report those that failed."""
    deadline = time.monotonic() + RESTORE_SECONDS
    failed = {}
    for line in _lines(_pending(child)):
        name = line.partition("==")[0]
        for wanted in (line, name):
            complaint = _install(child, wanted, max(1.0, deadline - time.monotonic()))
            if not complaint:
                break
        if complaint:
            failed[line] = complaint
    _pending(child).write_text("".join(f"{line}\n" for line in failed))
    for line, complaint in failed.items():
        say(f"warning: {line}, which notebooks had before, cannot be installed until the next start: {complaint}")
    if not failed:
        say("notebooks have again all packages that they had before")
    return 1 if failed else 0


def _install(child: ChildEnvironment, requirement: str, seconds: float) -> str:
    """Install a package; return why that failed, or nothing."""
    uv = find_program("uv")
    command = (
        [uv, "pip", "install", "--python", str(child.python)] if uv else [str(child.python), "-m", "pip", "install"]
    )
    variables = {**os.environ, **environment(child, os.environ)}
    try:
        done = subprocess.run(
            [*command, requirement], env=variables, capture_output=True, text=True, timeout=seconds, cwd=child.folder
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    words = [line.strip() for line in done.stderr.splitlines() if "cause:" in line or "ERROR" in line]
    return "" if done.returncode == 0 else (words or done.stderr.strip().splitlines() or ["no reason given"])[-1]


def main(arguments: list[str]) -> int:
    """Run a subcommand."""
    if len(arguments) != 2 or arguments[0] != "restore":
        print(__doc__, file=sys.stderr)
        return 2
    return restore(ChildEnvironment(Path(arguments[1])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
