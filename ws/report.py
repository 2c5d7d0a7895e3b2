"""Shows the build report on the terminal and writes it to files. build_report computes it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from build_report import compress, sheets
from build_report.overview import Overview, Row, overview
from build_report.records import Build, Image
from build_report.sheets import Sheet
from build_report.store import Store
from images.layers import OTHER
from ws.display import GAP, widths
from ws.errors import WsError

STYLES = {"built": "green", "failed": "bold red", "over budget": "bold yellow"}
RUNS = 10  # whose builds the trend shows, unless asked for others


@dataclass(frozen=True, kw_only=True)
class Files:
    """What to write, and where. None: it is not asked for."""

    markdown: Path | None = None
    html: Path | None = None
    sbom: Path | None = None  # a folder
    manifest: Path | None = None  # a folder


def show(
    out: Console,
    err: Console,
    *,
    last: int | None = None,
    image: str = "*",
    as_json: bool = False,
    compressed: bool = False,
    files: Files | None = None,
    store: Store | None = None,
) -> None:
    """Shows the last run, and with `last` the trend over as many; writes the files. Raises WsError, ReportError."""
    store = store or Store()
    report = _report(store, last, image)
    if compressed and _measure_compressed(report, store, err):
        report = _report(store, last, image)
    if as_json:
        from build_report.export import as_json as exported

        print(json.dumps(exported(report), indent=2))
    else:
        _print(report, out, trend=last is not None)
    _write(report, files or Files(), err)


def note(run: str, text: str, *, store: Store | None = None) -> str:
    """Keeps a remark on a run, named by the beginning of its name or as `last`. Returns the run. Raises WsError."""
    store = store or Store()
    found = store.runs("" if run == "last" else run)
    if not found:
        raise WsError(f"There is no run {run!r}.\n  `ws report --last 10` lists them; or write: last")
    if len(found) > 1 and run != "last":
        raise WsError(f"{len(found)} runs begin with {run!r}: {', '.join(found[:5])}.\n  Write more of the name.")
    store.add_note(found[0], " ".join(text.split()))
    return found[0]


def print_run(report: Overview, out: Console) -> None:
    """One run, as it is shown after the builds."""
    _print(report, out, trend=False)


def table(sheet: Sheet) -> Table:
    """A sheet for a terminal."""
    shown = Table(
        title=sheet.title or None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        box=None,
        show_footer=bool(sheet.last),
    )
    for position, column in enumerate(sheet.columns):
        footer = sheet.last[position] if sheet.last else ""
        shown.add_column(
            column.title,
            justify="right" if column.right else "left",
            footer=Text(footer, style="bold"),
            overflow="fold",
            no_wrap=column.right,
        )
    for cells in sheet.cells:
        shown.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in cells))
    return shown


def _report(store: Store, last: int | None, image: str) -> Overview:
    report = overview(store, runs=last or RUNS, image=image)
    if report is not None:
        return report
    if known := list(dict.fromkeys(build.subject.image for build in store.newest(failed=True))):
        raise WsError(f"Nothing of images like {image!r} was built yet.\n  There are builds of: {', '.join(known)}")
    raise WsError("Nothing was built yet.\n  Run: ws matrix")


def _print(report: Overview, out: Console, *, trend: bool) -> None:
    shown = [sheets.results(report)]
    if any(row.phases.keys() - {OTHER} for row in report.rows):
        shown.append(sheets.phase_times(report))
    if any(row.build.usage for row in report.rows):
        shown.append(sheets.host(report))
    _print_sheets(shown, out)
    for title, text in sheets.growth(report.rows):
        out.print(Text.assemble("\n", (title, "bold"), f": {text}"), soft_wrap=True)
    for text in sheets.remarks(report):
        out.print(Text(f"\n{text}"), soft_wrap=True)
    for title, error in sheets.failures(report.rows):
        out.print(Text.assemble("\n✗ ", (title, "bold"), ":\n", error, style="red"), soft_wrap=True)
    if trend:
        out.print()
        _print_sheets([sheets.trend(report)], out)


def in_parts(sheet: Sheet, width: int) -> list[Sheet]:
    """The sheet in parts that are no wider than a terminal; each says which image a line is about."""
    wide = widths([[column.title for column in sheet.columns], *sheet.cells, *([sheet.last] if sheet.last else [])])
    titles = [column.title for column in sheet.columns]
    names = list(range(titles.index("Image") + 1))
    parts = [names]
    for position in range(len(names), len(titles)):
        if len(parts[-1]) > len(names) and sum(wide[i] for i in [*parts[-1], position]) - GAP > width:
            parts.append(names)
        parts[-1] = [*parts[-1], position]
    return [
        replace(
            sheet,
            title=sheet.title if part is parts[0] else "",
            columns=[sheet.columns[i] for i in part],
            last=[sheet.last[i] for i in part if sheet.last],
            note=sheet.note if part is parts[-1] else "",
        )
        for part in parts
    ]


def _print_sheets(shown: Iterable[Sheet], out: Console) -> None:
    for position, part in enumerate(part for sheet in shown for part in in_parts(sheet, out.width)):
        if position:
            out.print()
        out.print(table(part))
        if part.note:
            out.print(Text(part.note, style="dim"))


def _measure_compressed(report: Overview, store: Store, err: Console) -> bool:
    """Measures compressed sizes that are not known yet. Returns whether there were any."""
    images = [row.image for row in report.rows if row.image]
    missing = compress.missing(images)
    if not missing:
        return False
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        # Tar adds to what the layers hold, and shared layers come more than once: an estimate.
        total = sum(image.size for image in compress.to_save(images))
        task = progress.add_task(f"compressing {len(missing)} layers", total=total)
        compress.measure(images, store, lambda count: progress.advance(task, count))
    return True


def _write(report: Overview, files: Files, err: Console) -> None:
    from build_report.markdown import document, manifest

    if files.markdown:
        _save(files.markdown, document(report), err)
    if files.html:
        from build_report.page import page

        _save(files.html, page(report), err)
    if files.manifest:
        _per_image(report, files.manifest, ".md", manifest, err)
    if files.sbom:
        from build_report.sbom import sbom

        _per_image(report, files.sbom, ".cdx.json", sbom, err)


def _per_image(
    report: Overview, folder: Path, ending: str, content: Callable[[Build, Image], str], err: Console
) -> None:
    """A file for each image that there is."""
    for row in report.family:
        if row.image:
            _save(folder / f"{_file_name(row)}{ending}", content(row.build, row.image), err)


def _file_name(row: Row) -> str:
    subject = row.build.subject
    return "-".join(part for part in subject.title.replace("/", " ").split(" ") if part)


def _save(path: Path, text: str, err: Console) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WsError(f"{path} cannot be written: {error.strerror}. Choose another path.") from error
    err.print(Text(f"wrote {path}"), soft_wrap=True)
