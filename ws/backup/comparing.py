"""Compares what was restored with the backup: file by file, and artifacts with the runs of MLflow both ways."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ws.backup.restic import Json, moment

SCHEME = "mlflow-artifacts:/"
RUN = re.compile(r"[0-9a-f]{32}")
NANOSECONDS = 10**9
NOT_RESTORED = "socket"  # which the program that made it makes again
ESCAPED = re.compile("[\udc80-\udcff]")  # how Python writes bytes of names that are not UTF-8
TYPES = {"file": stat.S_ISREG, "dir": stat.S_ISDIR, "symlink": stat.S_ISLNK}


def file_differences(nodes: Iterable[Json], root: Path, *, owners: bool) -> Iterator[str]:
    """How a folder differs from the nodes of a snapshot. restic itself has compared the contents (`--verify`)."""
    expected = {
        str(node["path"]).lstrip("/"): node
        for node in nodes
        if node.get("struct_type") == "node" and node["type"] != NOT_RESTORED
    }
    there = {_as_told(path.relative_to(root)): path for path in _below(root)}
    for name, node in sorted(expected.items()):
        if name not in there:
            yield f"{name} is missing"
        elif reason := _difference(node, there[name].lstat(), owners=owners):
            yield f"{name} has another {reason}"
    for name in there:
        if name not in expected:
            yield f"{name} is not in the backup"


def _below(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        yield from (Path(folder) / name for name in (*folders, *files))


def _as_told(path: Path) -> str:
    """A path as restic's list has it, where a byte that is not UTF-8 is a replacement character."""
    return ESCAPED.sub("\ufffd", str(path))


def _difference(node: Json, found: os.stat_result, *, owners: bool) -> str:
    if not TYPES.get(str(node["type"]), _any)(found.st_mode):
        return "type"
    if node["type"] == "file" and node.get("size", 0) != found.st_size:
        return "size"
    if node["type"] == "file" and int(moment(node["mtime"]).timestamp()) != found.st_mtime_ns // NANOSECONDS:
        return "time"
    if owners and (node.get("uid"), node.get("gid")) != (found.st_uid, found.st_gid):
        return "owner"
    if node["type"] != "symlink" and node["mode"] & 0o777 != found.st_mode & 0o777:
        return "mode"
    return ""


def _any(_mode: int) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Orphans:
    """Artifacts without a run or model, and runs and models without a folder. Many runs log no artifact at all."""

    folders: tuple[str, ...]
    without: tuple[str, ...]


def orphans(places: Mapping[str, Mapping[str, str]], root: Path) -> Orphans:
    """Compares the places that MLflow's database names with the folder of artifacts."""
    known = {
        key: place.removeprefix(SCHEME).strip("/")
        for table in places.values()
        for key, place in table.items()
        if place.startswith(SCHEME)
    }
    without = tuple(sorted(key for key, place in known.items() if not (root / place).is_dir()))
    there = [
        path
        for experiment in (root.iterdir() if root.is_dir() else ())
        if experiment.is_dir()
        for path in (*experiment.iterdir(), *(experiment / "models").glob("m-*"))
        if RUN.fullmatch(path.name) or path.parent.name == "models"
    ]
    folders = tuple(sorted(str(path.relative_to(root)) for path in there if path.name not in known))
    return Orphans(folders=folders, without=without)
