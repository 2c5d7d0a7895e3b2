"""The report as one page that needs nothing but a browser: no server, no network."""

import json
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from build_report import sheets
from build_report.charts import Chart, charts
from build_report.overview import Overview
from build_report.sheets import Sheet
from build_report.units import delta, duration, moment, percent, size

TEMPLATE = Path(__file__).with_name("page.html")
CLASSES = {"built": "built", "failed": "failed", "over budget": "over"}


def page(report: Overview) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    drawn = charts(report)
    sections = [_failures(report), _table(sheets.results(report))]
    sections += [_chart(number, chart) for number, chart in enumerate(drawn)]
    sections += [_changes(report), _table(sheets.phase_times(report)), _table(sheets.host(report))]
    sections.append(_table(sheets.trend(report)))
    values = {
        "title": escape(f"Image builds, {moment(report.started)}"),
        "lead": escape(_lead(report)),
        "figures": _figures(report),
        "sections": "\n".join(section for section in sections if section),
        "run": escape(report.run),
        "charts": _script(json.dumps([json.loads(figure.to_json()) for _, _, figure in drawn])),
        "plotly": get_plotlyjs(),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], TEMPLATE.read_text(encoding="utf-8"))


def _lead(report: Overview) -> str:
    over = sum(row.build.result == "over budget" for row in report.rows)
    counts = ((len(report.built), "in order"), (len(report.not_built) - over, "failed"), (over, "over budget"))
    builds = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"{len(report.rows)} builds in {duration(report.seconds)}: {builds}."


def _figures(report: Overview) -> str:
    sums = report.family_totals
    figures = (
        ("Run", duration(report.seconds)),
        ("Images", str(sums.images)),
        ("Sum of sizes", size(sums.size)),
        ("Bytes on one disk", size(sums.unique)),
        ("Saved by sharing", percent(sums.size - sums.unique, sums.size)),
        *([("Compressed", size(sums.compressed))] if sums.compressed else []),
    )
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)


def _table(sheet: Sheet) -> str:
    if not sheet.rows:
        return ""
    names = "".join(_cell("th", column.title, right=column.right, scope="col") for column in sheet.columns)
    lines = "".join(f"<tr>{_line(sheet, cells)}</tr>" for cells in sheet.cells)
    last = f"<tfoot><tr>{_line(sheet, sheet.last)}</tr></tfoot>" if sheet.last else ""
    return (
        f"<section><h2>{escape(sheet.title)}</h2>"
        + (f'<p class="note">{escape(sheet.note)}</p>' if sheet.note else "")
        + f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(sheet.title)}"><table>'
        f"<caption>{escape(sheet.title)}</caption><thead><tr>{names}</tr></thead><tbody>{lines}</tbody>{last}"
        "</table></div></section>"
    )


def _line(sheet: Sheet, cells: Iterable[str]) -> str:
    return "".join(
        _cell("th", cell, scope="row") if column is sheets.IMAGE else _cell("td", cell, right=column.right)
        for column, cell in zip(sheet.columns, cells, strict=True)
    )


def _cell(tag: str, text: str, *, right: bool = False, scope: str = "") -> str:
    kind = "right" if right else CLASSES.get(text, "")
    attributes = (f' class="{kind}"' if kind else "") + (f' scope="{scope}"' if scope else "")
    return f"<{tag}{attributes}>{escape(text)}</{tag}>"


def _chart(number: int, chart: Chart) -> str:
    title, text, _ = chart
    return (
        f'<section><h2>{escape(title)}</h2><p class="note">{escape(text)}</p>'
        f'<div class="chart" id="chart-{number}" role="img" aria-label="{escape(f"{title}. {text}")}"></div></section>'
    )


def _failures(report: Overview) -> str:
    found = "".join(
        f'<h3 class="failed">{escape(title)}</h3><pre>{escape(error)}</pre>'
        for title, error in sheets.failures(report.rows)
    )
    return f"<section><h2>Failures</h2>{found}</section>" if found else ""


def _changes(report: Overview) -> str:
    parts = []
    for row in report.rows:
        if row.comparison and (row.comparison.layers or row.comparison.packages):
            layers = [f"layer {one.name}: {size(one.before)} → {size(one.after)}" for one in row.comparison.layers]
            packages = [one.text for one in row.comparison.packages]
            listed = "".join(f"<li>{escape(text)}</li>" for text in (*layers, *packages))
            parts.append(
                f"<details><summary>{escape(row.build.subject.title)} "
                f"<span>{escape(delta(row.comparison.size))} {escape(row.comparison.since)}</span></summary>"
                f"<ul>{listed}</ul></details>"
            )
    return f"<section><h2>What changed</h2>{''.join(parts)}</section>" if parts else ""


def _script(text: str) -> str:
    """JSON that no part of can end the element that it is in."""
    return text.replace("<", "\\u003c")
