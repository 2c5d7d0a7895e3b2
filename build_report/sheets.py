"""The report as tables of text, shared by the terminal, Markdown and the page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from build_report.advice import slowest
from build_report.overview import Overview, Row
from build_report.phases import ORDER, PUSH
from build_report.units import NOTHING, delta, duration, images, moment, percent, seconds_delta, size

HISTORY = (
    " For builds without BuildKit's step times: the time between layers in the image's history;"
    " for the first layer an upper bound."
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column."""

    title: str
    cell: Callable[[Row], str]
    right: bool = True  # numbers


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    last: Sequence[str] = ()  # totals
    note: str = ""

    @property
    def cells(self) -> list[list[str]]:
        """The cells of all rows, without the totals."""
        return [[column.cell(row) for column in self.columns] for row in self.rows]


def _shared(row: Row) -> str:
    return percent(row.shared, row.image.size) if row.image and row.shared is not None else NOTHING


def _usage(value: Callable[..., str]) -> Callable[[Row], str]:
    return lambda row: value(row.build.usage) if row.build.usage else NOTHING


def _disk(before: int | None, after: int | None) -> str:
    return delta(None if before is None or after is None else before - after)


IMAGE = Column(title="Image", cell=lambda row: row.build.subject.title, right=False)
RESULT = Column(title="Result", cell=lambda row: row.build.result, right=False)
TIME = Column(title="Time", cell=lambda row: duration(row.build.seconds))
SIZE = Column(title="Size", cell=lambda row: size(row.image.size if row.image else None))
CACHE = Column(title="Cache", cell=lambda row: row.cache, right=False)
SIZE_CHANGE = Column(title="Size ±", cell=lambda row: delta(row.comparison.size if row.comparison else None))
TIME_CHANGE = Column(title="Time ±", cell=lambda row: seconds_delta(row.comparison.seconds if row.comparison else None))

BUILD = (IMAGE, RESULT, CACHE, TIME, TIME_CHANGE, SIZE, SIZE_CHANGE)
RESULTS = (
    *BUILD,
    Column(title="Compressed", cell=lambda row: size(row.image.compressed if row.image else None)),
    Column(title="Shared", cell=_shared),
    Column(title="Base of", cell=lambda row: (row.image.base_date if row.image else "") or NOTHING, right=False),
)
TREND = (
    Column(title="Started", cell=lambda row: moment(row.build.started), right=False),
    *BUILD,
    Column(title="Ended", cell=lambda row: moment(row.build.finished), right=False),
    Column(title="Push", cell=lambda row: duration(row.phases.get(PUSH)) if PUSH in row.phases else NOTHING),
    Column(title="Platform", cell=lambda row: row.build.subject.platform, right=False),
    Column(title="Run", cell=lambda row: row.build.run, right=False),
    Column(title="Notes", cell=lambda row: row.note or NOTHING, right=False),
)
HOST = (
    IMAGE,
    Column(title="CPU mean", cell=_usage(lambda used: f"{used.cpu_mean:.0f} %")),
    Column(title="CPU peak", cell=_usage(lambda used: f"{used.cpu_peak:.0f} %")),
    Column(title="Memory peak", cell=_usage(lambda used: size(used.memory_peak))),
    Column(title="Disk free before", cell=_usage(lambda used: size(used.disk_before))),
    Column(title="after", cell=_usage(lambda used: size(used.disk_after))),
    Column(title="used", cell=_usage(lambda used: _disk(used.disk_before, used.disk_after))),
    Column(title="Context sent", cell=lambda row: size(row.build.sent)),
    Column(title="Engine", cell=lambda row: row.build.engine, right=False),
    Column(title="Docker", cell=lambda row: row.build.builder or NOTHING, right=False),
    Column(title="Platform", cell=lambda row: row.build.subject.platform, right=False),
)


def results(report: Overview) -> Sheet:
    """The run's builds, with totals."""
    sums = {
        "Image": f"{images(report.totals.images)}, {size(report.totals.unique)} unique",
        "Time": duration(report.seconds),
        "Size": size(report.totals.size),
        "Compressed": size(report.totals.compressed),
        "Shared": percent(report.totals.size - report.totals.unique, report.totals.size),
    }
    return Sheet(
        title=f"Builds, {moment(report.started)}",
        columns=RESULTS,
        rows=report.rows,
        last=[sums.get(column.title, "") for column in RESULTS],
        note="Sizes are unpacked. Shared: with the newest builds of other images; in the last row, what sharing saves"
        " on one disk. Compressed, in the last row: each distinct layer once.",
    )


def phase_times(report: Overview) -> Sheet:
    """The run's builds, by phase."""
    names = [name for name in ORDER if any(name in row.phases for row in report.rows)]
    history = any(row.build.timing == "history" for row in report.rows)
    return Sheet(
        title="Time by phase, seconds",
        columns=(IMAGE, *(_phase(name) for name in names)),
        rows=[row for row in report.rows if row.phases],
        note="Phases overlap, and builds wait for shared steps. A push comes after the build's time."
        + HISTORY * history,
    )


def host(report: Overview) -> Sheet:
    """What the host used during the builds."""
    return Sheet(
        title="Host during the build", columns=HOST, rows=report.rows, note="For the whole host, including other work."
    )


def trend(report: Overview) -> Sheet:
    """The builds of the last runs, by image."""
    rows = sorted(report.trend, key=lambda row: (row.build.subject.title, row.build.started))
    return Sheet(title="Trend", columns=TREND, rows=rows)


def growth(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Images that changed, with what changed."""
    return [
        (row.build.subject.title, row.comparison.text)
        for row in rows
        if row.comparison and (row.comparison.layers or row.comparison.packages)
    ]


def remarks(report: Overview) -> list[str]:
    """What else is to be said of the run: its slowest phase, sizes of indexes, the build cache, notes."""
    texts = [slowest(report.rows)]
    for title, sizes in report.indexes.items():
        parts = " + ".join(f"{platform} {size(count)}" for platform, count in sizes.items())
        texts.append(f"{title}, all platforms of its index: {size(sum(sizes.values()))} ({parts})")
    if report.cache_bytes:
        before, after = report.cache_bytes
        now = "" if after is None else f", {size(after)} after ({delta(after - before)})"
        texts.append(f"Docker's build cache: {size(before)} before{now}")
    texts += dict.fromkeys(f"Note: {row.note}" for row in report.rows if row.note)
    return [text for text in texts if text]


def failures(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Failed builds and images over budget, with the reason."""
    return [(row.build.subject.title, row.build.error) for row in rows if row.build.result != "built"]


def _phase(name: str) -> Column:
    return Column(title=name, cell=lambda row: f"{row.phases[name]:.1f}" if name in row.phases else NOTHING)
