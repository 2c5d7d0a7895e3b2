"""The state of a stack's services, from Docker and from the health service's report."""

import http.client
import urllib.request
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from config.cluster import Membership
from config.notation import person_of
from config.ports import HEALTH as HEALTH_PORT
from contracts.document import DocumentError
from contracts.status import Reason, ServiceStatus, State, Status, Usage
from stack.history import History
from stack.identity import StackIdentity
from stack.state import stack_folder
from stack.tls import own_authority
from ws.containers import ContainerState, short, styled
from ws.tables import plain_table
from ws.users.accounts import turn_on

STATUS_SECONDS = 5.0
# State of a service in the report → health of a container, as Docker calls it
HEALTH = {State.UP: "healthy", State.STARTING: "starting", State.DOWN: "unhealthy"}
# file with a secret → services that ask for it, and what to tell people
SECRETS = {
    "redis-password": (("redis",), "Redis asks for the password in"),
    "postgres-password": (("postgres",), "Postgres asks for the password in"),
    "marimo-token": (("marimo",), "Marimo asks for the token in"),
    "transcription-token": (("transcription",), "The transcription service asks for the token in"),
    "grafana-password": (("grafana",), "Grafana asks user admin for the password in"),
    "ray-token": (("ray-cpu", "ray-gpu"), "Ray clients and jobs need the token in"),
}


@dataclass(frozen=True, kw_only=True)
class HealthReport:
    """The health service's report; without a status, `problem` says why, if it was asked."""

    status: Status | None = None
    problem: str = ""

    def of(self, service: str) -> ServiceStatus | None:
        """The status of a service of this host; in a cluster the report names a Ray node by host and service."""
        if self.status is None:
            return None
        host = self.status.cluster.host if self.status.cluster else ""
        return self.status.service(service) or (self.status.service(f"{host}-{service}") if host else None)


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """One service of a deployed stack."""

    name: str
    url: str | None
    health: str
    version: str | None
    reason: Reason | None = None  # why it is not healthy, or else of the warning
    error: str | None = None
    warning: str | None = None
    usage: tuple[Usage, ...] = ()

    @property
    def explanation(self) -> Text:
        """The health service's error or warning."""
        code = f"{self.reason.value}: " if self.reason else ""
        if self.error:
            return Text(f"{code}{self.error}", style=styled(self.health).style)
        return Text(f"{code}{self.warning}" if self.warning else "", style="yellow")


def health_report(found: Iterable[ContainerState]) -> HealthReport:
    """The health service's report, asked where its container is reached."""
    for one in found:
        if one.service == "health" and (url := one.url(HEALTH_PORT)):
            return ask_health(url)
    return HealthReport()


def ask_health(url: str) -> HealthReport:
    """The report of the health service at a URL."""
    try:
        # No proxy: it is our own, and a proxy of the site cannot reach it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/status", timeout=STATUS_SECONDS) as answer:
            return HealthReport(status=Status.from_json(answer.read()))
    except DocumentError as error:
        return HealthReport(problem=str(error))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return HealthReport(problem=f"the health service at {url} does not answer ({error})")


def in_words(usage: Usage) -> str:
    """A part that is used: ``scratch 3.1 of 40.0 GB``."""
    unit, size = ("GB", 10**9) if usage.limit >= 10**9 else ("MB", 10**6)
    return f"{usage.name} {usage.used / size:.1f} of {usage.limit / size:.1f} {unit}"


def services(
    found: Iterable[ContainerState], report: HealthReport, urls: Mapping[str, str] | None = None
) -> list[ServiceState]:
    """Every service, from its container, what the health service says of it, and its published address."""
    return [_merged(one, report.of(one.service), (urls or {}).get(one.service)) for one in found]


def _merged(container: ContainerState, said: ServiceStatus | None, url: str | None) -> ServiceState:
    """A service is healthy where both say so. Docker goes first: a container that does not run explains the rest."""
    if said is None:
        return ServiceState(name=container.service, url=url, health=container.health, version=None)
    return ServiceState(
        name=container.service,
        url=url,
        health=HEALTH[said.state] if container.health == "healthy" else container.health,
        version=said.version,
        reason=said.reason or said.warning_reason,
        error=said.error,
        warning=said.warning,
        usage=said.usage,
    )


def containers_table(found: Iterable[ContainerState], report: HealthReport) -> Table:
    """`ws ps`: Docker's state of each container, what the health service says of its service, and what that uses.

    Where containers were changed behind the engine's back, also what of them.
    """
    found = list(found)
    drift = ("Drift",) if any(one.drift for one in found) else ()
    shown = plain_table(("Service", "Container", "Health", "Status", *drift, "Reason", "Uses", "Image", "Ports"))
    for one, service in zip(found, services(found, report), strict=True):
        uses = "\n".join(map(in_words, service.usage))
        drifted = (Text(", ".join(one.drift), style="yellow"),) if drift else ()
        cells = (one.status, *drifted, service.explanation, uses, short(one.image), "\n".join(one.ports))
        shown.add_row(one.service, one.name, styled(service.health), *cells)
    return shown


def missing_services(identity: StackIdentity, found: Iterable[ContainerState]) -> list[str]:
    """The services that the last deployment left running, and whose containers are gone."""
    records = History(identity).records()
    if not records or not records[-1].deployed:  # taken down, or a deployment failed, which said what is missing
        return []
    return sorted(records[-1].images.keys() - {one.service for one in found})


def table(states: Iterable[ServiceState]) -> Table:
    """The table at the end of `ws up`."""
    shown = plain_table(("Service", "URL", "Health", "Version"))
    for one in states:
        health = styled(one.health)
        if one.explanation:
            health = Text.assemble(health, ", ", one.explanation)
        shown.add_row(one.name, one.url or "", health, one.version or "")
    return shown


def secret_hints(
    identity: StackIdentity, names: Collection[str], *, mlflow_logins: bool, membership: Membership | None = None
) -> list[str]:
    """Where the secrets of services that people log in to were generated to; those of the stack config they know."""
    folder = stack_folder(identity) / "generated"
    people = [person for name in names if (person := person_of(name))]
    hints = [
        f"{text} {folder / name}"
        for name, (askers, text) in SECRETS.items()
        if any(asker in names for asker in askers) and (folder / name).is_file()
    ]
    if "mlflow" in names:
        hints.append(
            f"MLflow asks people for an account: ws user add NAME --no-notebooks -s {identity.stack}"
            if mlflow_logins
            else f"MLflow asks for no login. To turn logins on: {turn_on(identity.stack, membership)}"
        )
    if people:
        hints.append(f"Notebooks of a person ask for the token of: ws user token NAME -s {identity.stack}")
    if "tls" in names and (authority := own_authority(stack_folder(identity))):
        hints.append(f"Browsers and other clients of https must trust the authority in {authority}")
    if "devel" in names:
        hints.append(
            f"The devel container accepts the keys in devel.keys. How to log in: ws outputs -s {identity.stack}"
        )
    return hints
