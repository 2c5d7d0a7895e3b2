"""The health page: page.html, filled by Jinja2, which escapes whatever comes from other programs.

It needs no script and no other file. Its style is page.css, the only style that the page's CSP allows.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contracts.alerts import Alert
from contracts.status import HostState, NodeStatus, Overall, State, Status
from entrypoints.health.probes import in_words

FOLDER = Path(__file__).parent
STYLE = (FOLDER / "page.css").read_text(encoding="utf-8")
REFRESH_SECONDS = 5
EVENTS_SHOWN = 10
LOOPBACK = "127.0.0.1"
MARKS = {
    **dict.fromkeys((State.UP.value, Overall.HEALTHY.value, "alive"), "●"),
    **dict.fromkeys((State.DOWN.value, Overall.UNHEALTHY.value, "missing"), "✕"),
    State.STARTING.value: "◐",
    HostState.MAINTENANCE.value: "◌",
    "old": "○",
}
ICON_COLOURS = {Overall.HEALTHY.value: "%231a7f37", Overall.UNHEALTHY.value: "%23cf222e"}
PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src "
    f"'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
}


def _clock(time_in_utc: str) -> str:
    return time_in_utc.replace("T", " ").replace("Z", " UTC")


def _node_state(node: NodeStatus) -> str:
    return "alive" if node.alive else "missing" if node.expected else "old"


def _sentence(clause: str) -> str:
    return clause[:1].upper() + clause[1:]


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
TEMPLATES.filters |= {"clock": _clock, "in_words": in_words, "node_state": _node_state, "sentence": _sentence}
TEMPLATES.tests |= {"web": _is_web}
TEMPLATES.globals |= {
    "style": Markup(STYLE),  # noqa: S704 - our own file
    "marks": MARKS,
    "icon_colours": ICON_COLOURS,
    "refresh_seconds": REFRESH_SECONDS,
    "events_shown": EVENTS_SHOWN,
}


def page(status: Status, *, refresh: bool, reached_at: str, alerts: Sequence[Alert] = ()) -> str:
    """Return the page as HTML; it loads itself again unless refresh is False.

    reached_at is the host name that the reader used. A port that is open to the network is published on the loopback
    address too, and is linked with the address that works for the reader.
    """

    def reachable(url: str) -> str:
        parts = urlsplit(url)
        if parts.hostname != LOOPBACK:
            return url
        host = f"[{reached_at}]" if ":" in reached_at else reached_at
        return parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host).geturl()

    return TEMPLATES.get_template("page.html").render(
        status=status, refresh=refresh, reachable=reachable, alerts=alerts
    )
