"""The report as one self-contained HTML page, which needs no server and no network."""

import json
from pathlib import Path

from build_report import sheets
from build_report.charts import charts
from build_report.overview import Overview
from build_report.units import delta, duration, moment, percent, size

FOLDER = Path(__file__).parent
CLASSES = {"built": "built", "failed": "failed", "over budget": "over"}  # of cells by their text


def page(report: Overview) -> str:
    """The whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    # All output of builds is escaped, in JSON too.
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    drawn = charts(report)
    return environment.get_template("page.html").render(
        title=f"Image builds, {moment(report.started)}",
        lead=_lead(report),
        run=report.run,
        figures=_figures(report),
        failures=sheets.failures(report.rows),
        changes=_changes(report),
        results=sheets.results(report),
        tables=(sheets.phase_times(report), sheets.host(report), sheets.trend(report)),
        drawn=drawn,
        charts=[json.loads(figure.to_json()) for _, _, figure in drawn],
        plotly=Markup(get_plotlyjs()),  # noqa: S704 (the library's own program)
        image_column=sheets.IMAGE,
        classes=CLASSES,
    )


def _lead(report: Overview) -> str:
    over = sum(row.build.result == "over budget" for row in report.rows)
    counts = ((len(report.built), "succeeded"), (len(report.not_built) - over, "failed"), (over, "over budget"))
    builds = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"{len(report.rows)} builds in {duration(report.seconds)}: {builds}."


def _figures(report: Overview) -> list[tuple[str, str]]:
    sums = report.family_totals
    return [
        ("Run", duration(report.seconds)),
        ("Images", str(sums.images)),
        ("Total size", size(sums.size)),
        ("On one disk", size(sums.unique)),
        ("Saved by sharing", percent(sums.size - sums.unique, sums.size)),
        *([("Compressed", size(sums.compressed))] if sums.compressed else []),
    ]


def _changes(report: Overview) -> list[tuple[str, str, list[str]]]:
    """Images that changed: title, change of size, details."""
    return [
        (
            row.build.subject.title,
            f"{delta(found.size)} {found.since}",
            [
                *(f"layer {one.name}: {size(one.before)} → {size(one.after)}" for one in found.layers),
                *(one.text for one in found.packages),
            ],
        )
        for row in report.rows
        if (found := row.comparison) and (found.layers or found.packages)
    ]
