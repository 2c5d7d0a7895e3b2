"""The page's templates, filled by Jinja2, which escapes whatever comes from other programs.

Each section is a template of its own: the page holds them all, and afterwards a stream sends those that changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from entrypoints.health.page.charts import RANGES, charts_with
from entrypoints.health.page.faults import Broken, reraised
from entrypoints.health.page.markup import environment, is_web
from entrypoints.health.page.snapshot import Snapshot
from entrypoints.health.page.tiles import tiles
from entrypoints.health.page.words import counted, node_state
from entrypoints.health.probes import in_words

FOLDER = Path(__file__).with_suffix("")
REFRESH_SECONDS = 5
EVENTS_SHOWN = 10
JOBS_SHOWN = 50  # a sweep of thousands must not make a page of megabytes, which each open page would get anew
LOOPBACK = "127.0.0.1"
# In the order of the page, with the charts between them; each is templates/NAME.html.
HEADER, ABOVE, BELOW = (
    "summary",
    ("alerts", "tiles", "services", "nodes", "gpus", "jobs", "runs"),
    ("hosts", "deployment", "upkeep"),
)
PLAIN = ("alerts", "tiles")  # sections that have no frame
TITLES = {"gpus": "GPUs", "nodes": "Ray nodes", "runs": "Last MLflow runs", "tiles": "At a glance"}  # else as the name
# Kind of a service → the name of its page, and the path to it.
FRONT_ENDS = {
    "mlflow": ("MLflow", ""),
    "marimo": ("Marimo notebooks", ""),
    "queue": ("Queue", ""),
    "transcription-frontend": ("Transcription", ""),
    "prometheus": ("Prometheus", "/classic/graph"),
    "grafana": ("Grafana", ""),
}


@dataclass(frozen=True)
class FrontEnd:
    """A page that people open."""

    name: str
    url: str


TEMPLATES = environment(FOLDER)
TEMPLATES.filters |= {"counted": counted, "in_words": in_words, "node_state": node_state}
TEMPLATES.globals |= {
    "refresh_seconds": REFRESH_SECONDS,
    "events_shown": EVENTS_SHOWN,
    "jobs_shown": JOBS_SHOWN,
    "above": ABOVE,
    "below": BELOW,
    "plain": PLAIN,
    "header": HEADER,
    "titles": TITLES,
    "ranges": RANGES,
}


def sections(shown: Snapshot, *, reached_at: str, broken: Broken = reraised) -> dict[str, str]:
    """The HTML of each section by name; empty where there is nothing to say.

    A section that cannot be shown says so in its place, and broken is told why.
    """
    values = _values(shown, reached_at)
    found = {}
    for name in (HEADER, *ABOVE, *BELOW):
        try:
            if name in shown.faults:
                raise shown.faults[name]
            found[name] = TEMPLATES.get_template(f"{name}.html").render(values).strip()
        except Exception as error:  # noqa: BLE001 - one section's surprise must not be the whole page's
            broken(name, error)
            fault = {"name": name, "error": type(error).__name__, "stack": values["stack"]}
            found[name] = TEMPLATES.get_template("broken.html").render(fault).strip()
    return found


def page(
    shown: Snapshot,
    *,
    reached_at: str,
    addresses: Mapping[str, str],
    refresh: bool = True,
    version: str = "",
    broken: Broken = reraised,
) -> str:
    """The whole page as HTML; without scripts it loads itself again unless refresh is False.

    reached_at is the host name that the reader used. A port that is open to the network is published on the loopback
    address too, and is linked with the address that works for the reader. addresses: those of the files of the page.
    version: the one that the stream of this service tells.
    """
    return TEMPLATES.get_template("page.html").render(
        _values(shown, reached_at),
        sections=sections(shown, reached_at=reached_at, broken=broken),
        refresh=refresh,
        addresses=addresses,
        version=version,
        charts=charts_with(shown.exporter) if shown.prometheus else {},
    )


def frame() -> str:
    """What is around the sections: their order, and the template of the page."""
    return " ".join((*ABOVE, *BELOW, (FOLDER / "page.html").read_text(encoding="utf-8")))


def _values(shown: Snapshot, reached_at: str) -> dict[str, Any]:
    def reachable(url: str) -> str:
        parts = urlsplit(url)
        if parts.hostname != LOOPBACK:
            return url
        host = f"[{reached_at}]" if ":" in reached_at else reached_at
        return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()

    return {
        "shown": shown,
        "status": shown.status,
        "ray": shown.status.ray,
        "cluster": shown.status.cluster,
        "overall": shown.status.state.value,
        "stack": shown.status.stack or "platform",
        "reachable": reachable,
        # Called in their sections, whose fault it is where they fail.
        "tiles": lambda: tuple(tiles(shown)),
        "front_ends": lambda: _front_ends(shown),
    }


def _front_ends(shown: Snapshot) -> list[FrontEnd]:
    head = shown.status.ray.head
    found = [FrontEnd("Ray dashboard", head.dashboard)] if head and head.dashboard else []
    for service in shown.status.services:
        if service.kind in FRONT_ENDS and service.url and is_web(service.url):
            name, path = FRONT_ENDS[service.kind]
            person = service.name.removeprefix(service.kind).removeprefix("-")  # of a person's own notebooks
            found.append(FrontEnd(f"{name} of {person}" if person else name, f"{service.url}{path}"))
    return found
