"""The alerts that fire, asked from this host's Alertmanager."""

import json

from contracts.alerts import ALERTS_PATH, Alert, alerts_in
from contracts.health import Kind, WatchedService
from entrypoints.health.asker import Asker, timed


async def ask_alerts(address: str | None, asker: Asker) -> tuple[Alert, ...]:
    """Return the alerts that nobody silenced; none where Alertmanager does not answer, which is an alert of its own."""
    if address is None:
        return ()
    host, _, port = address.rpartition(":")
    service = WatchedService(name="alertmanager", kind=Kind.ALERTMANAGER, host=host, port=int(port))
    answer = await timed(asker.in_time(asker.get(service, f"{ALERTS_PATH}?silenced=false&inhibited=false")), service)
    try:
        return alerts_in(json.loads(answer.found or "[]"))
    except ValueError:  # AnswerError is one
        return ()
