"""Probes all services in rounds, and logs changes."""

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime

import aiohttp

from contracts.alerts import Alert
from contracts.health import HealthSettings, Kind, WatchedService
from contracts.status import ClusterStatus, RayStatus, Status
from coordination.membership import ClusterState
from coordination.redis_client import Address
from entrypoints.health import facts
from entrypoints.health.alerts import ask_alerts
from entrypoints.health.asker import Asker
from entrypoints.health.election import ask_election, cluster_status
from entrypoints.health.keeper_look import KINDS, kept_service, last_look
from entrypoints.health.probes import ask_service
from entrypoints.health.ray_cluster import ask_ray, node_by_name, ray_service, scratch_of
from entrypoints.health.secrets import Secrets

ANSWER_KEPT_SECONDS = 1.0  # so that many pollers cost one round of probes
WATCH_SECONDS = 15.0  # a change is logged this soon even without requests


class Monitor:
    """Probes in rounds, one at a time; keeps a result for a second, and logs changes."""

    def __init__(self, settings: HealthSettings, http: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._http = http
        self._expected = tuple(node_by_name(name, settings.services) for name in settings.ray_nodes)
        self._gateway = _gateway(settings.ray_dashboard)
        self._round: asyncio.Task[Status] | None = None
        self._ended = 0.0
        self._states: dict[str, str] = {}
        self._warned: frozenset[str] = frozenset()
        self._unreadable: dict[str, str] = {}
        self.secrets = Secrets(settings.secrets)

    async def status(self) -> Status:
        """Return a result that is at most ANSWER_KEPT_SECONDS old, or that of the round in progress."""
        if self._round is None or (self._round.done() and time.monotonic() - self._ended > ANSWER_KEPT_SECONDS):
            self._round = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._round)  # one poller that goes away must not end the others' round

    async def alerts(self) -> tuple[Alert, ...]:
        """Return the alerts that fire."""
        return await ask_alerts(self._settings.alertmanager, self.asker())

    async def watch(self) -> None:
        """Probe forever, so that changes are logged even without requests."""
        while True:
            await self.status()
            await asyncio.sleep(WATCH_SECONDS)

    async def _ask_all(self) -> Status:
        settings = self._settings
        self.secrets = Secrets(settings.secrets)
        asker = self.asker()
        look = last_look(settings.look)
        kept = [kept_service(service, look) for service in settings.services if service.kind in KINDS]
        plain = [service for service in settings.services if service.kind not in (Kind.RAY, *KINDS)]
        ray_and_cluster, answers = await asyncio.gather(
            self._ask_ray(asker), asyncio.gather(*(ask_service(service, asker) for service in plain))
        )
        ray, cluster = ray_and_cluster
        known = {answer.name: answer for answer in (*answers, *kept)}
        services = tuple(
            known.get(service.name) or ray_service(service, ray, scratch_of(settings.scratch_reports.get(service.name)))
            for service in settings.services
        )
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = Status(time=now, stack=settings.stack, services=services, ray=ray, cluster=cluster)
        self._log_changes(status)
        self._ended = time.monotonic()
        return status

    def asker(self, deadline: float | None = None) -> Asker:
        """The tools for questions that are asked from now on; deadline in seconds, by default that of the probes."""
        seconds = deadline or self._settings.deadline
        return Asker(self._http, self.secrets, seconds, asyncio.get_running_loop().time() + seconds)

    def dashboard_of(self, ray: RayStatus) -> WatchedService | None:
        """Where the head's dashboard answers."""
        head = ray.head.node if ray.head else None
        return self._gateway or next((node for node in self._expected if node.name == head), None)

    async def _ask_ray(self, asker: Asker) -> tuple[RayStatus, ClusterStatus | None]:
        election = self._settings.election
        state = await ask_election(election, asker) if election else None
        leader = state.head if isinstance(state, ClusterState) else None
        ray = await ask_ray(self._expected, self._gateway, leader, asker)
        if election is None or state is None:
            return ray, None
        status = cluster_status(election, state)
        if election.host and ray.head is None and ray.error and status.error:
            ray = replace(ray, reason=status.reason, error=f"no head: {status.error}")
        return ray, status

    def _log_changes(self, status: Status) -> None:
        states = {"platform": status.state.value} | {service.name: service.state.value for service in status.services}
        states["ray head"] = status.ray.head.node if status.ray.head else "none"
        failed = {service.name: service for service in status.services if service.reason}
        for name in states:
            if states[name] != self._states.get(name):
                was, why = self._states.get(name), failed.get(name)
                reason, error = (why.reason, why.error) if why else (None, None)
                code = reason.value if reason else None
                log(self.secrets, event="state", name=name, was=was, now=states[name], reason=code, error=error)
        self._states = states
        # Compare which services warn, not their messages: figures in them change every round.
        warnings = {service.name: service.warning for service in status.services if service.warning}
        for name in warnings.keys() - self._warned:
            log(self.secrets, event="warning", name=name, warning=warnings[name])
        self._warned = frozenset(warnings)
        unreadable = facts.unreadable(self._settings.facts)
        for name in unreadable:
            if unreadable[name] != self._unreadable.get(name):
                log(self.secrets, event="fact", name=name, error=unreadable[name])
        self._unreadable = unreadable


def _gateway(dashboard: str | None) -> WatchedService | None:
    """Return the address that leads to the head's dashboard wherever the head is; raises NodeError."""
    if dashboard is None:
        return None
    address = Address.parse(dashboard, "ray_dashboard")
    url = f"http://{address}"
    return WatchedService(name="the gateway", kind=Kind.RAY, host=address.host, port=address.port, url=url)


def log(secrets: Secrets, **fields: str | int | None) -> None:
    """Write one JSON line to stdout, without secrets and without empty fields."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
    print(secrets.redact(json.dumps({key: value for key, value in line.items() if value is not None})), flush=True)
