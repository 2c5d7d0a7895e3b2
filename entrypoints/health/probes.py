"""One probe for each kind of service except Ray: does it work, and how close is it to its limits?"""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import psycopg
import redis.asyncio
import redis.exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from contracts import postgres
from contracts.health import Kind, WatchedService
from contracts.status import Reason, ServiceStatus, State, Usage
from coordination.redis_users import READER
from entrypoints.health.asker import Asker, timed
from entrypoints.health.failure import FailureError, in_one_line

WARN_SHARE, ERROR_SHARE = 0.7, 0.9  # shares of a limit above which a probe warns, and fails
GREETING = re.compile(r"SSH-2\.0-OpenSSH_(?P<version>[^ ]+)")  # of sshd
VERSION = re.compile(r"\d[\w.+-]{0,63}")


@dataclass(frozen=True)
class ProbeWarning:
    """A problem that may become a failure; the message is a clause for people."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Finding:
    """A probe's findings about a service that is up."""

    version: str | None = None
    usage: tuple[Usage, ...] = ()
    warning: ProbeWarning | None = None


def in_words(usage: Usage) -> str:
    """Format a usage for people: ``memory: 190 of 320 MiB``."""
    unit, size = ("GiB", 2**30) if usage.limit >= 10 * 2**30 else ("MiB", 2**20)
    return f"{usage.name}: {usage.used / size:.0f} of {usage.limit / size:.0f} {unit}"


async def ask_service(service: WatchedService, asker: Asker) -> ServiceStatus:
    """Ask one service that is not a Ray node; never raises."""
    answer = await timed(asker.in_time(PROBES[service.kind](service, asker)), service)
    found = answer.found if isinstance(answer.found, Finding) else Finding(answer.found)
    return service_status(service, found, answer.latency_ms, answer.failure)


def service_status(
    service: WatchedService, found: Finding, latency_ms: float | None, failure: FailureError | None
) -> ServiceStatus:
    """Return a probe's result for the report."""
    return ServiceStatus(
        name=service.name,
        kind=service.kind.value,
        state=failure.state if failure else State.UP,
        latency_ms=latency_ms,
        version=found.version,
        url=service.url,
        reason=failure.reason if failure else None,
        error=failure.message if failure else None,
        usage=found.usage,
        warning_reason=found.warning.reason if found.warning else None,
        warning=found.warning.message if found.warning else None,
    )


def version_in(text: str, service: WatchedService) -> str:
    """Return the text if it is a version; raises FailureError if another program seems to answer."""
    version = text.strip().strip('"')
    if not VERSION.fullmatch(version):
        answer = f"{service.host}:{service.port} answers without a version: is it really {service.kind.value}?"
        raise FailureError(Reason.WRONG_ANSWER, answer)
    return version


async def probe_redis(service: WatchedService, asker: Asker) -> Finding:
    """PING with the password; finds the server's version and how much of its memory its data takes.

    Raises FailureError if Redis refuses writes or soon will: Ray's head ends when it cannot write.
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
            raise FailureError(Reason.STARTING, "Redis is loading its data") from None
        information = await client.info("server", "memory", "persistence")
    version = version_in(str(information.get("redis_version")), service)
    memory = Usage(name="memory", used=int(information["used_memory"]), limit=int(information["maxmemory"]))
    share = memory.used / memory.limit if memory.limit else 0
    if share >= ERROR_SHARE:
        raise FailureError(Reason.MEMORY_FULL, f"nearly refuses writes: {in_words(memory)}")
    if information["aof_last_write_status"] != "ok":
        full = "cannot write its append-only file, so it refuses writes: is the disk of its volume full?"
        raise FailureError(Reason.CANNOT_WRITE, full)
    warning = ProbeWarning(Reason.MEMORY_HIGH, in_words(memory)) if share >= WARN_SHARE else None
    if information["aof_last_bgrewrite_status"] != "ok":
        warning = ProbeWarning(Reason.REWRITE_FAILED, "the last rewrite of its append-only file failed; see its log")
    return Finding(version, (memory,) if memory.limit else (), warning)


async def probe_postgres(service: WatchedService, asker: Asker) -> str:
    """Run a query in MLflow's database; returns the server's version."""
    try:
        connection = await psycopg.AsyncConnection.connect(
            host=service.host,
            port=service.port,
            user=postgres.MONITOR,
            dbname=postgres.MLFLOW,
            password=asker.secrets[f"postgres-{postgres.MONITOR}"],
            application_name="health",
        )
    except psycopg.OperationalError as error:
        if "the database system is starting up" in str(error):
            raise FailureError(Reason.STARTING, "Postgres is starting up") from None
        if "password authentication failed" in str(error):
            raise FailureError(Reason.ACCESS_DENIED, in_one_line(error)) from None
        # The driver gives the reason for a failed connection only as text, the operating system as a number.
        _, writer = await asyncio.open_connection(service.host, service.port)
        writer.close()
        raise
    async with connection:
        row = await (await connection.execute("select version()")).fetchone()
    return version_in(str(row).split()[1], service)


async def probe_mlflow(service: WatchedService, asker: Asker) -> str:
    """Ask the two endpoints that are open to every Host header; returns the server's version."""
    await asker.get(service, "/health")
    return version_in(await asker.get(service, "/version"), service)


async def probe_marimo(service: WatchedService, asker: Asker) -> str | None:
    """Ask for health; returns the version, None without the token that marimo wants for it."""
    await asker.get(service, "/health")
    token = asker.secrets.get("marimo-token")
    return version_in(await asker.get(service, "/api/version", token), service) if token else None


async def probe_exporter(service: WatchedService, asker: Asker) -> None:
    """Ask for health, which says what is wrong: figures that are old, or a GPU that does not answer."""
    answer = await asker.get(service, "/health", accepted=(200, 503))
    try:
        problems = [str(problem) for problem in json.loads(answer)["problems"]]
    except (ValueError, TypeError, LookupError):
        raise FailureError(Reason.WRONG_ANSWER, f"{service.host}:{service.port} is no exporter") from None
    if problems:
        raise FailureError(Reason.WRONG_ANSWER, "; ".join(problems))


async def probe_transcription_frontend(service: WatchedService, asker: Asker) -> None:
    """Ask the web server itself; the transcription service that it leads to is a service of its own."""
    if (await asker.get(service, "/ping")).strip() != "pong":
        raise FailureError(Reason.WRONG_ANSWER, f"{service.host}:{service.port} is not the page of transcription")


async def probe_transcription(service: WatchedService, asker: Asker) -> None:
    """Ask for health, which says whether there is a model."""
    answer = await asker.get(service, "/health", accepted=(200, 503))
    try:
        found = json.loads(answer)
        problem = found["error"]["message"] if "error" in found else None
        found["error"] if problem else found["model"]
    except (ValueError, TypeError, LookupError):
        reason = f"{service.host}:{service.port} is no transcription service"
        raise FailureError(Reason.WRONG_ANSWER, reason) from None
    if problem:
        raise FailureError(Reason.WRONG_ANSWER, str(problem))


async def probe_queue(service: WatchedService, asker: Asker) -> None:
    """Ask for health, which says whether its database answers. Whether Ray does, Ray's own probe says."""
    answer = await asker.get(service, "/health", accepted=(200, 503))
    try:
        found = json.loads(answer)
        problem = found["problem"]
    except (ValueError, TypeError, LookupError):
        raise FailureError(Reason.WRONG_ANSWER, f"{service.host}:{service.port} is no queue") from None
    if problem:
        raise FailureError(Reason.WRONG_ANSWER, str(problem))


async def probe_devel(service: WatchedService, asker: Asker) -> str:  # noqa: ARG001 (it speaks no HTTP)
    """Read the line with which sshd greets whoever connects; returns its version."""
    reader, writer = await asyncio.open_connection(service.host, service.port)
    try:
        greeting = (await reader.readline()).decode(errors="replace").strip()
    finally:
        writer.close()
    if not (found := GREETING.match(greeting)):
        raise FailureError(Reason.WRONG_ANSWER, f"{service.host}:{service.port} is not an SSH server")
    return version_in(found["version"], service)


async def probe_prometheus(service: WatchedService, asker: Asker) -> None:
    """Ask whether it has read its data; Alertmanager, of the same project, answers alike."""
    await asker.get(service, "/-/ready")


async def probe_grafana(service: WatchedService, asker: Asker) -> str:
    """Ask for health, which says whether its database is well; returns the version."""
    answer = await asker.get(service, "/api/health", accepted=(200, 503))
    try:
        found = json.loads(answer)
        database, version = str(found["database"]), str(found["version"])
    except (ValueError, TypeError, LookupError):
        raise FailureError(Reason.WRONG_ANSWER, f"{service.host}:{service.port} is no Grafana") from None
    if database != "ok":
        raise FailureError(Reason.WRONG_ANSWER, f"its database is not well: {database}")
    return version_in(version, service)


PROBES: dict[Kind, Callable[[WatchedService, Asker], Coroutine[Any, Any, str | Finding | None]]] = {
    Kind.REDIS: probe_redis,
    Kind.POSTGRES: probe_postgres,
    Kind.MLFLOW: probe_mlflow,
    Kind.MARIMO: probe_marimo,
    Kind.EXPORTER: probe_exporter,
    Kind.TRANSCRIPTION_FRONTEND: probe_transcription_frontend,
    Kind.QUEUE: probe_queue,
    Kind.DEVEL: probe_devel,
    Kind.TRANSCRIPTION: probe_transcription,
    Kind.PROMETHEUS: probe_prometheus,
    Kind.ALERTMANAGER: probe_prometheus,
    Kind.GRAFANA: probe_grafana,
}
