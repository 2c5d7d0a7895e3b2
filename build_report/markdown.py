"""The report as Markdown: in full, and as a short summary."""

from collections.abc import Iterable

from build_report import sheets
from build_report.overview import Overview
from build_report.records import Build, Image
from build_report.sheets import Sheet
from build_report.units import delta, duration, images, moment, percent, size

MOST = 10  # lines of one kind in a summary
LONGEST = 300  # characters of a reason in a summary


def document(report: Overview) -> str:
    """The full report."""
    parts = [f"# Build report, {moment(report.started)}", headline(report)]
    if report.not_built:
        parts.append("## Failures")
        parts += [f"**{_text(title)}**\n\n```\n{error}\n```" for title, error in sheets.failures(report.rows)]
    shown = (sheets.results(report), sheets.phase_times(report), sheets.host(report))
    parts += [_sheet(sheet) for sheet in shown if sheet.rows]
    if remarks := sheets.remarks(report):
        parts.append("## Remarks\n\n" + "\n".join(f"- {_text(text)}" for text in remarks))
    if grown := sheets.growth(report.rows):
        parts.append("## What changed\n\n" + "\n".join(f"- **{_text(title)}**: {_text(text)}" for title, text in grown))
    parts.append(_sheet(sheets.trend(report)))
    return "\n\n".join(parts) + "\n"


def summary(report: Overview) -> str:
    """A run in a few lines: what was built, what failed, what grew most."""
    parts = [headline(report)]
    parts += failures_in_short(sheets.failures(report.rows))
    grown = sorted(
        (row for row in report.rows if row.comparison and row.comparison.size),
        key=lambda row: -abs(row.comparison.size if row.comparison else 0),
    )
    parts += _few(
        f"{_text(row.build.subject.title)}: {delta(row.comparison.size)} to {size(row.image.size)}"
        for row in grown
        if row.comparison and row.image
    )
    return "\n".join(parts)


def failures_in_short(failures: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each of the first failures, given as title and reason."""
    return _few(f"✗ **{_text(title)}**: {_text(_short(error))}" for title, error in failures)


def headline(report: Overview) -> str:
    """The run in one line."""
    over = sum(row.build.result == "over budget" for row in report.rows)
    failed = len(report.not_built) - over
    bad = "".join(f", {count} {what}" for count, what in ((failed, "failed"), (over, "over budget")) if count)
    sums = report.totals
    return (
        f"**{len(report.built)} of {len(report.rows)} builds succeeded{bad}**, in {duration(report.seconds)}: "
        f"{images(sums.images)} of {size(sums.size)}, {size(sums.unique)} unique"
        f" ({percent(sums.size - sums.unique, sums.size)} saved by sharing)."
    )


def manifest(build: Build, image: Image) -> str:
    """What is in one image."""
    facts = {
        "Tag": build.tag,
        "Image ID": image.image_id,
        "Platform": build.subject.platform,
        "Built": moment(build.started),
        "Size": f"{size(image.size)} ({image.size} bytes)",
        "Compressed": size(image.compressed),
        "Distribution": image.distribution,
        "Base image of": image.base_date,
        "Python": image.python,
        "torch": image.torch,
        "torch.version.cuda": image.torch_cuda,
    }
    parts = [
        f"# {build.subject.title}",
        _table(("", ""), (True, True), [[name, value] for name, value in facts.items() if value]),
        "## Labels",
        _table(("Label", "Value"), (False, False), [[name, value] for name, value in sorted(image.labels.items())]),
        "## Layers",
        _table(
            ("Layer", "Size", "Content"),
            (False, True, False),
            [[layer.name, size(layer.size), layer.diff_id] for layer in image.layers],
        ),
    ]
    for kind, title in (("python", "Python packages"), ("debian", "Debian packages")):
        listed = [[one.name, one.version, size(one.size)] for one in image.packages if one.kind == kind]
        if listed:
            parts += [f"## {title}", _table(("Package", "Version", "Size"), (False, False, True), listed)]
    return "\n\n".join(parts) + "\n"


def _sheet(sheet: Sheet) -> str:
    lines = [*sheet.cells, *([[f"**{cell}**" if cell else "" for cell in sheet.last]] if sheet.last else [])]
    table = _table([column.title for column in sheet.columns], [column.right for column in sheet.columns], lines)
    return f"## {sheet.title}\n\n{table}" + (f"\n\n{sheet.note}" if sheet.note else "")


def _table(titles: Iterable[str], right: Iterable[bool], lines: Iterable[Iterable[str]]) -> str:
    rule = ["---:" if one else "---" for one in right]
    return "\n".join(f"| {' | '.join(map(_text, line))} |" for line in (list(titles), rule, *lines))


def _text(text: str) -> str:
    """Escapes a text for a table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _few(lines: Iterable[str]) -> list[str]:
    """A Markdown list, cut to its first lines."""
    found = [f"- {line}" for line in lines]
    return found if len(found) <= MOST else [*found[:MOST], f"- and {len(found) - MOST} more"]
