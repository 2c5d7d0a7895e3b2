"""A folder as a zip file, as Ray packages a working directory: the same content always gives the same file."""

import hashlib
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from ws.errors import WsError

# As Ray: its default excludes, and the files that name more, each for its folder and what is below.
LEFT_OUT = (".git", ".venv", "venv", "__pycache__")
IGNORE_FILES = (".gitignore", ".rayignore")
DATE = (1980, 1, 1, 0, 0, 0)  # zip's first
LARGEST_SHOWN = 5
BLOCK = 2**20


@dataclass(frozen=True, kw_only=True)
class Package:
    """A folder's zip file."""

    file: Path
    sha256: str
    size: int


class TooLargeError(Exception):
    """The zip file would be larger than the limit."""

    def __init__(self, limit: int, largest: list[tuple[str, int]]) -> None:
        super().__init__(limit)
        self.limit = limit
        self.largest = largest  # the files that are the largest, in bytes


def files_of(folder: Path) -> dict[str, Path]:
    """The files to be sent by their names in the folder, in order. Raises `WsError` where it cannot be read."""
    if not folder.is_dir():
        raise WsError(f"{folder} is not a folder. Name the one to send: ws submit --folder FOLDER")
    return dict(sorted(_below(folder, folder, (), frozenset())))


def pack(
    files: dict[str, Path], target: Path, limit: int | None = None, advance: Callable[[int], None] = lambda _: None
) -> Package:
    """Writes a zip file of them, and says how many bytes were read.

    Raises `WsError` for what cannot be read, and `TooLargeError` once the file is larger than the limit.
    """
    with target.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in files.items():
            try:
                with path.open("rb") as source, archive.open(_entry(name, path), "w", force_zip64=True) as written:
                    while block := source.read(BLOCK):
                        written.write(block)
                        advance(len(block))
                        if limit is not None and file.tell() > limit:
                            raise TooLargeError(limit, _largest(files))
            except OSError as error:
                if error.filename != str(path):
                    raise  # such as a full disk
                remedy = "Make it readable, or exclude it in a .gitignore."
                raise WsError(f"{path} cannot be read: {error.strerror}. {remedy}") from error
    size = target.stat().st_size
    if limit is not None and size > limit:
        raise TooLargeError(limit, _largest(files))
    with target.open("rb") as whole:
        return Package(file=target, sha256=hashlib.file_digest(whole, "sha256").hexdigest(), size=size)


def _entry(name: str, path: Path) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    executable = path.stat().st_mode & stat.S_IXUSR
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    return entry


def _largest(files: dict[str, Path]) -> list[tuple[str, int]]:
    sizes = [(name, path.stat().st_size) for name, path in files.items() if path.exists()]
    return sorted(sizes, key=lambda item: -item[1])[:LARGEST_SHOWN]


def _below(
    root: Path, folder: Path, ignored: tuple[tuple[Path, GitIgnoreSpec], ...], above: frozenset[Path]
) -> Iterator[tuple[str, Path]]:
    """Links are followed, as Ray does, but not in circles."""
    real = folder.resolve()
    if real in above:
        return
    try:
        found = list(folder.iterdir())
        specs = [
            (folder, GitIgnoreSpec.from_lines((folder / name).read_text(encoding="utf-8").splitlines()))
            for name in IGNORE_FILES
            if (folder / name).is_file()
        ]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WsError(f"{folder} cannot be read: {reason}. Make it readable, or name another --folder.") from error
    for path in found:
        inside = path.is_dir()
        if path.name in LEFT_OUT or any(
            spec.match_file(f"{path.relative_to(of).as_posix()}{'/' * inside}") for of, spec in (*ignored, *specs)
        ):
            continue
        if inside:
            yield from _below(root, path, (*ignored, *specs), above | {real})
        elif path.is_file():
            yield path.relative_to(root).as_posix(), path
