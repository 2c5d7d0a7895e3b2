"""Reports the results of bench/images.py as a table and as a section of docs/benchmarks.md."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from bench.family import Sizes
from bench.naive import NaiveRun
from bench.scenarios import Measurement
from build_report.units import whole_duration

GB = 1e9
# Title of the build → what it was with hand-built images, and the goal; GB, unpacked.
SIZE_GOALS = {
    "ray-runtime cuda13.1.1-py3.14": (20.6, 5.9),
    "ray-runtime cuda12.8.1-py3.14": (20.6, 8.4),
    "marimo-runtime cuda13.1.1-py3.14": (14.5, 6.0),
    "devel cuda13.1.1-py3.14": (29.4, 6.0),
}
UNIQUE_FORMER, UNIQUE_GOAL = 250.0, 25.0
TIME_COLUMNS = ("what", "former", "goal", "measured", "images built", "context sent", "")


def table(measurements: Sequence[Measurement], peer: Sequence[NaiveRun]) -> Table:
    """The times, for a terminal."""
    shown = Table(title="The image family", title_justify="left", box=None, pad_edge=False)
    for column in TIME_COLUMNS:
        shown.add_column(column)
    for cells in (*time_rows(measurements), *naive_rows(peer)):
        shown.add_row(*cells)
    return shown


def time_rows(measurements: Sequence[Measurement]) -> Iterator[tuple[str, ...]]:
    """A row for each scenario, in the order of `TIME_COLUMNS`."""
    for measurement in measurements:
        scenario, run = measurement.scenario, measurement.run
        reached = run.images == run.sent == 0 if scenario.goal is None else run.seconds <= scenario.goal
        yield (
            scenario.means,
            scenario.former,
            "0 builds, 0 bytes" if scenario.goal is None else whole_duration(scenario.goal),
            _seconds(run.seconds),
            str(run.images),
            f"{run.sent / 1e3:.0f} kB",
            _verdict(reached),
        )


def naive_rows(peer: Sequence[NaiveRun]) -> Iterator[tuple[str, ...]]:
    """A row for each build of the peer."""
    for run in peer:
        yield f"the naive Dockerfile, {run.scenario}", "", "", _seconds(run.seconds), "1", "", f"{run.size / GB:.1f} GB"


def size_rows(sizes: Sizes) -> Iterator[tuple[str, ...]]:
    """Each image, and all of them."""
    for title, size in sorted(sizes.images.items()):
        former, goal = SIZE_GOALS.get(title, (None, None))
        yield (
            title,
            f"{former} GB" if former else "",
            f"{goal} GB" if goal else "",
            f"{size / GB:.2f} GB",
            _verdict(size / GB <= goal) if goal else "",
        )
    yield f"sum of these {len(sizes.images)}", "", "", f"{sizes.sum / GB:.1f} GB", ""
    unique = sizes.unique / GB
    yield (
        "unique bytes of all",
        f"{UNIQUE_FORMER:.0f} GB",
        f"{UNIQUE_GOAL:.0f} GB",
        f"{unique:.1f} GB",
        _verdict(unique <= UNIQUE_GOAL),
    )


def markdown(
    measurements: Sequence[Measurement],
    sizes: Sizes,
    peer: Sequence[NaiveRun],
    host: dict[str, str],
    options: Sequence[str],
) -> str:
    """The section of the document."""
    lines = [
        "## The image family",
        "",
        "`ws matrix` with the embedded engine, two builds at a time, each scenario on what the one before it left.",
        "Wall time of the whole command: set-up, checks, builds, measuring each image, report. Cold: no base image, no",
        "build cache, no package cache; packages come over the network. Former: hand-built images, elsewhere.",
        "",
        *_markdown_table(TIME_COLUMNS, (*time_rows(measurements), *naive_rows(peer))),
        "",
        "The naive Dockerfile (`bench/naive/Dockerfile`) holds the packages of `marimo-devel` on the layout of a CUDA",
        "devel base; it found its Debian base made already.",
        "",
        "Unpacked sizes, as `docker image ls` says them. Unique: each layer once, as a daemon keeps it.",
        "",
        *_markdown_table(("image", "former", "goal", "measured", ""), size_rows(sizes)),
        "",
        "; ".join(f"{name}: {value}" for name, value in host.items()) + ".",
        f"Command: `python -m bench.images {' '.join(options)}`.",
    ]
    return "\n".join(lines)


def _markdown_table(columns: Sequence[str], rows: Sequence[tuple[str, ...]] | Iterator[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *(f"| {' | '.join(row)} |" for row in rows)]


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else whole_duration(seconds)


def _verdict(reached: bool) -> str:
    return "reached" if reached else "**missed**"
