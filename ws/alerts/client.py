"""Client of a stack's Alertmanager, at its published port."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from config.ports import ALERTMANAGER
from contracts.alerts import ALERTS_PATH, SILENCE_PATH, SILENCES_PATH, Alert, AnswerError, Silence
from contracts.alerts import alerts_in as alerts_of
from contracts.alerts import silences_in as silences_of
from ws.containers import ContainerState
from ws.errors import WsError

SECONDS = 5.0
SERVICE = "alertmanager"
NEEDED = ("prometheus", SERVICE)
HEALTH, HEALTH_DOWN = "health", "HealthDown"


def address_of(found: Iterable[ContainerState]) -> str | None:
    """Where Alertmanager's container is reached (a URL); None where there is none."""
    return next((one.url(ALERTMANAGER) for one in found if one.service == SERVICE), None)


def firing(found: Iterable[ContainerState]) -> tuple[Alert, ...]:
    """The alerts of a stack; none where no Alertmanager answers."""
    address = address_of(found)
    try:
        return Alertmanager(address).alerts() if address else ()
    except WsError:
        return ()  # its own health says that


def stopped(found: Iterable[ContainerState]) -> str:
    """Why it is not known which alerts fire: what must run for that and does not; empty if all runs.

    Without Prometheus no alert fires, and those that fired are forgotten after some minutes.
    """
    services = [one.service for one in found if one.service in NEEDED and one.state != "running"]
    if not services:
        return ""
    verb = "does" if len(services) == 1 else "do"
    return f"{' and '.join(services)} {verb} not run, so which alerts fire is not known"


def outdated(found: Iterable[ContainerState], alerts: Iterable[Alert]) -> str:
    """Why alerts may no longer be true: the health service, on whose figures most rest, does not answer; else empty."""
    ill = any(one.service == HEALTH and one.health not in ("healthy", "starting") for one in found)
    if not ill and not any(one.name == HEALTH_DOWN for one in alerts):
        return ""
    return "The health service does not answer: alerts on what it watches keep their last state, and no new ones come"


@dataclass(frozen=True)
class Alertmanager:
    """Alertmanager at a URL. Every method raises `WsError` if it does not answer, or refuses."""

    url: str

    def alerts(self) -> tuple[Alert, ...]:
        """All that fire, those that are silenced included."""
        try:
            return alerts_of(self._ask(ALERTS_PATH))
        except AnswerError as error:
            raise self._strange(error) from error

    def silences(self) -> tuple[Silence, ...]:
        """Those that have not expired."""
        try:
            return silences_of(self._ask(SILENCES_PATH))
        except AnswerError as error:
            raise self._strange(error) from error

    def silence(self, labels: Mapping[str, str], *, start: str, end: str, author: str, comment: str) -> str:
        """Silences alerts with these labels between two times; returns the silence's ID."""
        matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels.items()]
        wanted = {"matchers": matchers, "startsAt": start, "endsAt": end, "createdBy": author, "comment": comment}
        return str(self._ask(SILENCES_PATH, body=wanted)["silenceID"])

    def unsilence(self, identifier: str) -> None:
        """Ends a silence."""
        self._ask(f"{SILENCE_PATH}/{identifier}", method="DELETE")

    def _ask(self, path: str, *, method: str | None = None, body: object = None) -> Any:  # noqa: ANN401 - JSON
        content = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(  # noqa: S310  (http)
            f"{self.url}{path}", data=content, headers={"Content-Type": "application/json"}, method=method
        )
        # No proxy: a site's proxy cannot reach our own services.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=SECONDS) as response:
                text = response.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode(errors="replace").split())
            raise WsError(
                f"Alertmanager at {self.url} refuses this: {str(said or error.reason).rstrip('.')}."
            ) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise WsError(f"Alertmanager at {self.url} does not answer ({error}). See: ws ps") from error

    def _strange(self, error: AnswerError) -> WsError:
        return WsError(f"{self.url} does not answer as Alertmanager does: {error}.")
