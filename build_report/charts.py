"""The page's charts. A layer has the same colour in all of them; the page adds its theme."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import plotly.graph_objects as go

from build_report.overview import Overview, Row
from build_report.phases import ORDER
from build_report.units import delta, duration, images, size

# Okabe and Ito's palette for colour blindness, with lighter and darker shades; grey for everything else.
COLOURS = (
    "#8a8f98", "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#5fcf9f", "#cc79a7",
    "#8f6bb8", "#b5a642", "#7a4a2b", "#c9ccd1",
)  # fmt: skip
BY_NAME = {name: COLOURS[position % len(COLOURS)] for position, name in enumerate(ORDER)}
DASHES = ("solid", "dash", "dot", "dashdot")
BAR = 30  # pixels per bar, spacing included
MARGINS = 150  # pixels above and below the bars

Chart = tuple[str, str, go.Figure]  # title, text alternative, and the figure


def charts(report: Overview) -> list[Chart]:
    """All charts that have data."""
    many = sum(row.image is not None for row in report.trend)
    drawn = [
        (
            "Layers of each image",
            "Solid: bytes that this image adds on disk. Pale: bytes shared with an image above, stored only once."
            f" {_sharing(report)}",
            layers(report.family),
        ),
        (
            "Time by phase",
            "Seconds per build of this run. Phases can overlap, so a bar can be longer than the build took.",
            phases(report.rows),
        ),
        (
            "Size over time",
            f"Unpacked size of each image over its last builds, {many} in all.",
            over_time(report.trend, lambda row: row.image.size / 1e9 if row.image else None, "GB", _size_text),
        ),
        (
            "Duration over time",
            "Build time of each image over its last builds.",
            over_time(report.trend, lambda row: row.build.seconds, "s", _time_text),
        ),
    ]
    return [chart for chart in drawn if chart[2].data]


def layers(rows: Sequence[Row]) -> go.Figure:
    """One bar per image, by layer; what an image above shares is pale."""
    own: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))  # layer → bar → bytes
    again: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    seen: set[str] = set()
    measured = [row for row in rows if row.image]
    for bar, row in enumerate(measured):
        for layer in row.image.layers if row.image else ():
            (again if layer.chain_id in seen else own)[layer.name][bar] += layer.size
            seen.add(layer.chain_id)
    titles = [row.build.subject.title for row in measured]
    figure = go.Figure()
    for name in ORDER:
        for part, bars, said in ((1.0, own[name], "on disk for this image"), (0.28, again[name], "shared")):
            if any(bars.values()):
                figure.add_bar(
                    y=[titles[bar] for bar in bars],
                    x=[count / 1e9 for count in bars.values()],
                    orientation="h",
                    name=name,
                    legendgroup=name,
                    showlegend=part == 1.0,
                    marker={"color": BY_NAME[name], "opacity": part},
                    customdata=[[size(count), said] for count in bars.values()],
                    hovertemplate=f"%{{y}}<br><b>{name}</b> %{{customdata[0]}}, %{{customdata[1]}}<extra></extra>",
                )
    return _bars(figure, titles, "GB")


def phases(rows: Sequence[Row]) -> go.Figure:
    """One bar per build, by phase."""
    timed = [row for row in rows if row.phases]
    titles = [row.build.subject.title for row in timed]
    figure = go.Figure()
    for name in ORDER:
        took = [(title, row.phases[name]) for title, row in zip(titles, timed, strict=True) if name in row.phases]
        if took:
            figure.add_bar(
                y=[title for title, _ in took],
                x=[seconds for _, seconds in took],
                orientation="h",
                name=name,
                marker={"color": BY_NAME[name]},
                customdata=[duration(seconds) for _, seconds in took],
                hovertemplate=f"%{{y}}<br><b>{name}</b> %{{customdata}}<extra></extra>",
            )
    return _bars(figure, titles, "s")


def over_time(
    rows: Sequence[Row], value: Callable[[Row], float | None], unit: str, text: Callable[[Row], str]
) -> go.Figure:
    """One line per image; failed builds are crosses."""
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if value(row) is not None:
            lines[row.build.subject.title].append(row)
    figure = go.Figure()
    # Colour shows the image, dashes the variant.
    colours = _one_each([builds[0].build.subject.image for builds in lines.values()], COLOURS[1:-1])
    dashes = _one_each([builds[0].build.subject.variant for builds in lines.values()], DASHES)
    for title, builds in sorted(lines.items()):
        subject = builds[0].build.subject
        figure.add_scatter(
            x=[datetime.fromtimestamp(row.build.started, UTC).isoformat() for row in builds],
            y=[value(row) for row in builds],
            name=title,
            mode="lines+markers",
            line={"color": colours[subject.image], "dash": dashes[subject.variant], "width": 2},
            marker={"size": 9, "symbol": ["circle" if row.build.result == "built" else "x" for row in builds]},
            customdata=[text(row) for row in builds],
            hovertemplate=f"<b>{title}</b><br>%{{x|%Y-%m-%d %H:%M}} UTC<br>%{{customdata}}<extra></extra>",
        )
    figure.update_layout(
        height=420,
        yaxis={"ticksuffix": f" {unit}"},
        xaxis={"type": "date"},
        legend={"orientation": "h", "y": -0.15, "yanchor": "top"},
        hovermode="closest",
    )
    return figure


def _one_each(names: Sequence[str | None], values: Sequence[str]) -> dict[str | None, str]:
    """A value for every name, starting over if there are too few."""
    return dict(zip(sorted(set(names), key=str), itertools.cycle(values), strict=False))


def _bars(figure: go.Figure, titles: Iterable[str], unit: str) -> go.Figure:
    titles = list(dict.fromkeys(titles))
    figure.update_layout(
        barmode="stack",
        height=MARGINS + BAR * len(titles),
        xaxis={"ticksuffix": f" {unit}", "side": "top"},
        # The first image at the top.
        yaxis={"categoryorder": "array", "categoryarray": titles[::-1], "automargin": True},
        legend={"orientation": "h", "y": 0, "yanchor": "top", "traceorder": "normal"},
        bargap=0.25,
    )
    return figure


def _sharing(report: Overview) -> str:
    sums = report.family_totals
    return f"{images(sums.images)} of {size(sums.size)} need {size(sums.unique)}."


def _size_text(row: Row) -> str:
    change = f" ({delta(row.comparison.size)})" if row.comparison else ""
    return (size(row.image.size) if row.image else "") + change


def _time_text(row: Row) -> str:
    return f"{duration(row.build.seconds)}, {row.cache} cache, {row.build.result}"
