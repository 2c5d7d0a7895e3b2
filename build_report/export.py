"""The report as JSON for programs. Within one `schema` version, keys never change, but new ones may be added.

- ``run``: ``id``, ``started``, ``seconds`` from the first build's beginning to the last one's end, ``ok``, counts,
  ``note``, ``slowest`` (the slowest phase and what would help), ``indexes`` (title → platform → bytes) and
  ``cache_bytes`` of the builder before and after.
- ``totals`` of the run's images and ``family``, of the newest build of every image: ``images``, ``size`` (sum),
  ``unique`` (each chain of layers once: what one disk needs), ``saved``, ``compressed`` (each layer once, or null).
- ``builds`` of the run. Who: ``build`` (number), ``run``, ``tag``, ``image``, ``target``, ``variant``, ``flavour``,
  ``platform``, ``engine`` (embedded, pulumi, elsewhere), ``builder`` (version of Docker). How: ``result`` (built,
  failed, over budget), ``error``, ``started``, ``ended``, ``finished`` (with the push),
  ``push`` (its seconds, or null), ``note`` on the run, ``seconds``, ``cache`` (cold, partly, warm, unknown; here:
  nothing was built), ``phases`` (seconds by name), ``timing`` (steps: BuildKit's times; history: those of layers;
  none), ``sent`` (bytes of context), ``usage`` (of the whole host). What:
  ``image_id``, ``size``, ``compressed``, ``shared`` (bytes that other images have too), ``layers`` from the lowest,
  ``labels``, ``packages`` (count), ``base_date`` (day of its base image). Against the build before: ``previous``, with
  what grew first.
- ``trend``: the builds of the last runs, the oldest first, with the first keys of ``builds``.

Sizes are in bytes, unpacked unless they are called compressed; moments are ISO 8601 in UTC.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from build_report.advice import slowest
from build_report.compare import Comparison, PackageChange
from build_report.overview import Overview, Row, Totals
from build_report.phases import PUSH

SCHEMA = 1  # changes if a key goes away or means something else


def as_json(report: Overview) -> dict[str, Any]:
    """The whole report."""
    return {
        "schema": SCHEMA,
        "run": {
            "id": report.run,
            "started": _time(report.started),
            "seconds": round(report.seconds, 3),
            "ok": not report.not_built,
            "builds": len(report.rows),
            "not_built": len(report.not_built),
            "note": next((row.note for row in report.rows if row.note), ""),
            "slowest": slowest(report.rows),
            "indexes": report.indexes,
            "cache_bytes": report.cache_bytes,
        },
        "totals": _totals(report.totals),
        "family": _totals(report.family_totals),
        "builds": [_build(row) | _details(row) for row in report.rows],
        "trend": [_build(row) for row in report.trend],
    }


def _build(row: Row) -> dict[str, Any]:
    build = row.build
    return {
        "build": build.number,
        "run": build.run,
        "tag": build.tag,
        **vars(build.subject),
        "engine": build.engine,
        "result": build.result,
        "error": build.error,
        "started": _time(build.started),
        "ended": _time(build.ended),
        "finished": _time(build.finished),
        "push": _rounded(row.phases.get(PUSH)),
        "note": row.note,
        "seconds": _rounded(build.seconds),
        "cache": row.cache,
        "image_id": build.image_id,
        "size": row.image.size if row.image else None,
        "compressed": row.image.compressed if row.image else None,
    }


def _details(row: Row) -> dict[str, Any]:
    build, image = row.build, row.image
    return {
        "timing": build.timing,
        "phases": {name: round(seconds, 3) for name, seconds in row.phases.items()},
        "builder": build.builder,
        "sent": build.sent,
        "usage": asdict(build.usage) if build.usage else None,
        "shared": row.shared,
        "base_date": image.base_date if image else "",
        "layers": [
            {
                "name": layer.name,
                "size": layer.size,
                "compressed": layer.compressed,
                "diff_id": layer.diff_id,
                "chain_id": layer.chain_id,
            }
            for layer in (image.layers if image else ())
        ],
        "labels": image.labels if image else {},
        "packages": len(image.packages) if image else 0,
        "previous": _comparison(row.comparison) if row.comparison else None,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "build": comparison.previous.number,
        "started": _time(comparison.previous.started),
        "size": comparison.size,
        "seconds": _rounded(comparison.seconds),
        "layers": [vars(layer) | {"growth": layer.growth} for layer in comparison.layers],
        "packages": [_package(package) for package in comparison.packages],
    }


def _package(change: PackageChange) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "name": change.name,
        "change": change.change,
        "before": change.before.version if change.before else None,
        "after": change.after.version if change.after else None,
        "growth": change.growth,
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return asdict(totals) | {"saved": totals.size - totals.unique}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
