"""Finds running work on a deployed stack: Ray jobs, drivers, actors and tasks, open notebooks, MLflow runs.

Asks the containers as they are deployed, by their ports, mounts and variables: the stack file may have changed since.
Changes nothing, and takes a few seconds at most; reports which services could not be asked.
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from config.notation import EVERYWHERE, NOTEBOOKS, listed_as
from config.ports import MARIMO, MLFLOW, RAY_DASHBOARD
from contracts import mlflow_login
from contracts.document import SETTINGS_VARIABLE
from contracts.ray_nodes import NODES_PATH, AnswerError, RayNode, listed, nodes_in
from docker_api.api import DockerApi, Json
from stack.identity import StackIdentity
from stack.secrets import NOTEBOOK_TOKEN, SECRETS_TARGET

SECONDS = 2.0  # for one answer
TRIES = 2  # a busy dashboard may miss the first
MOST_ENTRIES = 10_000
MOST_EXPERIMENTS = 1000
RAY_NODES = ("ray-cpu", "ray-gpu", "ray-head")
CLIENT_SERVER = "ray.util.client.server"  # the driver that stands in for one connected from elsewhere
# Actors that Ray starts for itself.
INTERNAL_ACTORS = ("_ray_internal_", "_ray_")
SUPERVISOR = "_ray_internal_job_actor_"  # and the submission ID: the actor in which a submitted job runs
JOB_ID_DIGITS = 8
UNENDED = ("PENDING", "RUNNING")  # of a job
IDLE = ("waiting: ", "drained: ")  # entrypoints/ray/node.py


class Kind(StrEnum):
    """Kinds of running work."""

    JOB = "job"
    DRIVER = "driver"
    CLIENT = "client"
    ACTOR = "actor"
    TASK = "task"
    NOTEBOOK = "notebook"


@dataclass(frozen=True, kw_only=True)
class Work:
    """One piece of work that a user started and that has not ended."""

    kind: Kind
    identifier: str
    what: str = ""  # the command of a job, the file of a notebook, the name of an actor
    since: float | None = None  # seconds since 1970
    node: str = ""  # the service that it runs in: ray-cpu; empty where that is on another host, or not known
    part: bool = False  # of a job or driver that is named as well, which may have other parts elsewhere


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A container of the stack, as far as it matters here."""

    service: str
    name: str
    running: bool
    healthy: bool
    idle: bool = False  # a Ray node without a head, or one that was drained: it says so to its health check
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: Mapping[str, str] = field(default_factory=dict)  # target → folder of the host, or name of the volume
    ports: Mapping[int, str] = field(default_factory=dict)  # inner port → host:port by which this host reaches it
    address: str = ""  # on the stack's network
    several_hosts: bool = False

    @classmethod
    def of(cls, found: Json) -> "Deployed":
        """From what Docker says on inspection."""
        state, settings = found["State"], found["NetworkSettings"]
        networks = (settings.get("Networks") or {}).values()
        health = state.get("Health") or {}
        said = ((health.get("Log") or [{}])[-1].get("Output") or "").strip()
        address = next((network["IPAddress"] for network in networks if network.get("IPAddress")), "")
        ports = {}
        for port in {*(found["Config"].get("ExposedPorts") or {}), *(settings.get("Ports") or {})}:
            inner = int(port.partition("/")[0])
            ports[inner] = f"{address}:{inner}"
            for binding in (settings.get("Ports") or {}).get(port) or ():
                host = binding["HostIp"] or EVERYWHERE[0]
                ports[inner] = f"{'127.0.0.1' if host in EVERYWHERE else host}:{binding['HostPort']}"
                break
        return cls(
            service=found["Config"]["Labels"].get("cslr.component", ""),
            name=found["Name"].removeprefix("/"),
            running=state["Status"] == "running",
            healthy=health.get("Status") == "healthy",
            idle=said.startswith(IDLE),
            env=dict(entry.split("=", 1) for entry in found["Config"].get("Env") or () if "=" in entry),
            mounts={
                mount["Destination"]: mount.get("Name") or mount.get("Source") or ""
                for mount in found.get("Mounts") or ()
            },
            ports=ports,
            address=address,
            several_hosts=found["HostConfig"].get("NetworkMode") == "host",
        )

    def reached(self, port: int) -> str:
        """Where this host reaches a port of it, as host:port."""
        return self.ports.get(port, f"{self.address or '127.0.0.1'}:{port}")

    def host(self, port: int) -> str:
        """Its name for the stack's own containers: a Host that MLflow accepts, unlike the address of its container."""
        return f"{self.service}:{port}"


@dataclass(frozen=True, kw_only=True)
class RunningWork:
    """Running work, and services whose work is unknown."""

    works: tuple[Work, ...] = ()
    head: str = ""  # the service that leads Ray here; empty where another host leads, or none
    # Service → why what runs there is not known, though it is healthy. A service that is not runs nothing for long: it
    # is being started, or about to be restarted.
    not_asked: Mapping[str, str] = field(default_factory=dict)
    services: tuple[Deployed, ...] = ()
    runs: int = 0  # unfinished MLflow runs, including those whose program was killed

    def __bool__(self) -> bool:
        """Whether there may be anything that can end."""
        return bool(self.works or self.not_asked)

    def service(self, name: str) -> Deployed | None:
        """The container of a service."""
        return next((one for one in self.services if one.service == name), None)

    @property
    def several_hosts(self) -> bool:
        """Whether the stack is a host of a cluster of several."""
        return any(one.service in (*RAY_NODES, "ray-gateway") and one.several_hosts for one in self.services)

    @property
    def pair(self) -> bool:
        """Whether this host has one of two Redis servers."""
        gateway = self.service("ray-gateway")
        if gateway is None:
            return False
        # Until 0.2.0 the gateway had a variable of its own for that.
        settings = json.loads(gateway.env.get(SETTINGS_VARIABLE) or "{}")
        return bool(settings.get("own_redis") or gateway.env.get("GATEWAY_REDIS_OWN"))


class NotAskedError(Exception):
    """Why a service did not say what runs in it."""


def deployed(identity: StackIdentity, api: DockerApi | None = None) -> tuple[Deployed, ...]:
    """The containers of a stack. Raises `DockerError`."""
    api = api or DockerApi()
    listed = api.labelled("/containers/json", "", identity.label_filters)
    found = (api.find(f"/containers/{entry['Id']}/json") for entry in listed)
    return tuple(sorted((Deployed.of(one) for one in found if one), key=lambda one: one.service))


def look(identity: StackIdentity, api: DockerApi | None = None) -> RunningWork:
    """Finds the running work of a stack. Raises `DockerError` if Docker itself does not answer."""
    return asked(deployed(identity, api))


def asked(services: tuple[Deployed, ...]) -> RunningWork:
    """Asks these containers for their running work."""
    nodes = [one for one in services if one.service in RAY_NODES and one.running]
    running = {one.service: one for one in services if one.running}
    questions: dict[str, Callable[[], _Answer]] = {}
    if nodes:
        questions[_first(nodes).service] = lambda: _ray(nodes)
    for marimo in (one for name, one in running.items() if listed_as(name) == NOTEBOOKS):
        questions[marimo.service] = partial(_open_notebooks, marimo)
    if mlflow := running.get("mlflow"):
        questions[mlflow.service] = lambda: _Answer(runs=_runs(mlflow))
    if not questions:
        return RunningWork(services=services)
    found, not_asked = _Answer(), {}
    with ThreadPoolExecutor() as pool:
        answers = {service: pool.submit(question) for service, question in questions.items()}
        for service, answer in answers.items():
            try:
                found += answer.result()
            except NotAskedError as error:
                if running[service].healthy and not running[service].idle:
                    not_asked[service] = str(error)
    return RunningWork(works=found.works, head=found.head, runs=found.runs, not_asked=not_asked, services=services)


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """The answer of one service."""

    works: tuple[Work, ...] = ()
    head: str = ""
    runs: int = 0

    def __add__(self, other: "_Answer") -> "_Answer":
        return _Answer(works=self.works + other.works, head=self.head or other.head, runs=self.runs + other.runs)


def _first(nodes: Iterable[Deployed]) -> Deployed:
    """The node that stands for Ray: one in which something may run, if there is any."""
    return min(nodes, key=lambda node: (not node.healthy or node.idle, RAY_NODES.index(node.service)))


# --------------------------------------------------------------------------------------------------------- Ray


def _ray(nodes: list[Deployed]) -> _Answer:
    """Running work in Ray, and the service here that leads it. Every node except the head refuses, so each is asked."""
    failure = NotAskedError("Ray's dashboard does not answer")
    for node in sorted(nodes, key=lambda node: (not node.healthy, RAY_NODES.index(node.service))):
        shared = _shared_dashboard(node)
        if node.several_hosts and not shared:
            continue
        dashboard = _Http(f"http://{shared or node.reached(RAY_DASHBOARD)}", "Ray's dashboard", _bearer(node))
        try:
            return _of_dashboard(dashboard, {one.env.get("RAY_NODE_NAME", one.service): one.service for one in nodes})
        except NotAskedError as error:
            failure = error if node.healthy else failure
    raise failure


def _shared_dashboard(node: Deployed) -> str | None:
    """Where several hosts have the head's dashboard, as host:port."""
    settings = json.loads(node.env.get(SETTINGS_VARIABLE) or "{}")
    # Until 0.2.0 nodes had a variable of their own for that.
    return settings.get("guard", {}).get("dashboard") or node.env.get("RAY_NODE_DASHBOARD")


def _of_dashboard(dashboard: "_Http", services: Mapping[str, str]) -> _Answer:
    alive = [node for node in dashboard.nodes() if node.alive]
    places: dict[str, str] = {}
    addresses: dict[str, str] = {}
    leads = ""
    # The nodes of one of several hosts share its address. There the head's own node, which runs no driver, yields.
    for node in sorted(alive, key=lambda one: not one.head):
        places[node.identifier] = addresses[node.address] = services.get(node.name, "")
        if node.head:
            leads = services.get(node.name, "")
    jobs, actors = dashboard.get("/api/jobs/"), dashboard.states("actors", state="ALIVE")
    living = list(_living(jobs, actors))
    drivers: dict[str, str] = {}
    if len(alive) > 1 and any(entry.get("type") == "DRIVER" and entry.get("status") in UNENDED for entry in living):
        drivers = _drivers(dashboard.states("workers", worker_type="DRIVER"), places)
    works = [*_jobs(living, places, addresses, drivers, leads), *_actors(actors, places)]
    if len(alive) > 1:  # one of them may end without the others
        works += _tasks(dashboard.states("tasks", state="RUNNING"), places)
    return _Answer(works=tuple(works), head=leads)


def _living(jobs: Any, actors: list[Json]) -> Iterator[Json]:  # noqa: ANN401 (JSON)
    """The jobs without those that ended with an earlier head. Ray 2.60 calls them RUNNING until something wakes its
    watch of jobs, such as the first submission or question for a log; but it knows that their supervisors are dead.
    """
    supervised = {str(entry.get("name")) for entry in actors}
    all_known = len(actors) < MOST_ENTRIES
    for job in jobs if isinstance(jobs, list) else ():
        begun = job.get("type") == "SUBMISSION" and job.get("status") == "RUNNING"
        if not (begun and all_known) or f"{SUPERVISOR}{job.get('submission_id')}" in supervised:
            yield job


def _drivers(workers: Iterable[Json], places: Mapping[str, str]) -> dict[str, str]:
    """Job → the service of its driver. A driver's worker ID begins with its job's."""
    return {
        str(worker.get("worker_id") or "")[:JOB_ID_DIGITS]: places.get(worker.get("node_id") or "", "")
        for worker in workers
        if worker.get("is_alive")
    }


def _jobs(
    entries: Iterable[Json],
    places: Mapping[str, str],
    addresses: Mapping[str, str],
    drivers: Mapping[str, str],
    head: str,
) -> Iterator[Work]:
    for entry in entries:
        if entry.get("status") not in UNENDED:
            continue
        since = entry["start_time"] / 1000 if entry.get("start_time") else None
        command = str(entry.get("entrypoint") or "")
        if entry.get("type") == "SUBMISSION":
            node = places.get(entry.get("driver_node_id") or "", "" if entry.get("driver_node_id") else head)
            yield Work(kind=Kind.JOB, identifier=str(entry.get("submission_id")), what=command, since=since, node=node)
        elif CLIENT_SERVER in command:
            yield Work(kind=Kind.CLIENT, identifier=str(entry.get("job_id")), since=since, node=head)
        else:
            at = str((entry.get("driver_info") or {}).get("node_ip_address"))
            yield Work(
                kind=Kind.DRIVER,
                identifier=str(entry.get("job_id")),
                what=command,
                since=since,
                node=drivers.get(str(entry.get("job_id")), addresses.get(at, "")),
            )


def _actors(entries: Iterable[Json], places: Mapping[str, str]) -> Iterator[Work]:
    """A detached one outlives its driver, so that nothing else that is named has it."""
    for entry in entries:
        name = str(entry.get("name") or "")
        if not name.startswith(INTERNAL_ACTORS):
            yield Work(
                kind=Kind.ACTOR,
                identifier=str(entry.get("actor_id")),
                what=name or str(entry.get("class_name")),
                node=places.get(entry.get("node_id") or "", ""),
                part=not entry.get("is_detached"),
            )


def _tasks(entries: Iterable[Json], places: Mapping[str, str]) -> Iterator[Work]:
    for entry in entries:
        what = str(entry.get("name") or entry.get("func_or_class_name") or "")
        if entry.get("type") == "NORMAL_TASK":
            node = places.get(entry.get("node_id") or "", "")
            yield Work(kind=Kind.TASK, identifier=str(entry.get("task_id")), what=what, node=node, part=True)


# ------------------------------------------------------------------------------------------------------- Marimo


def _open_notebooks(marimo: Deployed) -> "_Answer":
    return _Answer(works=tuple(_notebooks(marimo)))


def _notebooks(marimo: Deployed) -> Iterator[Work]:
    token = _secret(marimo, NOTEBOOK_TOKEN)
    login = b64encode(f"ws:{token}".encode()).decode()
    base = marimo.env.get("MARIMO_BASE_URL", "").rstrip("/")
    server = _Http(f"http://{marimo.reached(MARIMO)}{base}", "Marimo", f"Basic {login}")
    sessions = server.get("/api/sessions")
    for identifier, session in (sessions if isinstance(sessions, dict) else {}).items():
        what = Path(session.get("path") or session.get("filename") or "unnamed notebook").name
        yield Work(kind=Kind.NOTEBOOK, identifier=str(identifier), what=what, node=marimo.service)


# ------------------------------------------------------------------------------------------------------- MLflow


def _runs(mlflow: Deployed) -> int:
    """How many runs are in status RUNNING; of a server that does not say it, none: they end with no container."""
    api = f"{mlflow.env.get('MLFLOW_STATIC_PREFIX', '')}/api/2.0/mlflow"
    try:
        server = _Http(f"http://{mlflow.reached(MLFLOW)}{api}", "MLflow", _mlflow_login(mlflow), mlflow.host(MLFLOW))
        found = server.get("/experiments/search", {"max_results": MOST_EXPERIMENTS}).get("experiments") or []
        wanted = {"experiment_ids": [one["experiment_id"] for one in found], "max_results": MOST_ENTRIES}
        wanted["filter"] = "attributes.status = 'RUNNING'"
        return len(server.get("/runs/search", wanted).get("runs") or ()) if found else 0
    except (NotAskedError, LookupError, TypeError, AttributeError):
        return 0


def _mlflow_login(mlflow: Deployed) -> str:
    if f"{SECRETS_TARGET}/{mlflow_login.SERVICE_SECRET}" not in mlflow.mounts:
        return ""
    return mlflow_login.basic(mlflow_login.SERVICE, _secret(mlflow, mlflow_login.SERVICE_SECRET))


# --------------------------------------------------------------------------------------------------------- HTTP


def _bearer(node: Deployed) -> str:
    return f"Bearer {_secret(node, 'ray-token')}"


def _secret(service: Deployed, name: str) -> str:
    """The secret that a container was given, which may not be the one that the stack file would give it now."""
    file = service.mounts.get(f"{SECRETS_TARGET}/{name}", "")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NotAskedError(
            f"{service.service}: its secret {file or name} cannot be read ({error.strerror})"
        ) from error


@dataclass(frozen=True)
class _Http:
    """A server that answers with JSON."""

    url: str
    name: str
    authorization: str = field(repr=False)
    host: str = ""  # for a server that takes no other

    def states(self, what: str, **wanted: str) -> list[Json]:
        """A list of Ray's State API, of those whose fields are as wanted."""
        query: list[tuple[str, str]] = [("detail", "true"), ("limit", str(MOST_ENTRIES))]
        for key, value in wanted.items():
            query += [("filter_keys", key), ("filter_predicates", "="), ("filter_values", value)]
        answer = self.get(f"/api/v0/{what}?{urllib.parse.urlencode(query)}")
        try:
            return listed(answer)
        except AnswerError as error:
            raise self._strange(what) from error

    def nodes(self) -> tuple[RayNode, ...]:
        """Ray's nodes, dead ones too."""
        answer = self.get(NODES_PATH)
        try:
            return nodes_in(answer)
        except AnswerError as error:
            raise self._strange("nodes") from error

    def _strange(self, what: str) -> NotAskedError:
        return NotAskedError(f"{self.name} at {self.url} answers something else than a list of {what}")

    def get(self, path: str, body: Json | None = None) -> Any:  # noqa: ANN401 (JSON)
        """The answer to a GET, or to a POST if there is a body. Raises `NotAskedError`."""
        headers = {"Authorization": self.authorization} if self.authorization else {}
        headers |= {"Content-Type": "application/json"} if body else {}
        headers |= {"Host": self.host} if self.host else {}
        content = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self.url + path, content, headers)  # noqa: S310 (http, our own)
        # No proxy: it is our own, and a proxy of the site cannot reach it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        reason = ""
        for left in reversed(range(TRIES)):
            began = time.monotonic()
            try:
                with opener.open(request, timeout=SECONDS) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                raise NotAskedError(f"{self.name} at {self.url} answers {error.code} {error.reason}") from error
            except (OSError, ValueError, HTTPException) as error:
                reason = f"{self.name} at {self.url} does not answer ({error})"
                if not left or time.monotonic() - began < SECONDS / 2:  # refused, which it will be again
                    break
        raise NotAskedError(reason)
