"""Programs of containers: the modules of PACKAGES to mount in each, and the commands that start them.

The files are mounted, so that they work with pulled images too and need no image build. A container is given the module
that it starts, the modules that this one imports and the files that these read, no others: an edit replaces the
containers that run what was edited.
"""

import ast
import functools
import io
import zipfile
from pathlib import Path

from config.project import FOLDER

ENTRYPOINTS = FOLDER / "entrypoints"
PACKAGES = ("entrypoints", "coordination", "contracts", "scheduling")  # those that programs in containers import from
PROGRAMS_TARGET = "/run/cslr"
GIVEN_WITH = (".html", ".css", ".js", ".py")  # a program that a module sends elsewhere, too
HOOKS_PATH = f"{PROGRAMS_TARGET}/entrypoints/hooks/site"  # on PYTHONPATH


EXAMPLES = "examples.zip"
EXAMPLE_FILES = (".py", ".csv", ".mp4")


def examples() -> bytes:
    """The archive of the examples that a new notebook folder gets; the same bytes for the same files."""
    folder, content = FOLDER / "examples", io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in EXAMPLE_FILES):
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())
    return content.getvalue()


def program_path(file: str) -> str:
    """Where a file of ``entrypoints/`` is inside a container."""
    return f"{PROGRAMS_TARGET}/{file}"


def mounted_at(source: Path) -> str:
    """Where a module, or a file that it reads, is inside a container."""
    return f"{PROGRAMS_TARGET}/{source.relative_to(FOLDER).as_posix()}"


def source_of(module: str) -> Path:
    """The file of a module, by its full name."""
    return FOLDER / f"{module.replace('.', '/')}.py"


def modules_in(package: str) -> tuple[str, ...]:
    """The full names of all modules of a package and of the folders in it."""
    files = (path for path in (FOLDER / package.replace(".", "/")).rglob("*.py") if path.name != "__init__.py")
    return tuple(sorted(".".join(path.relative_to(FOLDER).with_suffix("").parts) for path in files))


def run_python(file: str, *arguments: str) -> tuple[str, ...]:
    """Command that runs a program of one file with whichever Python the image has."""
    return ("sh", program_path("with_python.sh"), program_path(file), *arguments)


def run_module(module: str, *arguments: str) -> tuple[str, ...]:
    """Command that runs a module of the programs that import each other, by its full name."""
    return ("sh", program_path("with_python.sh"), "-m", module, *arguments)


def imported_modules(module: str) -> tuple[str, ...]:
    """A module and all others of PACKAGES that it imports, also by way of others: full names, sorted."""
    known: set[str] = set()
    new = {module}
    while new:
        known |= new
        new = {found for name in new for found in _imports(name)} - known
    return tuple(sorted(known))


def given_with(module: str) -> tuple[Path, ...]:
    """The files that a module reads beside itself, such as templates of a page: those in the folder of its name."""
    return tuple(sorted(path for path in source_of(module).with_suffix("").glob("*") if path.suffix in GIVEN_WITH))


@functools.cache  # most containers share most of their modules
def _imports(module: str) -> frozenset[str]:
    """The modules of PACKAGES that one imports: ``from entrypoints.ray.a import b``, ``from coordination import a``,
    ``from .a import b``.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(source_of(module).read_bytes())):
        if isinstance(node, ast.ImportFrom):
            package = ".".join(module.split(".")[: -node.level]) if node.level else ""
            origin = ".".join(filter(None, (package, node.module)))
            names |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(name for name in names if name.partition(".")[0] in PACKAGES and source_of(name).is_file())
