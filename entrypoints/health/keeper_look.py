"""Services without a port to ask: the keeper, and the firewall, of which the keeper tells (contracts/keeper.py)."""

import time
from pathlib import Path

from contracts.document import DocumentError, load
from contracts.health import Kind, WatchedService
from contracts.keeper import Look
from contracts.status import Reason, ServiceStatus
from coordination.regular_file import read_text
from entrypoints.health.failure import FailureError
from entrypoints.health.probes import Finding, service_status

KINDS = (Kind.KEEPER, Kind.FIREWALL, Kind.TLS)
STALE_SECONDS = 60.0  # the keeper writes at least each quarter of a minute, unless Docker does not answer


def last_look(path: Path | None) -> Look | None:
    """What the keeper saw last; None where it has not looked yet."""
    try:
        return load(Look, read_text(path)) if path else None
    except (OSError, ValueError, DocumentError):
        return None


def kept_service(service: WatchedService, look: Look | None) -> ServiceStatus:
    """The keeper is up if it looked a short time ago; another service if its container was then healthy."""
    failure = _of_keeper(look) if service.kind is Kind.KEEPER else _of_container(service.name, look)
    return service_status(service, Finding(), None, failure)


def _of_keeper(look: Look | None) -> FailureError | None:
    if look is None:
        return FailureError(Reason.STARTING, "has not looked at the stack's containers yet")
    age = time.monotonic() - look.time
    if 0 <= age < STALE_SECONDS:
        return None
    # The clock begins anew with the host: an older look is from before.
    since = f"for {age:.0f} s" if age > 0 else "since this host started"
    return FailureError(Reason.TIMEOUT, f"has not looked at the stack's containers {since}")


def _of_container(name: str, look: Look | None) -> FailureError | None:
    if look is None:
        return FailureError(Reason.STARTING, "the keeper has not looked at its container yet")
    state = look.services.get(name, "gone")
    if state == "healthy":
        return None
    if state == "starting":
        return FailureError(Reason.STARTING, "its container is starting")
    reason = Reason.WRONG_ANSWER if state == "unhealthy" else Reason.NAME_UNKNOWN
    return FailureError(reason, f"its container is {state}, says the keeper")
