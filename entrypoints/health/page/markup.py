"""What pages of this platform have in common: Jinja2 that escapes, the macros of tables and states, filters, marks.

The health service's home page and the queue's page stand on it, each with templates of its own.
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contracts.status import HostState, Overall, State
from entrypoints.health.page.assets import STYLE
from entrypoints.health.page.words import clock, code, duration, gigabytes, iso, sentence

MACROS = Path(__file__).with_suffix("")
MARKS = {
    **dict.fromkeys(
        (
            State.UP.value,
            Overall.HEALTHY.value,
            "alive",
            "SUCCEEDED",
            "succeeded",
            "FINISHED",
            "passed",
            "built",
            "done",
            "unchanged",
        ),
        "●",
    ),
    **dict.fromkeys((State.DOWN.value, Overall.UNHEALTHY.value, "missing", "FAILED", "failed", "lost", "drift"), "✕"),
    **dict.fromkeys((State.STARTING.value, "RUNNING", "running", "stopping"), "◐"),
    **dict.fromkeys((HostState.MAINTENANCE.value, "PENDING", "SCHEDULED", "waiting"), "◌"),
}
OTHER_MARK = "○"
ICON_COLOURS = {Overall.HEALTHY.value: "%231a7f37", Overall.UNHEALTHY.value: "%23cf222e"}


def environment(folder: Path) -> Environment:
    """Templates of a folder, which may import `macros.html`."""
    found = Environment(
        loader=FileSystemLoader((folder, MACROS)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "clock": clock,
        "code": code,
        "duration": duration,
        "gigabytes": gigabytes,
        "iso": iso,
        "sentence": sentence,
    }
    found.tests |= {"web": is_web}
    found.globals |= {
        "mark": lambda state: MARKS.get(state, OTHER_MARK),
        "icon_colours": ICON_COLOURS,
        "style": Markup(STYLE),  # noqa: S704 - our own file
    }
    return found


def is_web(url: str) -> bool:
    """Whether browsers open it."""
    return url.startswith(("http://", "https://"))
