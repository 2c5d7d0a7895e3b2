"""The platform's health service: which services are up, which node leads Ray, and a page for people.

``/health`` 200 or 503 with a short JSON; ``/status`` everything as JSON; ``/`` the same as a page; ``/ping`` only says
that this program runs.
Healthy means that every configured service answers and every expected Ray node is alive.

In a cluster of several hosts each host has such a service, which shows this host and the cluster.

Environment: HEALTH_SERVICES (JSON list of {name, kind, host, port, url, prefix}), HEALTH_RAY_NODES (comma-separated
names of the expected nodes, in whitelist order), HEALTH_RAY_DASHBOARD (host:port that leads to the head's dashboard
wherever the head is; else every expected node is asked), HEALTH_CLUSTER (JSON {namespace, host, redis_addresses,
candidates, static_head}: where the election's state is, and who may lead), HEALTH_SCRATCH (JSON {Ray node: the file in
which its guard says how full its scratch folder is}), HEALTH_STACK, HEALTH_PORT (8888), HEALTH_DEADLINE (2 seconds for
each service), SECRETS_DIR (/run/secrets). A mistake there ends the program with exit status 2 and a
sentence. Needs aiohttp, redis and psycopg.
"""

import asyncio
import contextlib
import hashlib
import html
import json
import os
import re
import signal
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import psycopg
import redis.asyncio
import redis.exceptions
from aiohttp import web
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from coordination.errors import NodeError
from coordination.membership import ClusterState, HeadState, MemberState, read_state
from coordination.redis_client import Address, RedisLink
from coordination.redis_users import READER

UP, DOWN, STARTING = "up", "down", "starting"
HEALTHY, UNHEALTHY = "healthy", "unhealthy"
GCS_PORT = 6379
DASHBOARD_PORT = 8265
ANSWER_KEPT_SECONDS = 1.0  # many pollers cost one round of questions
WATCH_SECONDS = 15.0  # a change is logged this soon even when nobody asks
PAGE_REFRESH_SECONDS = 5
LARGEST_ANSWER = 4 * 2**20  # bytes; Ray keeps up to 1,000 dead nodes of about 600 bytes
OLD_NODES_SHOWN = 20
EVENTS_SHOWN = 10
SCRATCH_STALE_SECONDS = 180.0  # a guard measures at least three times a minute, unless the disk is very slow
WARN_SHARE, ERROR_SHARE = 0.7, 0.9  # of what something may use: from here on a warning, and an error
LOOKUP_THREADS = 32  # name look-ups that hang must not hold up the others
NODE_LABEL = "cslr.node"  # set by entrypoints/ray/node.py; Ray's own node name is the address unless given
RAY_NODES_PATH = "/api/v0/nodes?limit=2000&detail=true"
VERSION = re.compile(r"\d[\w.+-]{0,63}")

Result = TypeVar("Result")


class ConfigurationError(Exception):
    """The environment cannot be used; the message names the variable and the remedy."""


class Down(Exception):  # noqa: N818 - a state of the service, not a mistake
    """A service does not do its work; the message is a clause for people."""


class Starting(Down):
    """A service answers that it is not ready yet."""


@dataclass(frozen=True)
class Usage:
    """What a service uses of something that is bounded, in bytes."""

    name: str
    used: int
    limit: int

    @property
    def text(self) -> str:
        """As people read it: ``memory: 190 of 320 MiB``."""
        unit, size = ("GiB", 2**30) if self.limit >= 10 * 2**30 else ("MiB", 2**20)
        return f"{self.name}: {self.used / size:.0f} of {self.limit / size:.0f} {unit}"


@dataclass(frozen=True)
class Found:
    """What a service tells of itself: warning is a clause for people, which leaves it up, error one that does not."""

    version: str | None = None
    usage: tuple[Usage, ...] = ()
    warning: str | None = None
    error: str | None = None


# --- configuration ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """One service to ask at host:port inside the network; url is where people reach it, None when not published."""

    name: str
    kind: str
    host: str
    port: int
    url: str | None
    prefix: str = ""  # before all its paths, where a reverse proxy has it below one


@dataclass(frozen=True)
class Cluster:
    """Where the election's state is: the namespace in Redis; static_head ("host:port") where nobody is elected."""

    namespace: str
    host: str  # this one, as in the cluster's list; empty where there is one host
    redis_addresses: tuple[Address, ...]
    whitelist: tuple[str, ...]  # hosts that may lead
    static_head: str | None


@dataclass(frozen=True)
class Configuration:
    """What to ask and how; ray_nodes are the expected nodes, each with the dashboard that it has when it leads."""

    stack: str
    services: tuple[Service, ...]
    ray_nodes: tuple[Service, ...]
    ray_dashboard: Service | None
    cluster: Cluster | None
    scratch: Mapping[str, Path]  # Ray node → what its guard says of its scratch folder
    secrets: Path
    port: int
    deadline: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Configuration":
        """Read the variables named in the module's docstring; raises ConfigurationError."""
        services = tuple(_service(f"HEALTH_SERVICES[{i}]", entry) for i, entry in enumerate(_entries(environment)))
        names = [name for name in environment.get("HEALTH_RAY_NODES", "").split(",") if name]
        _require_distinct("HEALTH_SERVICES", [service.name for service in services])
        _require_distinct("HEALTH_RAY_NODES", names)
        ray = {service.name: service for service in services if service.kind == "ray"}
        stray = sorted(ray.keys() - set(names))
        _require(not stray, "HEALTH_SERVICES", f"has Ray nodes that HEALTH_RAY_NODES lacks: {stray}; add them there")
        return cls(
            stack=environment.get("HEALTH_STACK", ""),
            services=services,
            ray_nodes=tuple(ray.get(name, Service(name, "ray", name, DASHBOARD_PORT, None)) for name in names),
            ray_dashboard=_dashboard(environment.get("HEALTH_RAY_DASHBOARD", "")),
            cluster=_cluster(environment.get("HEALTH_CLUSTER", "")),
            scratch=_scratch(environment.get("HEALTH_SCRATCH", "")),
            secrets=Path(environment.get("SECRETS_DIR", "/run/secrets")),
            port=int(_number(environment, "HEALTH_PORT", 8888, 65535)),
            deadline=_number(environment, "HEALTH_DEADLINE", 2, 60),
        )


FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a name", lambda value: isinstance(value, str) and value != ""),
    "kind": ("one of redis, postgres, mlflow, marimo, ray", lambda value: value in [*PROBES, "ray"]),
    "host": ("a host name or address", lambda value: isinstance(value, str) and value != ""),
    "port": ("a number from 1 to 65535", lambda value: type(value) is int and 1 <= value <= 65535),
    "url": ("a URL or null", lambda value: value is None or (isinstance(value, str) and "://" in value)),
    "prefix": ("a path or empty", lambda value: value is None or (isinstance(value, str) and value[:1] in ("", "/"))),
}


def _require(condition: bool, key: str, reason: str) -> None:
    if not condition:
        raise ConfigurationError(f"{key} {reason}.")


def _require_distinct(key: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    _require(not twice, key, f"names {twice} more than once; give each its own name")


def _entries(environment: Mapping[str, str]) -> list[Any]:
    try:
        entries = json.loads(environment.get("HEALTH_SERVICES") or "[]")
    except ValueError as error:
        raise ConfigurationError(f"HEALTH_SERVICES is not JSON: {error}.") from None
    _require(isinstance(entries, list), "HEALTH_SERVICES", "must be a JSON list of services")
    return list(entries)


def _number(environment: Mapping[str, str], key: str, default: float, largest: float) -> float:
    text = environment.get(key) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = 0
    _require(0 < value <= largest, key, f"must be a number above 0, {largest:g} at most, not {text!r}")
    return value


def _service(key: str, entry: object) -> Service:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{key} must be an object with {', '.join(FIELDS)}.")
    unknown = sorted(entry.keys() - FIELDS.keys())
    _require(not unknown, key, f"has unknown keys {unknown}; it takes {', '.join(FIELDS)}")
    for field, (wanted, fits) in FIELDS.items():
        _require(field in entry or field in ("url", "prefix"), key, f"lacks {field!r}: {wanted}")
        _require(fits(entry.get(field)), f"{key}.{field}", f"must be {wanted}, not {entry.get(field)!r}")
    values: dict[str, Any] = {field: entry.get(field) for field in FIELDS}
    return Service(**{**values, "prefix": values["prefix"] or ""})


def _address(key: str, text: str) -> Address:
    try:
        return Address.parse(text, key)
    except NodeError as error:
        raise ConfigurationError(str(error)) from None


def _dashboard(text: str) -> Service | None:
    if not text:
        return None
    address = _address("HEALTH_RAY_DASHBOARD", text)
    return Service("the gateway", "ray", address.host, address.port, f"http://{address}")


def _cluster(text: str) -> Cluster | None:
    if not text:
        return None
    try:
        entry = json.loads(text)
        namespace, host, static_head = str(entry["namespace"]), str(entry["host"]), entry.get("static_head")
        whitelist = tuple(str(each) for each in entry.get("candidates", ()))
        addresses = tuple(_address("HEALTH_CLUSTER.redis_addresses", str(each)) for each in entry["redis_addresses"])
    except (ValueError, LookupError, TypeError, AttributeError):
        namespace, host, whitelist, addresses, static_head = "", "", (), (), None
    _require(
        namespace != "" and addresses != (),
        "HEALTH_CLUSTER",
        f"must be a JSON object with namespace, host and redis_addresses, not {text!r}",
    )
    return Cluster(namespace, host, addresses, whitelist, static_head or None)


def _scratch(text: str) -> dict[str, Path]:
    try:
        return {str(node): Path(path) for node, path in json.loads(text or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError(f"HEALTH_SCRATCH must be a JSON object of files by node, not {text!r}.") from None


def _inside_json(text: str) -> str:
    return json.dumps(text)[1:-1]


class Secrets:
    """The secret files of one folder, read once; keeps their contents out of everything that leaves this program."""

    NAMES = ("redis-reader", "postgres-password", "ray-token", "marimo-token")
    SHORTEST_REDACTED = 8  # to blank a shorter one out of every text would garble the text

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._values: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        for name in self.NAMES:
            try:
                self._values[name] = (folder / name).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                self._problems[name] = getattr(error, "strerror", None) or "not UTF-8"
        values = [value for value in self._values.values() if len(value) >= self.SHORTEST_REDACTED]
        self._forms = {form(value) for value in values for form in (str, html.escape, _inside_json)}

    def __getitem__(self, name: str) -> str:
        if name not in self._values:
            raise Down(f"the secret file {self._folder / name} cannot be read: {self._problems[name]}")
        return self._values[name]

    def get(self, name: str) -> str | None:
        """Return a secret that a check can do without."""
        return self._values.get(name)

    def redact(self, text: str) -> str:
        """Return text without any secret, also as it looks inside JSON or HTML."""
        for form in sorted(self._forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text


# --- questions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asker:
    """What every question needs: HTTP session, secrets, the deadline in seconds and the loop time when it ends."""

    http: aiohttp.ClientSession
    secrets: Secrets
    deadline: float
    due: float

    async def get(self, service: Service, path: str, token: str | None = None) -> str:
        """Return the body of a 200 answer; raises Down for any other. Follows no redirect: the token stays here."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        address = f"http://{service.host}:{service.port}{service.prefix}{path}"
        async with self.http.get(address, headers=headers, allow_redirects=False) as response:
            if response.status in {401, 403} and token:
                raise Down(f"{service.host}:{service.port} refuses this platform's token (HTTP {response.status})")
            if response.status != 200:
                raise Down(f"{service.host}:{service.port}{path.partition('?')[0]} answers HTTP {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise Down(f"{service.host}:{service.port} answers with more than {LARGEST_ANSWER} bytes")
        return body.decode("utf-8", "replace")

    async def in_time(self, question: Coroutine[Any, Any, Result]) -> Result:
        """Return the answer; raises Down when due. Does not wait for the question to notice its cancellation:
        psycopg first asks a server that may hang to cancel the query.
        """
        task = asyncio.ensure_future(question)
        await asyncio.wait({task}, timeout=max(0.0, self.due - asyncio.get_running_loop().time()))
        if not task.done():
            task.cancel()
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise Down(f"no answer within {self.deadline:g} s")
        return task.result()


def version_in(text: str, service: Service) -> str:
    """Return text when it is a version; raises Down when another program seems to answer."""
    version = text.strip().strip('"')
    if not VERSION.fullmatch(version):
        raise Down(f"{service.host}:{service.port} answers without a version: is it really {service.kind}?")
    return version


async def probe_redis(service: Service, asker: Asker) -> Found:
    """PING with the password; finds the server's version and how much of its memory its data takes.

    Raises Down when it refuses writes, or nearly does: Ray's head ends when it cannot write.
    """
    client = redis.asyncio.Redis(
        host=service.host,
        port=service.port,
        username=READER,
        password=asker.secrets["redis-reader"],
        retry=Retry(NoBackoff(), 0),
    )
    async with client:
        try:
            await client.execute_command("PING")  # type: ignore[no-untyped-call]
        except redis.exceptions.BusyLoadingError:
            raise Starting("Redis is loading its data") from None
        information = await client.info("server", "memory", "persistence")
    version = version_in(str(information.get("redis_version")), service)
    memory = Usage("memory", int(information["used_memory"]), int(information["maxmemory"]))
    share = memory.used / memory.limit if memory.limit else 0
    if share >= ERROR_SHARE:
        raise Down(f"nearly refuses writes: {memory.text}")
    if information["aof_last_write_status"] != "ok":
        raise Down("cannot write its append-only file, so it refuses writes: is the disk of its volume full?")
    warning = f"{memory.text}" if share >= WARN_SHARE else None
    if information["aof_last_bgrewrite_status"] != "ok":
        warning = "the last rewrite of its append-only file failed; see its log"
    return Found(version, (memory,) if memory.limit else (), warning)


async def probe_postgres(service: Service, asker: Asker) -> str:
    """Run a query as mlflow in database mlflow; returns the server's version."""
    try:
        connection = await psycopg.AsyncConnection.connect(
            host=service.host,
            port=service.port,
            user="mlflow",
            dbname="mlflow",
            password=asker.secrets["postgres-password"],
            application_name="health",
        )
    except psycopg.OperationalError as error:
        if "the database system is starting up" in str(error):
            raise Starting("Postgres is starting up") from None
        raise
    async with connection:
        row = await (await connection.execute("select version()")).fetchone()
    return version_in(str(row).split()[1], service)


async def probe_mlflow(service: Service, asker: Asker) -> str:
    """Ask the two endpoints that are open to every Host header; returns the server's version."""
    await asker.get(service, "/health")
    return version_in(await asker.get(service, "/version"), service)


async def probe_marimo(service: Service, asker: Asker) -> str | None:
    """Ask for health; returns the version, None without the token that marimo wants for it."""
    await asker.get(service, "/health")
    token = asker.secrets.get("marimo-token")
    return version_in(await asker.get(service, "/api/version", token), service) if token else None


PROBES: dict[str, Callable[[Service, Asker], Coroutine[Any, Any, str | Found | None]]] = {
    "redis": probe_redis,
    "postgres": probe_postgres,
    "mlflow": probe_mlflow,
    "marimo": probe_marimo,
}


# --- what is known ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServiceStatus:
    """One service: latency_ms of all its questions together, error a clause when it is not up, warning when it is."""

    name: str
    kind: str
    state: str
    latency_ms: float | None
    version: str | None
    url: str | None
    error: str | None
    usage: tuple[Usage, ...] = ()
    warning: str | None = None


@dataclass(frozen=True)
class NodeStatus:
    """One Ray node as the GCS knows it; memory and object_store_memory in bytes. Without node_id it never joined."""

    name: str
    node_id: str | None
    address: str | None
    alive: bool
    expected: bool
    role: str | None
    cpus: float | None
    gpus: float | None
    memory: int | None
    object_store_memory: int | None
    version: str | None
    message: str | None


@dataclass(frozen=True)
class HeadStatus:
    """The node that leads: address is where a worker joins, dashboard where people look (None when not published)."""

    node: str
    address: str
    dashboard: str | None


@dataclass(frozen=True)
class RayStatus:
    """The Ray cluster; head None when none of the candidates leads."""

    head: HeadStatus | None
    nodes: tuple[NodeStatus, ...]
    latency_ms: float | None
    error: str | None


@dataclass(frozen=True)
class HostStatus:
    """A host of the cluster as its gateway reported it; sees_head None where there is no head to see."""

    name: str
    address: str
    state: str  # up, down or maintenance
    candidate: bool
    sees_head: bool | None
    last_seen: float  # seconds ago


@dataclass(frozen=True)
class HeadEvent:
    """Something that happened to the head; time in UTC."""

    time: str
    epoch: int
    host: str
    event: str


@dataclass(frozen=True)
class ClusterStatus:
    """The election of the head; host is this one. Without a head, error says why."""

    namespace: str
    host: str
    election: str  # "on", or "off: ..."
    head: str | None
    epoch: int | None
    since: str | None
    hosts: tuple[HostStatus, ...]
    history: tuple[HeadEvent, ...]
    error: str | None


@dataclass(frozen=True)
class Status:
    """Everything one round found out; time in UTC. cluster None: nothing is known of an election."""

    time: str
    stack: str
    services: tuple[ServiceStatus, ...]
    ray: RayStatus
    cluster: ClusterStatus | None = None

    @property
    def state(self) -> str:
        """Healthy when nothing is down."""
        return UNHEALTHY if self.down else HEALTHY

    @property
    def down(self) -> list[str]:
        """Names of services and expected Ray nodes that are not up; ray when only the cluster as a whole is wrong."""
        names = [service.name for service in self.services if service.state != UP]
        names += [node.name for node in _missing(self.ray) if node.name not in names]
        return names or (["ray"] if self.ray.error else [])


def _missing(ray: RayStatus) -> list[NodeStatus]:
    alive = {node.name for node in ray.nodes if node.alive}
    return [node for node in ray.nodes if node.expected and node.name not in alive]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard whose GCS answers, hence a head; nodes and version are empty when error says why."""

    at: Service
    nodes: tuple[NodeStatus, ...] = ()
    version: str | None = None
    error: str | None = None

    @property
    def head_node(self) -> NodeStatus | None:
        """The GCS's own entry of the head."""
        return next((node for node in self.nodes if node.alive and node.role == "head"), None)


async def ask_service(service: Service, asker: Asker) -> ServiceStatus:
    """Ask one service that is no Ray node; never raises."""
    answer, latency, error, state = await timed(asker.in_time(PROBES[service.kind](service, asker)), service)
    found = answer if isinstance(answer, Found) else Found(answer)
    return ServiceStatus(
        service.name, service.kind, state, latency, found.version, service.url, error, found.usage, found.warning
    )


async def timed(question: Awaitable[Result], service: Service) -> tuple[Result | None, float | None, str | None, str]:
    """Return answer, latency in ms, error and state; never raises, whatever the service does."""
    clock = time.perf_counter()
    try:
        answer = await question
    except Exception as error:  # noqa: BLE001 - a library's surprise is one service's error, not the program's end
        return None, None, explain(error, service), STARTING if isinstance(error, Starting) else DOWN
    return answer, round((time.perf_counter() - clock) * 1000, 1), None, UP


def explain(error: Exception, service: Service) -> str:
    """Return what went wrong as one line for people; libraries word the same refused connection in many ways."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:  # getaddrinfo's numbers are negative
            reason = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror
            return f"{service.host}:{service.port}: {reason}"
        cause = cause.__cause__ or cause.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


async def ask_dashboard(node: Service, asker: Asker) -> Dashboard:
    """Ask a node's dashboard whether it leads, and what its GCS knows; raises when it does not lead."""
    await asker.in_time(asker.get(node, "/api/gcs_healthz"))
    details, _, error, _ = await timed(asker.in_time(_cluster_details(node, asker)), node)
    version, nodes = details or (None, ())
    return Dashboard(node, nodes, version, error)


async def _cluster_details(node: Service, asker: Asker) -> tuple[str, tuple[NodeStatus, ...]]:
    token = asker.secrets["ray-token"]
    texts = await asyncio.gather(asker.get(node, "/api/version", token), asker.get(node, RAY_NODES_PATH, token))
    try:
        version = str(json.loads(texts[0])["ray_version"])
        entries = json.loads(texts[1])["data"]["result"]["result"]
        entries.sort(key=lambda entry: -(entry.get("start_time_ms") or 0))
        return version, tuple(_node(entry, version) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Down(f"{node.host}:{node.port} does not answer as Ray 2.60's dashboard does") from None


def _node(entry: dict[str, Any], version: str) -> NodeStatus:
    """Read an entry of the state API. Ray lets no node of another version join, so the head's version is everyone's."""
    resources = entry.get("resources_total") or {}
    return NodeStatus(
        name=str((entry.get("labels") or {}).get(NODE_LABEL, entry["node_name"])),
        node_id=str(entry["node_id"]),
        address=str(entry["node_ip"]),
        alive=entry["state"] == "ALIVE",
        expected=False,
        role="head" if entry["is_head_node"] else "worker",
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        memory=int(resources.get("memory", 0)),
        object_store_memory=int(resources.get("object_store_memory", 0)),
        version=version,
        message=entry.get("state_message"),
    )


async def ask_ray(
    expected: tuple[Service, ...], gateway: Service | None, leader: HeadState | None, asker: Asker
) -> RayStatus:
    """Ask the gateway's dashboard, or every expected node's at once; never raises. leader: as the lease says."""
    asked = (gateway,) if gateway else expected
    answers = await asyncio.gather(*(timed(ask_dashboard(node, asker), node) for node in asked))
    found = [(dashboard, latency) for dashboard, latency, _, _ in answers if dashboard]
    if not found:
        reasons = "; ".join(f"{node.name}: {error}" for node, (_, _, error, _) in zip(asked, answers, strict=True))
        nodes = _with_expectations((), expected)
        return RayStatus(None, nodes, None, f"no node leads ({reasons})" if asked else None)
    dashboard, latency = found[0]
    leaders = {board.head_node.node_id: board.at.name for board, _ in found if board.head_node}
    error = dashboard.error
    if len(leaders) > 1:  # stock Ray accepts two heads on one Redis namespace in silence
        error = f"{' and '.join(leaders.values())} lead at the same time: stop one of them"
    node = dashboard.head_node
    address = f"{node.address if node else dashboard.at.host}:{GCS_PORT}"
    head = HeadStatus(
        node=node.name if node else dashboard.at.name,
        address=leader.gcs if gateway and leader and leader.gcs else address,
        dashboard=dashboard.at.url,
    )
    return RayStatus(head, _with_expectations(dashboard.nodes, expected), latency, error)


async def ask_cluster(cluster: Cluster, asker: Asker) -> ClusterState | str:
    """Ask Redis for the election's state; why there is no answer, instead of raising."""
    try:
        link = RedisLink(cluster.redis_addresses, asker.secrets["redis-reader"], username=READER)
        return await asker.in_time(asyncio.to_thread(_read_once, link, cluster.namespace))
    except (OSError, NodeError, Down) as error:
        return f"Redis does not answer: {error}"


def _read_once(link: RedisLink, namespace: str) -> ClusterState:
    with contextlib.closing(link):
        return read_state(link, namespace)


def cluster_status(cluster: Cluster, state: ClusterState | str) -> ClusterStatus:
    """Return what people want to know of the election."""
    election = f"off: head_address says {cluster.static_head}" if cluster.static_head else "on"
    if isinstance(state, str):
        return ClusterStatus(cluster.namespace, cluster.host, election, None, None, None, (), (), state)
    head = None if cluster.static_head else state.head
    history = tuple(HeadEvent(_utc(event.time), event.epoch, event.host, event.event) for event in state.history)
    error = None if head or cluster.static_head else state.why_no_head(cluster.whitelist)
    return ClusterStatus(
        namespace=cluster.namespace,
        host=cluster.host,
        election=election,
        head=head.host if head else None,
        epoch=head.epoch if head else None,
        since=next((event.time for event in history if head and event.epoch == head.epoch), None),
        hosts=tuple(_host(member, head) for member in state.members),
        history=history,
        error=error,
    )


def _host(member: MemberState, head: HeadState | None) -> HostStatus:
    state = DOWN if not member.up else "maintenance" if member.maintenance else UP
    sees = member.sees == head.epoch if head and member.up else None
    return HostStatus(member.host, member.address, state, member.candidate, sees, round(member.age, 1))


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_expectations(known: tuple[NodeStatus, ...], expected: tuple[Service, ...]) -> tuple[NodeStatus, ...]:
    """Return expected nodes in their order (alive, else the latest dead entry, else a blank), then the others."""
    latest: dict[str, NodeStatus] = {}
    for node in sorted(known, key=lambda node: not node.alive):
        latest.setdefault(node.name, node)
    blank = dict.fromkeys(
        ("node_id", "address", "role", "cpus", "gpus", "memory", "object_store_memory", "version", "message")
    )
    first = [
        NodeStatus(**{**asdict(latest[name]), "expected": True})
        if name in latest
        else NodeStatus(name=name, alive=False, expected=True, **blank)
        for name in (service.name for service in expected)
    ]
    shown = {node.node_id for node in first}
    others = [node for node in known if node.node_id not in shown]
    return (*first, *(n for n in others if n.alive), *[n for n in others if not n.alive][:OLD_NODES_SHOWN])


def scratch_of(path: Path | None) -> Found:
    """Read what a node's guard said last of its scratch folder, if anything; an error where it is full."""
    try:
        said = json.loads(path.read_text(encoding="utf-8")) if path else {}
        usage = Usage("scratch", int(said["used"]), int(said["limit"]))
        age, full, message = time.time() - float(said["time"]), bool(said["full"]), str(said["message"])
    except (OSError, ValueError, LookupError, TypeError):
        return Found()
    if full:
        return Found(usage=(usage,), error=message)
    if age > SCRATCH_STALE_SECONDS:
        return Found(usage=(usage,), warning=f"nobody has measured its scratch folder for {age:.0f} s")
    return Found(usage=(usage,), warning=usage.text if usage.used >= WARN_SHARE * usage.limit else None)


def ray_service(service: Service, ray: RayStatus, scratch: Found) -> ServiceStatus:
    """Return a Ray node as a service: up when alive in the cluster, with room on its scratch; only the head has a
    dashboard to link.
    """
    node = next(node for node in ray.nodes if node.expected and node.name == service.name)
    leads = ray.head is not None and ray.head.node == service.name
    error = ray.error
    if not node.alive and error is None:
        error = "not alive in the Ray cluster" + (f": {node.message}" if node.message else "")
    error = error or scratch.error
    return ServiceStatus(
        service.name,
        "ray",
        UP if error is None else DOWN,
        ray.latency_ms if node.alive else None,
        node.version if node.alive else None,
        service.url if leads else None,
        error,
        scratch.usage,
        scratch.warning,
    )


class Monitor:
    """Asks in rounds: one at a time, its result kept for a second, changes logged."""

    def __init__(self, configuration: Configuration, http: aiohttp.ClientSession) -> None:
        self._configuration = configuration
        self._http = http
        self._round: asyncio.Task[Status] | None = None
        self._ended = 0.0
        self._states: dict[str, str] = {}
        self._warned: frozenset[str] = frozenset()
        self.secrets = Secrets(configuration.secrets)

    async def status(self) -> Status:
        """Return a result at most ANSWER_KEPT_SECONDS old, or of the round in progress, which ends by its deadline."""
        if self._round is None or (self._round.done() and time.monotonic() - self._ended > ANSWER_KEPT_SECONDS):
            self._round = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._round)  # one poller that goes away must not end the others' round

    async def watch(self) -> None:
        """Ask for ever, so that changes are logged without pollers."""
        while True:
            await self.status()
            await asyncio.sleep(WATCH_SECONDS)

    async def _ask_all(self) -> Status:
        configuration = self._configuration
        self.secrets = Secrets(configuration.secrets)
        due = asyncio.get_running_loop().time() + configuration.deadline
        asker = Asker(self._http, self.secrets, configuration.deadline, due)
        plain = [service for service in configuration.services if service.kind != "ray"]
        ray_and_cluster, answers = await asyncio.gather(
            self._ask_ray(asker), asyncio.gather(*(ask_service(service, asker) for service in plain))
        )
        ray, cluster = ray_and_cluster
        known = {answer.name: answer for answer in answers}
        services = tuple(
            known.get(service.name) or ray_service(service, ray, scratch_of(configuration.scratch.get(service.name)))
            for service in configuration.services
        )
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = Status(now, configuration.stack, services, ray, cluster)
        self._log_changes(status)
        self._ended = time.monotonic()
        return status

    async def _ask_ray(self, asker: Asker) -> tuple[RayStatus, ClusterStatus | None]:
        configuration = self._configuration
        cluster = configuration.cluster
        state = await ask_cluster(cluster, asker) if cluster else None
        leader = state.head if isinstance(state, ClusterState) else None
        ray = await ask_ray(configuration.ray_nodes, configuration.ray_dashboard, leader, asker)
        if cluster is None or state is None:
            return ray, None
        status = cluster_status(cluster, state)
        if cluster.host and ray.head is None and ray.error and status.error:
            ray = replace(ray, error=f"no head: {status.error}")
        return ray, status

    def _log_changes(self, status: Status) -> None:
        states = {"platform": status.state} | {service.name: service.state for service in status.services}
        states["ray head"] = status.ray.head.node if status.ray.head else "none"
        errors = {service.name: service.error for service in status.services}
        for name in states:
            if states[name] != self._states.get(name):
                was = self._states.get(name)
                log(self.secrets, event="state", name=name, was=was, now=states[name], error=errors.get(name))
        self._states = states
        # By who warns, not by the clause: figures in it change every round.
        warnings = {service.name: service.warning for service in status.services if service.warning}
        for name in warnings.keys() - self._warned:
            log(self.secrets, event="warning", name=name, warning=warnings[name])
        self._warned = frozenset(warnings)


def log(secrets: Secrets, **fields: str | int | None) -> None:
    """Write one JSON line to stdout, without secrets and without empty fields."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
    print(secrets.redact(json.dumps({key: value for key, value in line.items() if value is not None})), flush=True)


# --- the page --------------------------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1b1f24, #e6e9ed); --soft: light-dark(#57606a, #a2abb6);
  --ground: light-dark(#f5f6f8, #14171b); --card: light-dark(#fff, #1d2127); --line: light-dark(#d8dde3, #343b44);
  --good: light-dark(#116329, #6fdd8b); --bad: light-dark(#b01c26, #ff8e86); --wait: light-dark(#7a4a00, #f0bd5b);
  --link: light-dark(#0550ae, #7ab8ff) }
* { box-sizing: border-box }
body { margin: 0; padding: 2rem clamp(1rem, 4vw, 3rem); background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif }
main, header, footer { max-width: 64rem; margin: 0 auto }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25 } h2 { margin: 2rem 0 .6rem; font-size: 1.15rem }
p { margin: .35rem 0 } header p, footer, .note { color: var(--soft) }
footer { margin-top: 2rem; font-size: .9rem }
a { color: var(--link) } a:focus-visible, .scroll:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .5rem }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .55rem .9rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line) }
thead th { border-top: 0; color: var(--soft); font-size: .85rem; white-space: nowrap }
tbody th { font-weight: 600; white-space: nowrap }
th.n, td.n { text-align: right; white-space: nowrap }
.state { font-weight: 600; white-space: nowrap }
.error, .warning { display: block; min-width: 14rem; color: var(--soft); font-size: .9rem }
.warning { color: var(--wait) }
.up, .healthy, .alive { color: var(--good) } .down, .unhealthy, .missing { color: var(--bad) }
.starting, .maintenance { color: var(--wait) } .old { color: var(--soft) }
"""
HOST_COLUMNS = ("Host", "State", "Address", "May lead", "Sees the head", ">Last seen")
HISTORY_COLUMNS = (">Epoch", "Host", "Event", "Time")
SERVICE_COLUMNS = ("Service", "State", ">Latency", "Version", "Open")
NODE_COLUMNS = ("Node", "State", "Role", "Address", ">CPUs", ">GPUs", ">Memory")
MARKS = {
    **dict.fromkeys((UP, HEALTHY, "alive"), "●"),
    **dict.fromkeys((DOWN, UNHEALTHY, "missing"), "✕"),
    STARTING: "◐",
    "maintenance": "◌",
    "old": "○",
}
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E"
    "%3Ccircle cx='4' cy='4' r='4' fill='{}'/%3E%3C/svg%3E"
)
ICON_COLOURS = {HEALTHY: "%231a7f37", UNHEALTHY: "%23cf222e"}
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src "
    f"'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
}


def page(status: Status, refresh: bool) -> str:
    """Return the HTML page; it needs no script and no other file, and loads itself again unless refresh is False."""
    stack = html.escape(status.stack or "platform")
    again = f'<meta http-equiv="refresh" content="{PAGE_REFRESH_SECONDS}">' if refresh else ""
    choice = (
        f'Refreshes every {PAGE_REFRESH_SECONDS} seconds. <a href="/?refresh=off">Stop refreshing</a>'
        if refresh
        else 'Does not refresh. <a href="/">Refresh again</a>'
    )
    clock = _clock(status.time)
    summary = f"Not up: {html.escape(', '.join(status.down))}" if status.down else "Every service is up."
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">{again}
<title>{MARKS[status.state]} {stack}: {status.state}</title>
<link rel="icon" href="{ICON.format(ICON_COLOURS[status.state])}"><style>{STYLE}</style></head><body>
<header><h1>{stack}: {_state(status.state)}</h1>
<p>{summary}</p></header>
<main><h2 id="services">Services</h2>
{_table("services", SERVICE_COLUMNS, [_service_row(service) for service in status.services])}
<h2 id="nodes">Ray nodes</h2>
{_head_line(status.ray)}
{_table("nodes", NODE_COLUMNS, [_node_row(node) for node in status.ray.nodes])}
{_cluster_section(status.cluster)}</main>
<footer><p>As of <time datetime="{status.time}">{clock}</time>. {choice}</p>
<p>For programs: <a href="/status">/status</a>, <a href="/health">/health</a></p></footer></body></html>"""


def _table(heading: str, columns: tuple[str, ...], rows: list[str]) -> str:
    """Return a table labelled by its heading; a column whose name begins with > holds numbers."""
    if not rows:
        return '<p class="note">None configured.</p>'
    head = "".join(
        f'<th scope="col"{" class=n" if name.startswith(">") else ""}>{name.removeprefix(">")}</th>' for name in columns
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{heading}">'
        f'<table aria-labelledby="{heading}">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _state(state: str) -> str:
    return f'<span class="state {state}"><span aria-hidden="true">{MARKS[state]}</span> {state}</span>'


def _link(url: str | None) -> str:
    if url is None:
        return ""
    shown = html.escape(url)
    return f'<a href="{shown}">{shown.partition("://")[2]}</a>' if url.startswith(("http://", "https://")) else shown


def _service_row(service: ServiceStatus) -> str:
    error = f'<span class="error">{html.escape(service.error)}</span>' if service.error else ""
    error += f'<span class="warning">Warning: {html.escape(service.warning)}</span>' if service.warning else ""
    error += "".join(f'<span class="error">{html.escape(usage.text)}</span>' for usage in service.usage)
    latency = "" if service.latency_ms is None else f"{service.latency_ms:.1f} ms"
    return (
        f'<tr><th scope="row">{html.escape(service.name)}</th><td>{_state(service.state)}{error}</td>'
        f'<td class="n">{latency}</td><td>{html.escape(service.version or "")}</td><td>{_link(service.url)}</td></tr>'
    )


def _head_line(ray: RayStatus) -> str:
    if ray.head is None:
        return f'<p class="note">No head. {html.escape(ray.error or "")}</p>'
    dashboard = f", dashboard at {_link(ray.head.dashboard)}" if ray.head.dashboard else ""
    error = f'<p class="error">{html.escape(ray.error)}</p>' if ray.error else ""
    return f"<p>Head: {html.escape(ray.head.node)} at {html.escape(ray.head.address)}{dashboard}</p>{error}"


def _cluster_section(cluster: ClusterStatus | None) -> str:
    """Return what the election knows; of one host alone only when there is something to say."""
    if cluster is None or not (cluster.host or cluster.error):
        return ""
    facts = [
        f"Head: {cluster.head}, epoch {cluster.epoch}" + (f", since {_clock(cluster.since)}" if cluster.since else "")
        if cluster.head
        else f"No head: {cluster.error}"
        if cluster.error
        else f"Election is {cluster.election}",
        f"Cluster {cluster.namespace}" + (f", seen from {cluster.host}" if cluster.host else ""),
    ]
    paragraphs = "".join(f"<p>{html.escape(fact)}.</p>" for fact in facts)
    hosts = _table("hosts", HOST_COLUMNS, [_host_row(host) for host in cluster.hosts]) if cluster.host else ""
    events = [_event_row(event) for event in cluster.history[:EVENTS_SHOWN]]
    history = f'<h2 id="history">Moves of the head</h2>{_table("history", HISTORY_COLUMNS, events)}' if events else ""
    return f'<h2 id="hosts">Hosts</h2>{paragraphs}{hosts}{history}'


def _host_row(host: HostStatus) -> str:
    sees = "" if host.sees_head is None else "yes" if host.sees_head else "no"
    return (
        f'<tr><th scope="row">{html.escape(host.name)}</th><td>{_state(host.state)}</td>'
        f"<td>{html.escape(host.address)}</td><td>{'yes' if host.candidate else 'no'}</td><td>{sees}</td>"
        f'<td class="n">{host.last_seen:.0f} s ago</td></tr>'
    )


def _event_row(event: HeadEvent) -> str:
    return (
        f'<tr><td class="n">{event.epoch}</td><th scope="row">{html.escape(event.host)}</th>'
        f"<td>{html.escape(event.event)}</td><td>{_clock(event.time)}</td></tr>"
    )


def _clock(time_in_utc: str) -> str:
    return time_in_utc.replace("T", " ").replace("Z", " UTC")


def _node_row(node: NodeStatus) -> str:
    state = "alive" if node.alive else "missing" if node.expected else "old"
    error = f'<span class="error">{html.escape(node.message)}</span>' if node.message else ""
    memory = f"{node.memory / 2**30:.1f} GiB" if node.memory else ""
    numbers = "".join(f'<td class="n">{_count(value)}</td>' for value in (node.cpus, node.gpus))
    return (
        f'<tr><th scope="row">{html.escape(node.name)}</th><td>{_state(state)}{error}</td><td>{node.role or ""}</td>'
        f'<td>{html.escape(node.address or "")}</td>{numbers}<td class="n">{memory}</td></tr>'
    )


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


# --- the server ------------------------------------------------------------------------------------------------------

CONFIGURATION: web.AppKey[Configuration] = web.AppKey("configuration", Configuration)
MONITOR: web.AppKey[Monitor] = web.AppKey("monitor", Monitor)


async def get_ping(request: web.Request) -> web.Response:
    """This program answers; says nothing about any service."""
    return _answer(request, {"state": UP})


async def get_health(request: web.Request) -> web.Response:
    """200 when the whole platform is healthy, else 503 with what is not up."""
    status = await request.app[MONITOR].status()
    body = {"state": status.state, "time": status.time, "down": status.down}
    return _answer(request, body, 200 if status.state == HEALTHY else 503)


async def get_status(request: web.Request) -> web.Response:
    """Everything known, as JSON."""
    status = await request.app[MONITOR].status()
    return _answer(request, {"state": status.state, **asdict(status)})


async def get_page(request: web.Request) -> web.Response:
    """Everything known, for people."""
    monitor = request.app[MONITOR]
    text = page(await monitor.status(), refresh=request.query.get("refresh") != "off")
    # Ports open to the network are listed by the loopback address; the reader came by one that works for him.
    text = text.replace("//127.0.0.1:", f"//{html.escape(request.url.host or '127.0.0.1')}:")
    return web.Response(text=monitor.secrets.redact(text), content_type="text/html", headers=PAGE_HEADERS)


def _answer(request: web.Request, body: dict[str, Any], status: int = 200) -> web.Response:
    text = request.app[MONITOR].secrets.redact(json.dumps(body))
    return web.Response(text=text + "\n", content_type="application/json", status=status)


async def _set_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update({"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})


ROUTES: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
    "/": get_page,
    "/health": get_health,
    "/status": get_status,
    "/ping": get_ping,
}


async def _monitoring(application: web.Application) -> AsyncIterator[None]:
    # A fresh connection each time: what counts is whether the service takes one now.
    connector = aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        application[MONITOR] = monitor = Monitor(application[CONFIGURATION], http)
        watch = asyncio.create_task(monitor.watch())
        yield
        watch.cancel()


def make_application(configuration: Configuration) -> web.Application:
    """Return the server's application; it asks the services from its start to its cleanup."""
    application = web.Application()
    application[CONFIGURATION] = configuration
    application.cleanup_ctx.append(_monitoring)
    application.on_response_prepare.append(_set_headers)
    application.add_routes([web.get(path, handler) for path, handler in ROUTES.items()])
    return application


async def serve(configuration: Configuration) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(LOOKUP_THREADS))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    application = make_application(configuration)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    # All interfaces of its container: which address of the host it appears on is Docker's publication.
    await web.TCPSite(runner, "0.0.0.0", configuration.port).start()  # noqa: S104
    log(application[MONITOR].secrets, event="start", name=configuration.stack, port=configuration.port)
    await stop.wait()
    log(application[MONITOR].secrets, event="stop", name=configuration.stack)
    await runner.cleanup()


def main() -> int:
    """Run the service; returns 2 for a configuration that cannot be used, 1 when the port cannot be taken."""
    # A name of a container that does not run goes to the site's resolver; when that hangs, each look-up holds a thread.
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
    try:
        configuration = Configuration.from_environment(os.environ)
        asyncio.Runner().run(serve(configuration))
    except ConfigurationError as error:
        print(f"health: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"health: cannot listen on port {configuration.port}: {error.strerror or error}.", file=sys.stderr)
        return 1
    os._exit(0)  # a look-up or a cancelled query that hangs must not hold the exit


if __name__ == "__main__":
    sys.exit(main())
