"""A child environment: a virtual environment above the image's. It sees all packages of the image and copies none.

Packages installed into it take precedence over the image's. Each package of the image appears in it as a stub, which
is metadata without files. So uv and pip see it as installed, download only what is missing, and may replace it with a
package of the child's own, which hides the image's. uv reads only the environment's own folder, so without stubs it
would download torch again for every package that needs torch. Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PathDistribution, distributions
from pathlib import Path

STUB_INSTALLER = "cslr-image"  # content of a stub's INSTALLER file, which identifies stubs
LINKED = ("METADATA", "WHEEL", "entry_points.txt")
PROTECTED = ("ray",)  # Ray refuses nodes and drivers of another version
ACTIVATE = """\
# Source this in a shell.
deactivate() {{
    PATH="$_OLD_VIRTUAL_PATH"; export PATH
    unset VIRTUAL_ENV _OLD_VIRTUAL_PATH
    unset -f deactivate
}}
_OLD_VIRTUAL_PATH="$PATH"
VIRTUAL_ENV={folder}; export VIRTUAL_ENV
PATH="$VIRTUAL_ENV/bin:$PATH"; export PATH
unset PYTHONHOME
hash -r 2>/dev/null || true
"""
# The kernel cuts a first line at 127 bytes (Linux before 5.1) or 255; the path of a job's environment is longer.
SHEBANG = "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n"


@dataclass(frozen=True)
class ImagePackage:
    """A package of the image."""

    name: str  # canonical: nvidia-cublas
    version: str
    folder: Path  # its .dist-info
    requires: tuple[str, ...]  # requirements, as in its metadata


@dataclass(frozen=True)
class ChildEnvironment:
    """A child environment and its paths."""

    folder: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        """The folder of its packages (site-packages)."""
        return self.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    @property
    def constraints(self) -> Path:
        """The versions of the image's packages, as requirements, for callers that want to keep them."""
        return self.folder / "image-packages.txt"

    def own_packages(self) -> dict[str, str]:
        """Return name → version of the packages that were installed into it."""
        found = distributions(path=[str(self.site)])
        return {
            canonical(dist.metadata["Name"]): dist.version
            for dist in found
            if dist.read_text("METADATA") and (dist.read_text("INSTALLER") or "").strip() != STUB_INSTALLER
        }


def canonical(name: str) -> str:
    """Return the normalized name of a package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def in_virtual_environment() -> bool:
    """Whether this Python runs in a virtual environment, which a child environment needs as its base."""
    return sys.prefix != sys.base_prefix


def image_site() -> Path:
    """The site-packages folder of this Python's own environment."""
    return Path(sysconfig.get_path("purelib"))


def image_packages(site: Path | None = None) -> dict[str, ImagePackage]:
    """Return the packages of the image by their canonical names."""
    packages = {}
    for dist in distributions(path=[str(site or image_site())]):
        if isinstance(dist, PathDistribution) and dist.metadata["Name"]:
            folder = Path(str(dist._path))  # no public attribute gives it
            if folder.is_dir() and (folder / "METADATA").is_file():
                name = canonical(dist.metadata["Name"])
                packages[name] = ImagePackage(name, dist.version, folder, tuple(dist.requires or ()))
    return packages


def fingerprint(packages: Mapping[str, ImagePackage]) -> str:
    """Return a fingerprint of the image's Python and packages: 12 characters."""
    lines = [sys.version, sys.prefix, *(f"{name}=={packages[name].version}" for name in sorted(packages))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def find_program(name: str) -> str | None:
    """Return the path of a program of the image's environment, or of one on PATH."""
    beside = Path(sys.prefix, "bin", name)
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(name)


def create(folder: Path, packages: Mapping[str, ImagePackage]) -> ChildEnvironment:
    """Make a child of this Python's environment in a folder that does not exist yet."""
    child = ChildEnvironment(folder)
    base = Path(getattr(sys, "_base_executable", "") or os.path.realpath(sys.executable))
    child.site.mkdir(parents=True)
    child.python.parent.mkdir()
    child.python.symlink_to(base)
    for alias in ("python3", f"python{sys.version_info[0]}.{sys.version_info[1]}"):
        (child.python.parent / alias).symlink_to("python")
    (folder / "pyvenv.cfg").write_text(
        f"home = {base.parent}\nimplementation = CPython\nversion_info = {sys.version.split()[0]}\n"
        "include-system-site-packages = false\nprompt = child\n"
    )
    # A plain path in a .pth would leave out the .pth files of the image's own packages.
    (child.site / "_image.pth").write_text(f"import site; site.addsitedir({str(image_site())!r})\n")
    (child.python.parent / "activate").write_text(ACTIVATE.format(folder=shlex.quote(str(folder))))
    for package in packages.values():
        _write_stub(child.site, package)
    _copy_scripts(child)
    child.constraints.write_text("".join(f"{p.name}=={p.version}\n" for p in packages.values()))
    return child


def _write_stub(site: Path, package: ImagePackage) -> None:
    stub = site / package.folder.name
    stub.mkdir()
    for name in LINKED:
        if (package.folder / name).is_file():
            (stub / name).symlink_to(package.folder / name)
    # importlib.metadata.packages_distributions() reads it, and would otherwise look for files that a stub lacks.
    (stub / "top_level.txt").write_text("".join(f"{name}\n" for name in _top_level(package.folder)))
    (stub / "INSTALLER").write_text(f"{STUB_INSTALLER}\n")
    # An installer that removes the package removes these: the stub, and no file of the image.
    names = sorted(path.name for path in stub.iterdir())
    (stub / "RECORD").write_text("".join(f"{stub.name}/{name},,\n" for name in [*names, "RECORD"]))


def _top_level(metadata: Path) -> Iterable[str]:
    """The names that a package is imported by."""
    try:
        return (metadata / "top_level.txt").read_text().split()
    except OSError:
        pass
    try:
        with (metadata / "RECORD").open(newline="", encoding="utf-8") as file:
            return sorted({name for row in csv.reader(file) for name in _import_name(row[0] if row else "")})
    except OSError:
        return ()


def _import_name(path: str) -> Iterator[str]:
    first, _, rest = path.partition("/")
    if rest and first not in ("..", "__pycache__") and not first.endswith((".dist-info", ".data")):
        yield first
    elif not rest and path.endswith((".py", ".so")):
        yield path.partition(".")[0]


def _copy_scripts(child: ChildEnvironment) -> None:
    """Make the image's scripts (ray, torchrun, mlflow) run with the child's Python, so that they see its packages."""
    own = f"#!{sys.prefix}/bin/python".encode()
    shebang = SHEBANG.format(python=shlex.quote(str(child.python))).encode()
    for script in Path(sys.prefix, "bin").iterdir():
        target = child.python.parent / script.name
        if target.exists() or target.is_symlink() or not script.is_file() or script.is_symlink():
            continue
        with script.open("rb") as file:
            if file.read(len(own)) != own:
                continue  # a program, which needs no Python, is found on PATH after these
            rest = file.read().partition(b"\n")[2]
        target.write_bytes(shebang + rest)
        target.chmod(0o755)


# ------------------------------------------------------------------------------------------------- requirements


def named_requirements(
    lines: Iterable[str], folder: Path, variables: Mapping[str, str], depth: int = 5
) -> Iterator[tuple[str, str]]:
    """Yield (canonical name, requirement) of the packages that requirements name, also those of `-r` files."""
    for written in lines:
        line = re.sub(r"(^|\s)#.*", "", written).strip()
        nested = re.match(r"(?:-r|--requirement)[\s=]*(.+)", line)
        if nested and depth:
            text = nested[1].strip("'\"")
            path = folder / re.sub(r"\$\{(\w+)\}", lambda match: variables.get(match[1], match[0]), text)
            if path.is_file():
                yield from named_requirements(path.read_text().splitlines(), path.parent, variables, depth - 1)
            continue
        line = re.sub(r"\s+--hash=.*", "", line).rstrip("\\ ")
        wheel = re.search(r"([A-Za-z0-9][A-Za-z0-9._]*)-\d[^-/]*(?:-[^-/]+){3,4}\.whl", line)
        name = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:@|[;=<>!~]|$)", line)
        if name:
            yield canonical(name[1]), line
        elif wheel:
            yield canonical(wheel[1]), line


def kept_versions(
    packages: Mapping[str, ImagePackage], named: Iterable[tuple[str, str]], *, upgrade: bool = False
) -> dict[str, str]:
    """Return the versions of the image that an installation must keep.

        All versions, except of packages that a requirement names at another version, and of their dependencies: another
    torch also brings its own libraries.
    """
    free: set[str] = set()
    waiting = [
        name for name, text in named if name in packages and (upgrade or not _satisfied(text, packages[name].version))
    ]
    while waiting:
        name = waiting.pop()
        if name in free or name in PROTECTED:
            continue
        free.add(name)
        needs = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in packages[name].requires)
        waiting += [canonical(need[0]) for need in needs if need and canonical(need[0]) in packages]
    return {name: package.version for name, package in packages.items() if name not in free}


def _satisfied(requirement: str, version: str) -> bool:
    """Whether the image's version satisfies a requirement."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:  # every image with Ray has it
        return True
    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return False  # a path or a URL is meant to replace the image's package
    return not parsed.url and parsed.specifier.contains(version, prereleases=True)
