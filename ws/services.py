"""What people want to know after a deployment: each service's address, health and version, and where secrets lie."""

import json
import urllib.request
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from config.notation import EVERYWHERE
from stack.identity import StackIdentity
from stack.state import stack_folder
from ws.containers import ContainerState, styled

STATUS_SECONDS = 5.0
# State of the health service's answer → the word that Docker uses.
STATES = {"up": "healthy", "down": "unhealthy"}
# file with a secret → services that ask for it, and what to tell people
SECRETS = {
    "redis-password": (("redis",), "Redis asks for the password in"),
    "postgres-password": (("postgres",), "Postgres asks for the password in"),
    "marimo-token": (("marimo",), "Marimo asks for the token in"),
    "ray-token": (("ray-cpu", "ray-gpu"), "Ray clients and jobs need the token in"),
}


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """One service of a deployed stack."""

    name: str
    url: str | None
    health: str
    version: str | None
    error: str | None
    warning: str | None = None


def health_report(found: Iterable[ContainerState]) -> dict[str, Any] | None:
    """The health service's report, asked where its container is published; None where it does not answer."""
    for one in found:
        if one.service == "health" and one.ports:
            address, _, port = one.ports[0].partition(" ")[0].rpartition(":")
            return ask_health(f"http://{'127.0.0.1' if address in (*EVERYWHERE, '*') else address}:{port}")
    return None


def uses(report: Mapping[str, Any] | None) -> dict[str, str]:
    """Service → what it uses of what is bounded, a line for each."""
    entries = (report or {}).get("services", ())
    return {entry["name"]: "\n".join(map(in_words, entry.get("usage") or ())) for entry in entries}


def in_words(usage: Mapping[str, Any]) -> str:
    """A part that is used: ``scratch 3.1 of 40.0 GB``."""
    unit, size = ("GB", 10**9) if usage["limit"] >= 10**9 else ("MB", 10**6)
    return f"{usage['name']} {usage['used'] / size:.1f} of {usage['limit'] / size:.1f} {unit}"


def services(
    found: list[ContainerState], urls: Mapping[str, str], status: Mapping[str, Any] | None
) -> list[ServiceState]:
    """Every service, from its container, its published address and what the health service says of it."""
    reported = {entry["name"]: entry for entry in (status or {}).get("services", ())}
    states = []
    for one in found:
        report = reported.get(one.service, {})
        health = STATES.get(report.get("state", ""), report.get("state", one.health))
        states.append(
            ServiceState(
                name=one.service,
                url=urls.get(one.service),
                health=health if one.health == "healthy" else one.health,
                version=report.get("version"),
                error=report.get("error"),
                warning=report.get("warning"),
            )
        )
    return states


def ask_health(url: str | None) -> dict[str, Any] | None:
    """The health service's report; None where it does not answer."""
    if not url:
        return None
    try:
        # No proxy: it is our own, and a proxy of the site cannot reach it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/status", timeout=STATUS_SECONDS) as answer:
            report: dict[str, Any] = json.load(answer)
            return report
    except (OSError, ValueError):
        return None


def table(states: list[ServiceState]) -> Table:
    """The table at the end of `ws up`."""
    shown = Table(box=None, pad_edge=False)
    for column in ("Service", "URL", "Health", "Version"):
        shown.add_column(column, overflow="fold")
    for one in states:
        health = styled(one.health)
        if one.error:
            health.append(f": {one.error}")
        elif one.warning:
            health.append(f", but {one.warning}", style="yellow")
        shown.add_row(one.name, one.url or "", health, one.version or "")
    return shown


def secret_hints(identity: StackIdentity, names: Container[str]) -> list[str]:
    """Where the secrets of services that people log in to were generated to; those of the stack config they know."""
    folder = stack_folder(identity) / "generated"
    return [
        f"{text} {folder / name}"
        for name, (askers, text) in SECRETS.items()
        if any(asker in names for asker in askers) and (folder / name).is_file()
    ]
