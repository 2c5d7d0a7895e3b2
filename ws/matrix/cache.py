"""What Docker's build cache holds, by kind: shown before anything of it is removed."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table

from build_report.units import size
from docker_api.api import DockerApi, Json
from docker_api.disk_usage import disk_usage
from ws.tables import plain_table

KINDS = {
    "regular": "steps of builds",
    "exec.cachemount": "downloaded packages (cache mounts)",
    "source.local": "contexts that were sent",
    "source.git.checkout": "sources from Git",
    "frontend": "parsers of Dockerfiles",
    "internal": "what BuildKit needs itself",
}


@dataclass(frozen=True, kw_only=True)
class CachePart:
    """The records of one kind. Sizes in bytes; what several records share is in neither."""

    kind: str
    records: int
    size: int
    unused: int  # bytes of it that no image and no build uses


def parts(records: Iterable[Json]) -> list[CachePart]:
    """The cache by kind, the largest first. `records`: ``BuildCache`` of the Engine's ``/system/df``."""
    by_kind: dict[str, list[Json]] = {}
    for record in records:
        by_kind.setdefault(record.get("Type", ""), []).append(record)
    found = [
        CachePart(
            kind=KINDS.get(kind, kind or "other"),
            records=len(members),
            size=_sum(members),
            unused=_sum(one for one in members if not (one.get("InUse") or one.get("Shared"))),
        )
        for kind, members in by_kind.items()
    ]
    return sorted(found, key=lambda part: -part.size)


def table(found: list[CachePart]) -> Table:
    """The parts for a terminal, with their sum."""
    shown = plain_table(("Build cache", "Records", "Size", "Unused"), right=("Records", "Size", "Unused"))
    total = CachePart(
        kind="all",
        records=sum(part.records for part in found),
        size=sum(part.size for part in found),
        unused=sum(part.unused for part in found),
    )
    for part in (*found, total):
        shown.add_row(part.kind, str(part.records), size(part.size), size(part.unused))
    return shown


def cache_bytes(api: DockerApi) -> int:
    """The size of the whole build cache. Raises `DockerError`."""
    return _sum(disk_usage(api, "build-cache").get("BuildCache") or ())


def _sum(records: Iterable[Json]) -> int:
    return sum(max(0, record["Size"]) for record in records)
