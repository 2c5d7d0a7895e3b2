"""The health service: real Redis and Postgres servers, and HTTP servers that behave as MLflow, marimo and Ray do."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from contracts.document import SETTINGS_VARIABLE, DocumentError, decode, dump, load
from contracts.health import HealthSettings
from contracts.status import RayStatus, Reason, ServiceStatus, State, Status
from coordination import redis_users
from coordination.redis_client import Address, RedisLink
from entrypoints.health import monitor
from entrypoints.health.asker import LARGEST_ANSWER
from entrypoints.health.page import routes
from entrypoints.health.page.snapshot import Snapshot
from entrypoints.health.page.templates import page
from entrypoints.health.ray_cluster import node_by_name
from entrypoints.health.server import make_application
from testing.harness import PROJECT
from testing.servers import free_port, server_process, wait_for_port

PROGRAM = (sys.executable, "-m", "entrypoints.health.server")
ROOT = PROJECT
REDIS_PASSWORD = "redis-secret-41f1"
SECRETS = {
    "redis-reader": redis_users.password(REDIS_PASSWORD, redis_users.READER),
    "postgres-monitor": "postgres-secret-82a2",
    "ray-token": "ray-secret-93b3",
    "marimo-token": "marimo-secret-14c4",
}
DEADLINE = 0.5  # seconds, where a service hangs
GENEROUS_DEADLINE = 8.0  # where none does, however busy the machine
ADDRESSES: dict[str, str] = defaultdict(str)  # of the page's files
KINDS = ("redis", "postgres", "mlflow", "marimo", "ray")

pytestmark = pytest.mark.asyncio


# --- what the service watches ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis_port(redis_server: Path) -> Iterator[int]:
    port = free_port()
    options = {"port": port, "bind": "127.0.0.1", "requirepass": REDIS_PASSWORD, "save": '""'}
    folder = Path(tempfile.mkdtemp(prefix="health-redis-"))
    lines = "".join(f"{key} {value}\n" for key, value in options.items())
    (folder / "redis.conf").write_text(lines + redis_users.configuration(REDIS_PASSWORD, "cslr-lab"))
    try:
        with server_process([str(redis_server), str(folder / "redis.conf")], port):
            yield port
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def postgres_port(postgres: Path) -> Iterator[int]:
    binaries, port = postgres.parent, free_port()
    folder = Path(tempfile.mkdtemp(prefix="health-postgres-"))
    data, password = folder / "data", folder / "password"
    password.write_text(SECRETS["postgres-monitor"])
    options: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:  # Postgres refuses to run as root
        options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        for path in (folder, password):
            shutil.chown(path, "postgres")
    initdb = f"{binaries}/initdb -D {data} -U monitor -A scram-sha-256 --pwfile {password} --no-sync"
    serve = f"{binaries}/postgres -D {data} -p {port} -h 127.0.0.1 -k {folder} -F"
    createdb = f"{binaries}/createdb -h 127.0.0.1 -p {port} -U monitor mlflow"
    try:
        subprocess.run(initdb.split(), check=True, capture_output=True, **options)
        with server_process(serve.split(), port, stop=signal.SIGQUIT, **options):  # without a checkpoint
            run_once_it_serves(createdb.split(), env={"PGPASSWORD": SECRETS["postgres-monitor"]})
            yield port
    finally:
        shutil.rmtree(folder)


def run_once_it_serves(command: list[str], env: dict[str, str]) -> None:
    """Run a client of Postgres, which listens before it has started up."""
    deadline = time.monotonic() + 30
    while (done := subprocess.run(command, env=env, capture_output=True, text=True)).returncode:
        assert "starting up" in done.stderr, done.stderr
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.1)


def ray_node(
    name: str, *, address: str = "172.28.0.3", head: bool = False, alive: bool = True, started: int = 1
) -> dict[str, Any]:
    """One entry as Ray 2.60 gives it at /api/v0/nodes?detail=true."""
    return {
        "node_id": f"{name}-{started}",
        "node_ip": address,
        "is_head_node": head,
        "state": "ALIVE" if alive else "DEAD",
        "state_message": None if alive else "Terminated due to preemption: Node received SIGTERM",
        "node_name": address,
        "resources_total": {"memory": 4294967296.0, f"node:{address}": 1.0, "object_store_memory": 1e9, "CPU": 2.0},
        "labels": {"ray.io/node-id": f"{name}-{started}", "cslr.node": name},
        "start_time_ms": started,
        "end_time_ms": 0,
    }


def ray_nodes(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"result": True, "msg": "", "data": {"result": {"total": len(nodes), "result": list(nodes)}}}


@dataclass
class HttpService:
    """A server of fixed answers: path → (status, body), for paths that want a token only with that token."""

    answers: dict[str, tuple[int, str]]
    token: str | None = None
    open_paths: tuple[str, ...] = ("/health", "/api/gcs_healthz")
    seen: list[str] = field(default_factory=list)
    port: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append(request.path)
        authorized = request.headers.get("Authorization") == f"Bearer {self.token}"
        if self.token and not authorized and request.path not in self.open_paths:
            return web.Response(status=401, text="Unauthorized: Missing authentication token")
        status, text = self.answers.get(request.path, (404, "404: Not Found"))
        return web.Response(
            status=status, text=text.replace("$AUTHORIZATION", request.headers.get("Authorization", ""))
        )


def mlflow() -> HttpService:
    return HttpService({"/health": (200, "OK"), "/version": (200, "3.18.0")})


def marimo() -> HttpService:
    answers = {"/health": (200, '{"status":"healthy"}'), "/api/version": (200, "0.25.2")}
    return HttpService(answers, token=SECRETS["marimo-token"])


def ray(*nodes: dict[str, Any]) -> HttpService:
    answers = {
        "/api/gcs_healthz": (200, "success"),
        "/api/version": (200, '{"version": "4", "ray_version": "2.60.0"}'),
        "/api/v0/nodes": (200, json.dumps(ray_nodes(*nodes))),
    }
    return HttpService(answers, token=SECRETS["ray-token"])


HEAD = ray_node("ray-cpu", head=True)
WORKER = ray_node("ray-gpu", address="172.28.0.4")


async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        writer.close()


# --- the service under test ------------------------------------------------------------------------------------------


class Platform:
    """The health service in this process, and whatever it is told to watch."""

    def __init__(self, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.services: list[dict[str, Any]] = []
        self.ray_nodes: list[str] = []
        self.deadline = GENEROUS_DEADLINE
        self.more: dict[str, Any] = {}
        self.client: TestClient[web.Request, web.Application]

    def watch(self, kind: str, port: int, name: str | None = None) -> None:
        name = name or kind
        self.services.append(
            {"name": name, "kind": kind, "host": "127.0.0.1", "port": port, "url": f"http://127.0.0.1:{port}"}
        )
        self.ray_nodes += [name] if kind == "ray" else []

    async def run_http(self, service: HttpService) -> int:
        application = web.Application()
        application.router.add_get("/{path:.*}", service.handle)
        server = TestServer(application)
        await self.stack.enter_async_context(server)
        service.port = int(server.port or 0)
        return service.port

    async def run_raw(self, handler) -> int:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        self.stack.callback(server.close)
        return int(server.sockets[0].getsockname()[1])

    @property
    def settings(self) -> HealthSettings:
        settings = {
            "stack": "dev",
            "services": self.services,
            "ray_nodes": self.ray_nodes,
            "deadline": self.deadline,
            "secrets": str(self.folder),
            **self.more,
        }
        return load(HealthSettings, json.dumps(settings))

    async def start(self) -> None:
        application = make_application(self.settings)
        self.client = await self.stack.enter_async_context(TestClient(TestServer(application)))

    async def get(self, path: str) -> tuple[int, str]:
        async with self.client.get(path) as response:
            return response.status, await response.text()

    async def health(self) -> int:
        return (await self.get("/health"))[0]

    async def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((await self.get("/status"))[1])
        return answer

    async def service(self, name: str) -> dict[str, Any]:
        return next(service for service in (await self.status())["services"] if service["name"] == name)


@pytest_asyncio.fixture
async def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    monkeypatch.setattr(routes, "PATIENCE", GENEROUS_DEADLINE)  # the page waits for all answers
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value + "\n")
    async with contextlib.AsyncExitStack() as stack:
        yield Platform(tmp_path, stack)


@pytest_asyncio.fixture
async def whole(platform: Platform, redis_port: int, postgres_port: int) -> Platform:
    """Every kind of service, all well, with ray-cpu as head."""
    platform.watch("redis", redis_port)
    platform.watch("postgres", postgres_port)
    platform.watch("mlflow", await platform.run_http(mlflow()))
    platform.watch("marimo", await platform.run_http(marimo()))
    platform.watch("ray", await platform.run_http(ray(HEAD, WORKER)), "ray-cpu")
    platform.watch("ray", free_port(), "ray-gpu")
    await platform.start()
    return platform


async def start_ray(platform: Platform, cpu: HttpService | None, gpu: HttpService | None = None) -> None:
    for name, service in (("ray-cpu", cpu), ("ray-gpu", gpu)):
        platform.watch("ray", await platform.run_http(service) if service else free_port(), name)
    await platform.start()


class TestHealthyPlatform:
    async def test_health_is_200_and_nothing_is_down(self, whole):
        status, body = await whole.get("/health")
        assert (status, json.loads(body)["state"], json.loads(body)["down"]) == (200, "healthy", [])

    async def test_every_service_has_its_real_version_and_a_latency(self, whole, postgres):
        services = {service["name"]: service for service in (await whole.status())["services"]}
        assert {service["state"] for service in services.values()} == {"up"}
        assert all(service["latency_ms"] > 0 for service in services.values())
        wanted = {"mlflow": "3.18.0", "marimo": "0.25.2", "ray-cpu": "2.60.0", "ray-gpu": "2.60.0"}
        assert wanted.items() <= {name: service["version"] for name, service in services.items()}.items()
        assert re.fullmatch(r"\d+\.\d+\.\d+", services["redis"]["version"])
        assert services["postgres"]["version"].startswith(postgres.parents[1].name)

    async def test_status_names_the_head_and_what_each_node_has(self, whole):
        ray_status = (await whole.status())["ray"]
        dashboard = whole.services[4]["url"]
        assert ray_status["head"] == {"node": "ray-cpu", "address": "172.28.0.3:6379", "dashboard": dashboard}
        assert [(n["name"], n["alive"], n["role"]) for n in ray_status["nodes"]] == [
            ("ray-cpu", True, "head"),
            ("ray-gpu", True, "worker"),
        ]
        assert (ray_status["nodes"][0]["cpus"], ray_status["nodes"][0]["memory"]) == (2.0, 4294967296)

    async def test_only_the_head_has_a_dashboard_to_link(self, whole):
        assert (await whole.service("ray-cpu"))["url"] == whole.services[4]["url"]
        assert (await whole.service("ray-gpu"))["url"] is None

    async def test_many_pollers_cost_one_round(self, platform):
        service = mlflow()
        platform.watch("mlflow", await platform.run_http(service))
        await platform.start()
        await asyncio.gather(*(platform.get("/status") for _ in range(40)))
        assert service.seen.count("/health") == 1

    async def test_a_platform_of_nothing_is_healthy(self, platform):
        await platform.start()
        assert await platform.health() == 200


class TestServiceThatFails:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_service_that_refuses_connections_makes_health_503(self, platform, kind):
        platform.watch(kind, free_port())
        await platform.start()
        assert await platform.health() == 503
        service = await platform.service(kind)
        assert (service["state"], service["latency_ms"]) == ("down", None)
        assert "127.0.0.1" in service["error"]
        assert "Connection refused" in service["error"]
        assert len(service["error"].splitlines()) == 1

    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_hung_service_delays_the_answer_by_its_deadline_only(self, platform, kind):
        platform.watch(kind, await platform.run_raw(hang))
        platform.watch("mlflow", await platform.run_http(mlflow()), "well")
        platform.deadline = DEADLINE
        await platform.start()
        clock = time.monotonic()
        status = await platform.status()
        assert DEADLINE * 0.9 < time.monotonic() - clock < DEADLINE + 0.4
        assert [service["state"] for service in status["services"]] == ["down", "up"]
        assert f"no answer within {DEADLINE:g} s" in status["services"][0]["error"]

    async def test_ping_answers_while_every_service_hangs(self, platform):
        for kind in KINDS:
            platform.watch(kind, await platform.run_raw(hang))
        await platform.start()
        clock = time.monotonic()
        assert (await platform.get("/ping"))[0] == 200
        assert time.monotonic() - clock < GENEROUS_DEADLINE / 2

    async def test_a_name_that_does_not_resolve_is_said(self, platform):
        platform.watch("mlflow", 5000)
        platform.services[0]["host"] = "mlflow.invalid"
        await platform.start()
        assert (await platform.service("mlflow"))["error"].startswith(("mlflow.invalid:5000", "no answer within"))

    @pytest.mark.parametrize("kind", KINDS)
    async def test_garbage_is_down_and_not_a_crash(self, platform, kind):
        async def garble(_, writer):
            writer.write(b"\x00\xffgarbage\r\n\r\n" * 20)
            writer.close()

        platform.watch(kind, await platform.run_raw(garble))
        await platform.start()
        assert (await platform.service(kind))["state"] == "down"

    @pytest.mark.parametrize(("status", "text"), [(500, "3.18.0"), (200, "<html>"), (302, "3.18.0"), (200, "")])
    async def test_another_program_on_the_port_is_not_mlflow(self, platform, status, text):
        service = mlflow()
        service.answers["/version"] = (status, text)
        platform.watch("mlflow", await platform.run_http(service))
        await platform.start()
        assert (await platform.service("mlflow"))["state"] == "down"

    async def test_an_endless_answer_is_cut_off(self, platform):
        service = mlflow()
        service.answers["/version"] = (200, "3" * (LARGEST_ANSWER + 1))
        platform.watch("mlflow", await platform.run_http(service))
        await platform.start()
        assert "more than" in (await platform.service("mlflow"))["error"]

    async def test_redis_that_loads_its_data_is_starting(self, platform):
        async def load(reader, writer):
            while await reader.read(4096):
                writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")

        platform.watch("redis", await platform.run_raw(load))
        await platform.start()
        assert (await platform.service("redis"))["state"] == "starting"
        assert await platform.health() == 503

    @pytest.mark.parametrize(
        ("used", "limit", "warning", "error"),
        [
            (100, 320, None, None),
            (230, 320, "memory: 230 of 320 MiB", None),
            (300, 320, None, "nearly refuses writes: memory: 300 of 320 MiB"),
            (300, 0, None, None),  # bounded by nothing
        ],
    )
    async def test_redis_is_watched_against_its_bound(self, platform, monkeypatch, used, limit, warning, error):
        async def pong(*_: object) -> str:
            return "PONG"

        async def info(*_: object) -> dict[str, Any]:
            sizes = {"used_memory": used * 2**20, "maxmemory": limit * 2**20}
            return sizes | {"redis_version": "8.2.1", "aof_last_write_status": "ok", "aof_last_bgrewrite_status": "ok"}

        monkeypatch.setattr("redis.asyncio.Redis.execute_command", pong)
        monkeypatch.setattr("redis.asyncio.Redis.info", info)
        platform.watch("redis", free_port())
        await platform.start()
        service = await platform.service("redis")
        assert (service["warning"], service["error"]) == (warning, error)
        assert service["state"] == ("down" if error else "up")
        assert [usage["limit"] for usage in service["usage"]] == ([] if error or not limit else [limit * 2**20])
        assert await platform.health() == (503 if error else 200)
        assert (f"Warning: {warning}" in (await platform.get("/"))[1]) == bool(warning)

    async def test_a_secret_that_is_missing_is_named(self, platform, redis_port):
        (platform.folder / "redis-reader").unlink()
        platform.watch("redis", redis_port)
        await platform.start()
        assert str(platform.folder / "redis-reader") in (await platform.service("redis"))["error"]

    async def test_marimo_without_its_token_is_up_without_a_version(self, platform):
        (platform.folder / "marimo-token").unlink()
        platform.watch("marimo", await platform.run_http(marimo()))
        await platform.start()
        service = await platform.service("marimo")
        assert (service["state"], service["version"]) == ("up", None)

    @pytest.mark.parametrize(
        ("answer", "state"), [("pong\n", "up"), ("<html>something else</html>", "down")], ids=["its own", "another's"]
    )
    async def test_page_of_transcription_answers_for_itself(self, platform, answer, state):
        platform.watch("transcription-frontend", await platform.run_http(HttpService({"/ping": (200, answer)})))
        await platform.start()
        service = await platform.service("transcription-frontend")
        assert service["state"] == state

    @pytest.mark.parametrize(
        ("greeting", "state", "version", "error"),
        [
            (b"SSH-2.0-OpenSSH_10.6p1 Debian-1\r\n", "up", "10.6p1", None),
            (b"HTTP/1.1 400 Bad Request\r\n", "down", None, "is not an SSH server"),
            (b"", "down", None, "is not an SSH server"),
        ],
    )
    async def test_devel_container_answers_with_the_version_of_sshd(self, platform, greeting, state, version, error):
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            writer.close()

        platform.watch("devel", await platform.run_raw(greet))
        await platform.start()
        service = await platform.service("devel")
        assert (service["state"], service["version"]) == (state, version)
        assert (error or "") in (service["error"] or "")

    @pytest.mark.parametrize(
        ("status", "answer", "error"),
        [
            (200, '{"status": "healthy", "problems": []}', None),
            (503, '{"status": "failing", "problems": ["1 of the expected GPUs does not answer"]}', "1 of the expected"),
            (200, "<html>something else</html>", "is no exporter"),
            (500, "", "answers HTTP 500"),
        ],
    )
    async def test_exporter_says_what_is_wrong_itself(self, platform, status, answer, error):
        platform.watch("exporter", await platform.run_http(HttpService({"/health": (status, answer)})))
        await platform.start()
        service = await platform.service("exporter")
        assert service["state"] == ("down" if error else "up")
        assert (error in service["error"]) if error else service["error"] is None


class TestRayCluster:
    async def test_a_missing_node_makes_health_503(self, platform):
        await start_ray(platform, ray(HEAD))
        status, body = await platform.get("/health")
        assert (status, json.loads(body)["down"]) == (503, ["ray-gpu"])
        assert (await platform.service("ray-gpu"))["error"] == "not alive in the Ray cluster"

    async def test_a_missing_node_that_is_no_service_here_makes_health_503(self, platform):
        platform.watch("ray", await platform.run_http(ray(HEAD)), "ray-cpu")
        platform.ray_nodes.append("other-host")
        await platform.start()
        status, body = await platform.get("/health")
        assert (status, json.loads(body)["down"]) == (503, ["other-host"])

    async def test_an_expected_node_that_died_makes_health_503_and_says_why(self, platform):
        await start_ray(platform, ray(HEAD, ray_node("ray-gpu", alive=False)))
        assert await platform.health() == 503
        assert "Node received SIGTERM" in (await platform.service("ray-gpu"))["error"]

    async def test_a_dead_old_node_is_listed_and_does_no_harm(self, platform):
        await start_ray(
            platform, ray(ray_node("ray-gpu", alive=False, started=0), ray_node("gone", alive=False), HEAD, WORKER)
        )
        assert await platform.health() == 200
        nodes = (await platform.status())["ray"]["nodes"]
        assert [(n["name"], n["alive"], n["expected"]) for n in nodes] == [
            ("ray-cpu", True, True),
            ("ray-gpu", True, True),
            ("gone", False, False),
            ("ray-gpu", False, False),
        ]

    async def test_a_later_entry_that_died_does_not_hide_the_node_that_lives(self, platform):
        await start_ray(platform, ray(HEAD, WORKER, ray_node("ray-gpu", alive=False, started=9)))
        assert await platform.health() == 200

    async def test_any_candidate_may_be_the_head(self, platform):
        cpu, gpu = ray_node("ray-cpu"), ray_node("ray-gpu", address="172.28.0.4", head=True)
        await start_ray(platform, None, ray(cpu, gpu))
        assert await platform.health() == 200
        assert (await platform.status())["ray"]["head"]["address"] == "172.28.0.4:6379"

    async def test_a_node_without_our_label_has_rays_name(self, platform):
        own = WORKER | {"labels": {}, "node_name": "ray-gpu"}
        await start_ray(platform, ray(HEAD, own))
        assert await platform.health() == 200

    async def test_no_head_is_null_with_the_reason_of_each_candidate(self, platform):
        await start_ray(platform, None)
        ray_status = (await platform.status())["ray"]
        assert ray_status["head"] is None
        assert all(name in ray_status["error"] for name in ("ray-cpu", "ray-gpu"))
        assert [node["alive"] for node in ray_status["nodes"]] == [False, False]

    async def test_two_heads_are_never_healthy(self, platform):
        other = ray_node("ray-gpu", head=True, address="172.28.0.4")
        await start_ray(platform, ray(HEAD, WORKER), ray(other, ray_node("ray-cpu")))
        assert await platform.health() == 503
        assert "ray-cpu and ray-gpu lead at the same time" in (await platform.status())["ray"]["error"]

    async def test_a_fault_of_the_cluster_alone_is_unhealthy(self):
        status = Status(
            time="2026-01-01T00:00:00Z",
            stack="dev",
            services=(),
            ray=RayStatus(head=None, nodes=(), latency_ms=None, reason=Reason.TWO_HEADS, error="two heads"),
        )
        assert (status.state.value, status.down) == ("unhealthy", ["ray"])

    async def test_a_token_that_the_head_refuses_is_said_and_the_head_still_told(self, platform):
        (platform.folder / "ray-token").write_text("another-token")
        await start_ray(platform, ray(HEAD, WORKER))
        ray_status = (await platform.status())["ray"]
        assert ray_status["head"]["node"] == "ray-cpu"
        assert "refuses this platform's token (HTTP 401)" in ray_status["error"]
        assert await platform.health() == 503

    async def test_a_head_whose_state_api_hangs_is_still_told(self, platform):
        service = ray(HEAD, WORKER)
        answer = service.handle

        async def hang_on_nodes(request):
            if request.path == "/api/v0/nodes":
                await asyncio.sleep(5)
            return await answer(request)

        service.handle = hang_on_nodes  # type: ignore[method-assign]
        platform.deadline = DEADLINE
        await start_ray(platform, service)
        ray_status = (await platform.status())["ray"]
        assert ray_status["head"]["node"] == "ray-cpu"
        assert "no answer within" in ray_status["error"]

    @pytest.mark.parametrize(
        "text",
        ["", "null", "[]", '{"data": null}', json.dumps(ray_nodes({"node_name": "ray-cpu"})), '{"data":{"result":7}}'],
    )
    async def test_an_answer_that_is_not_rays_is_down_and_not_a_crash(self, platform, text):
        service = ray()
        service.answers["/api/v0/nodes"] = (200, text)
        await start_ray(platform, service)
        assert await platform.health() == 503
        assert "does not answer as Ray" in (await platform.status())["ray"]["error"]


class TestReasons:
    """Every reason is told of a service, or of the cluster, in a state that it stands for."""

    INFO = {  # noqa: RUF012
        "redis_version": "8.2.1", "used_memory": 1, "maxmemory": 100, "aof_last_write_status": "ok",
        "aof_last_bgrewrite_status": "ok",
    }  # fmt: skip

    @pytest.mark.parametrize("reason", Reason)
    async def test_it_is_reached(self, reason, platform, redis_port, monkeypatch):
        self.platform, self.redis_port, self.monkeypatch = platform, redis_port, monkeypatch
        await getattr(self, f"meet_{reason.value}")()
        status = await platform.status()
        entries = [*status["services"], status["ray"], status["cluster"] or {}]
        told = {entry.get(key) for entry in entries for key in ("reason", "warning_reason")}
        assert reason.value in told
        for entry in entries:
            assert bool(entry.get("reason")) == bool(entry.get("error"))
            assert bool(entry.get("warning_reason")) == bool(entry.get("warning"))
        code = re.search(rf"<code>{reason.value}</code>", (await platform.get("/"))[1])
        assert bool(code) == (reason.value in {service["reason"] for service in status["services"]})

    async def watch(self, kind: str, port: int) -> None:
        self.platform.watch(kind, port)
        await self.platform.start()

    async def redis_says(self, **changes: Any) -> None:
        async def pong(*_: object) -> str:
            return "PONG"

        async def info(*_: object) -> dict[str, Any]:
            return {**self.INFO, **changes}

        self.monkeypatch.setattr("redis.asyncio.Redis.execute_command", pong)
        self.monkeypatch.setattr("redis.asyncio.Redis.info", info)
        await self.watch("redis", free_port())

    async def scratch_says(self, **said: Any) -> None:
        report = {"used": 1, "limit": 100, "time": time.time(), "full": False, "message": "", **said}
        file = self.platform.folder / "scratch.json"
        file.write_text(json.dumps(report))
        self.platform.more = {"scratch_reports": {"ray-cpu": str(file)}}
        await start_ray(self.platform, ray(HEAD, WORKER))

    async def meet_starting(self) -> None:
        async def load(reader, writer):
            while await reader.read(4096):
                writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")

        await self.watch("redis", await self.platform.run_raw(load))

    async def meet_unreachable(self) -> None:
        await self.watch("postgres", free_port())

    async def meet_name_unknown(self) -> None:
        async def resolve(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        self.platform.watch("postgres", 5432)
        self.platform.services[0]["host"] = "postgres.invalid"
        await self.platform.start()

    async def meet_timeout(self) -> None:
        self.platform.deadline = DEADLINE
        await self.watch("marimo", await self.platform.run_raw(hang))

    async def meet_wrong_answer(self) -> None:
        await self.watch("postgres", await self.platform.run_http(mlflow()))

    async def meet_access_denied(self) -> None:
        (self.platform.folder / "redis-reader").write_text("another-password")
        await self.watch("redis", self.redis_port)

    async def meet_secret_unreadable(self) -> None:
        (self.platform.folder / "redis-reader").unlink()
        await self.watch("redis", self.redis_port)

    async def meet_failed(self) -> None:
        await self.redis_says(used_memory=None)

    async def meet_memory_full(self) -> None:
        await self.redis_says(used_memory=95)

    async def meet_memory_high(self) -> None:
        await self.redis_says(used_memory=75)

    async def meet_cannot_write(self) -> None:
        await self.redis_says(aof_last_write_status="err")

    async def meet_rewrite_failed(self) -> None:
        await self.redis_says(aof_last_bgrewrite_status="err")

    async def meet_no_head(self) -> None:
        await start_ray(self.platform, None)

    async def meet_two_heads(self) -> None:
        other = ray_node("ray-gpu", head=True, address="172.28.0.4")
        await start_ray(self.platform, ray(HEAD, WORKER), ray(other, ray_node("ray-cpu")))

    async def meet_not_joined(self) -> None:
        await start_ray(self.platform, ray(HEAD))

    async def meet_node_dead(self) -> None:
        await start_ray(self.platform, ray(HEAD, ray_node("ray-gpu", alive=False)))

    async def meet_scratch_full(self) -> None:
        await self.scratch_says(full=True, message="scratch full: 40 of 40 GB")

    async def meet_scratch_high(self) -> None:
        await self.scratch_says(used=80)

    async def meet_scratch_unknown(self) -> None:
        await self.scratch_says(time=time.time() - 3600)

    async def meet_redis_unreachable(self) -> None:
        addresses = [f"127.0.0.1:{free_port()}"]
        self.platform.more = {"election": {"namespace": "cslr-lab", "host": "", "redis_addresses": addresses}}
        await self.platform.start()


class TestSecrets:
    async def test_no_secret_appears_in_any_answer(self, platform, redis_port, postgres_port, capfd):
        echo = ray(ray_node(SECRETS["ray-token"], head=True), ray_node("<" + SECRETS["redis-reader"] + '"'))
        echo.answers["/api/version"] = (200, '{"ray_version": "$AUTHORIZATION"}')
        version = marimo()
        version.answers["/api/version"] = (200, f"3{SECRETS['marimo-token']}")
        platform.watch("marimo", await platform.run_http(version))
        platform.watch("redis", redis_port)
        platform.watch("postgres", postgres_port)
        await start_ray(platform, echo)
        answers = [await platform.get(path) for path in ("/", "/status", "/health", "/ping", "/none")]
        said = json.dumps(answers) + "".join(capfd.readouterr())
        assert "***" in said
        assert [secret for secret in SECRETS.values() if secret in said] == []

    @pytest.mark.parametrize(("kind", "secret"), [("redis", "redis-reader"), ("postgres", "postgres-monitor")])
    async def test_a_wrong_password_is_said_without_the_password(self, request, platform, kind, secret):
        port = request.getfixturevalue(f"{kind}_port")
        (platform.folder / secret).write_text("wrong-password-55")
        platform.watch(kind, port)
        await platform.start()
        service = await platform.service(kind)
        assert service["state"] == "down"
        assert "password" in service["error"]
        assert "wrong-password-55" not in json.dumps(service)

    async def test_the_token_follows_no_redirect(self, platform):
        class Thief(HttpService):
            async def handle(self, request):
                self.seen.append(request.headers.get("Authorization", ""))
                return web.Response(text="2.60.0")

        thief, service = Thief({}), ray(HEAD)
        port = await platform.run_http(thief)

        async def redirect(request):
            raise web.HTTPFound(f"http://127.0.0.1:{port}/")

        service.handle = redirect  # type: ignore[method-assign]
        await start_ray(platform, service)
        assert await platform.health() == 503
        assert thief.seen == []


class TestPage:
    async def test_it_says_everything_in_words_and_links_what_people_open(self, whole):
        _, text = await whole.get("/")
        for word in ("healthy", "Every service is up.", "ray-gpu", "172.28.0.4", "4.0 GiB", "worker", "3.18.0"):
            assert word in text
        for service in whole.services[:5]:
            assert f'href="{service["url"]}"' in text

    async def test_without_scripts_it_refreshes_itself(self, whole):
        _, text = await whole.get("/")
        assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in text

    async def test_the_refresh_can_be_stopped(self, whole):
        assert "http-equiv" not in (await whole.get("/?refresh=off"))[1]

    async def test_names_from_other_programs_are_escaped(self, platform):
        await start_ray(platform, ray(HEAD, WORKER, ray_node("<img src=x>")))
        text = (await platform.get("/"))[1]
        assert "<img" not in text
        assert "&lt;img" in text

    async def test_whatever_a_report_holds_is_escaped(self):
        """Each text of a report in turn is markup; none of it gets through."""
        evil = '<img src=x onerror="a">\'&'
        service = {"name": evil, "kind": evil, "state": "down", "latency_ms": 1.0, "version": evil, "url": evil}
        service |= {"reason": "failed", "error": evil, "warning_reason": "memory_high", "warning": evil}
        service["usage"] = [{"name": evil, "used": 1, "limit": 2}]
        node = {"name": evil, "alive": False, "expected": True, "address": evil, "role": evil, "message": evil}
        head = {"node": evil, "address": evil, "dashboard": f"http://{evil}"}
        host = {"name": evil, "address": evil, "state": "up", "candidate": True, "sees_head": True, "last_seen": 1.0}
        event = {"time": evil, "epoch": 1, "host": evil, "event": evil}
        cluster = {"namespace": evil, "host": evil, "election": evil, "head": evil, "epoch": 1, "since": evil}
        cluster |= {"hosts": [host], "history": [event], "reason": "no_head", "error": evil}
        for led in (head, None):
            nodes = {"head": led, "nodes": [node], "latency_ms": 1.0, "reason": "two_heads", "error": evil}
            for state in (cluster, cluster | {"head": None}, cluster | {"head": None, "reason": None, "error": None}):
                report = {"time": evil, "stack": evil, "services": [service], "ray": nodes, "cluster": state}
                text = page(Snapshot(status=decode(Status, report)), reached_at=evil, addresses=ADDRESSES)
                assert "<img" not in text
                assert 'onerror="' not in text
                assert text.count("&lt;img") > 20

    @pytest.mark.parametrize(
        ("url", "reached_at", "link"),
        [
            ("http://127.0.0.1:5000", "10.0.0.7", "http://10.0.0.7:5000"),
            ("http://127.0.0.1:5000/lab", "fd00::7", "http://[fd00::7]:5000/lab"),
            ("https://lab.example.org/mlflow", "10.0.0.7", "https://lab.example.org/mlflow"),
            ("http://192.168.1.2:5000", "127.0.0.1", "http://192.168.1.2:5000"),
        ],
    )
    async def test_loopback_links_lead_to_the_address_that_the_reader_came_by(self, url, reached_at, link):
        service = ServiceStatus(name="mlflow", kind="mlflow", state=State.UP, latency_ms=1.0, version=None, url=url)
        ray_status = RayStatus(head=None, nodes=(), latency_ms=None)
        status = Status(time="", stack="dev", services=(service,), ray=ray_status)
        text = page(Snapshot(status=status), reached_at=reached_at, addresses=ADDRESSES)
        assert f'<a href="{link}">{link.partition("://")[2]}</a>' in text

    async def test_a_text_that_names_a_loopback_port_is_left_alone(self):
        error = "http://127.0.0.1:5000 answers HTTP 500"
        service = ServiceStatus(
            name="mlflow", kind="mlflow", state=State.DOWN, latency_ms=None, version=None, url=None,
            reason=Reason.WRONG_ANSWER, error=error,
        )  # fmt: skip
        ray_status = RayStatus(head=None, nodes=(), latency_ms=None)
        status = Status(time="", stack="dev", services=(service,), ray=ray_status)
        assert error in page(Snapshot(status=status), reached_at="10.0.0.7", addresses=ADDRESSES)


GOOD = {"name": "redis", "kind": "redis", "host": "redis", "port": 6379, "url": None}


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"services": {}}, "services must be a list"),
            ({"services": [1]}, "services[0] must be an object"),
            ({"services": [GOOD | {"kind": "mysql"}]}, "services[0].kind must be one of"),
            ({"services": [GOOD | {"kind": []}]}, "services[0].kind must be one of"),
            ({"services": [GOOD | {"port": True}]}, "services[0].port must be an integer"),
            ({"services": [GOOD | {"url": 1}]}, "services[0].url must be a string"),
            ({"services": [GOOD | {"prot": 1}]}, "services[0]: unknown field 'prot'"),
            ({"services": [{"name": "redis"}]}, "services[0]: missing field 'kind'"),
            ({"deadline": "soon"}, "deadline must be a number"),
            ({"election": "no"}, "election must be an object"),
            ({"election": {}}, "election: missing field 'namespace'"),
        ],
    )
    async def test_a_mistake_is_named(self, settings, named):
        with pytest.raises(DocumentError, match=re.escape(named)):
            load(HealthSettings, json.dumps({"stack": "dev"} | settings))

    async def test_a_node_without_a_service_is_asked_at_its_name(self):
        node = node_by_name("ray-cpu", ())
        assert (node.host, node.port) == ("ray-cpu", 8265)


class TestProgram:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ("{", "health: CSLR_SETTINGS: HealthSettings is not JSON"),
            ('{"stack": "dev", "ray_dashboard": "x"}', "health: ray_dashboard='x' is"),
        ],
    )
    async def test_a_mistake_ends_it_with_status_2_and_one_sentence(self, settings, said):
        ended = subprocess.run(
            PROGRAM,
            env={SETTINGS_VARIABLE: settings},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 2
        assert ended.stderr.startswith(said)
        assert len(ended.stderr.splitlines()) == 1

    async def test_sigterm_ends_it_at_once_though_a_service_hangs(self, platform):
        for kind in KINDS:
            platform.watch(kind, await platform.run_raw(hang))
        port = free_port()
        environment = {SETTINGS_VARIABLE: dump(replace(platform.settings, port=port, deadline=30.0))}
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await asyncio.to_thread(wait_for_port, port)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.1)
        clock = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, error = await asyncio.wait_for(process.communicate(), 5)
        assert (process.returncode, error) == (0, b"")
        assert time.monotonic() - clock < 1.5
        assert [json.loads(line)["event"] for line in out.splitlines()] == ["start", "stop"]
        writer.close()

    async def test_the_log_has_changes_only(self, platform, capfd, monkeypatch):
        monkeypatch.setattr(monitor, "ANSWER_KEPT_SECONDS", 0)
        service = mlflow()
        platform.watch("mlflow", await platform.run_http(service))
        await platform.start()
        for status in (200, 200, 500, 500, 200):
            service.answers["/health"] = (status, "OK")
            await platform.status()
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert [line["now"] for line in lines if line["name"] == "mlflow"] == ["up", "down", "up"]
        assert [line["now"] for line in lines if line["name"] == "platform"] == ["healthy", "unhealthy", "healthy"]


class TestClusterOfSeveralHosts:
    """The service of host beta; alpha leads, or no host."""

    NODES = (
        ray_node("alpha-ray-head", address="10.0.0.1", head=True),
        ray_node("alpha-ray-cpu", address="10.0.0.1"),
        ray_node("beta-ray-cpu", address="10.0.0.2"),
    )

    @pytest.fixture
    def redis_keys(self, redis_port: int) -> Iterator[RedisLink]:
        link = RedisLink((Address("127.0.0.1", redis_port),), REDIS_PASSWORD)
        yield link
        link.command("FLUSHALL")
        link.close()

    @pytest_asyncio.fixture
    async def start(self, platform: Platform, redis_keys: RedisLink):
        async def start(service: HttpService | None, **cluster: Any) -> HttpService | None:
            port = await platform.run_http(service) if service else free_port()
            platform.watch("ray", port, "beta-ray-cpu")
            usual = {"namespace": "cslr-lab", "host": "beta", "whitelist": ["alpha"]}
            settings = usual | {"redis_addresses": [str(redis_keys.address)]} | cluster
            platform.more = {"ray_dashboard": f"127.0.0.1:{port}", "election": settings}
            await platform.start()
            return service

        return start

    @staticmethod
    def report(link: RedisLink, host: str, *, ago: float = 0, **changes: Any) -> None:
        record = {"address": "10.0.0.9", "candidate": True, "seen": int((time.time() - ago) * 1000), "sees": 0}
        link.command("HSET", "cslr:cslr-lab:members", host, json.dumps({**record, **changes}))

    @staticmethod
    def elect(link: RedisLink, host: str, epoch: int) -> None:
        lease = (
            "host",
            host,
            "instance",
            "i",
            "epoch",
            epoch,
            "ready",
            1,
            "gcs",
            "10.0.0.1:6385",
            "client",
            "10.0.0.1:10011",
        )
        link.command("HSET", "cslr:cslr-lab:lease", *lease, "dashboard", "10.0.0.1:8275")
        event = {"epoch": epoch, "host": host, "event": "ready", "time": 1767225600000}
        link.command("LPUSH", "cslr:cslr-lab:history", json.dumps(event))

    async def test_the_head_is_found_by_way_of_the_gateway_and_joined_at_its_real_address(
        self, platform, redis_keys, start
    ):
        self.elect(redis_keys, "alpha", 5)
        service = await start(ray(*self.NODES))
        status = await platform.status()
        assert status["state"] == "healthy"
        assert (status["ray"]["head"]["node"], status["ray"]["head"]["address"]) == ("alpha-ray-head", "10.0.0.1:6385")
        assert [node["name"] for node in status["ray"]["nodes"] if node["alive"]] == [
            "beta-ray-cpu",
            "alpha-ray-head",
            "alpha-ray-cpu",
        ]
        assert service.seen.count("/api/gcs_healthz") == 1

    async def test_it_says_who_leads_since_when_and_who_sees_it(self, platform, redis_keys, start):
        self.elect(redis_keys, "alpha", 5)
        self.report(redis_keys, "alpha", sees=5)
        self.report(redis_keys, "beta", sees=4)
        self.report(redis_keys, "gamma", ago=60, candidate=False)
        redis_keys.command("SADD", "cslr:cslr-lab:maintenance", "beta")
        await start(ray(*self.NODES))
        cluster = (await platform.status())["cluster"]
        assert (cluster["head"], cluster["epoch"], cluster["since"]) == ("alpha", 5, "2026-01-01T00:00:00Z")
        assert (cluster["election"], cluster["error"]) == ("on", None)
        assert [(h["name"], h["state"], h["candidate"], h["sees_head"]) for h in cluster["hosts"]] == [
            ("alpha", "up", True, True),
            ("beta", "maintenance", True, False),
            ("gamma", "down", False, None),
        ]
        page = (await platform.get("/"))[1]
        assert "Head: alpha, epoch 5, since 2026-01-01 00:00:00 UTC." in page
        assert "60 s ago" in page

    async def test_without_a_head_every_view_says_why(self, platform, redis_keys, start):
        self.report(redis_keys, "alpha", ago=60)
        await start(None)
        status = await platform.status()
        reason = "the only whitelisted host is not up: alpha (seen 60 s ago)"
        assert status["state"] == "unhealthy"
        assert (status["cluster"]["head"], status["cluster"]["error"]) == (None, reason)
        assert status["ray"]["error"] == f"no head: {reason}"
        assert reason in status["services"][0]["error"]
        assert f"No head: {reason}." in (await platform.get("/"))[1]

    async def test_on_one_host_every_node_says_why_it_does_not_lead(self, platform, start):
        await start(None, host="")
        assert "the gateway: 127.0.0.1" in (await platform.status())["ray"]["error"]

    async def test_a_redis_that_is_down_is_the_reason(self, platform, start):
        await start(None, redis_addresses=[f"127.0.0.1:{free_port()}"])
        status = await platform.status()
        assert "Redis does not answer" in status["cluster"]["error"]
        assert "Redis does not answer" in status["ray"]["error"]

    async def test_a_static_head_turns_the_election_off_and_says_so(self, platform, start):
        await start(ray(*self.NODES), static_head="10.0.0.7:6379")
        cluster = (await platform.status())["cluster"]
        assert (cluster["election"], cluster["error"]) == ("off: head_address says 10.0.0.7:6379", None)
        assert "Election is off: head_address says 10.0.0.7:6379." in (await platform.get("/"))[1]


ALERT = {
    "labels": {"alertname": "DiskLow", "severity": "critical", "disk": "scratch", "host": "gpu1"},
    "annotations": {"summary": "gpu1 has <9 GB of disk left", "remedy": "`ws matrix --prune`"},
    "startsAt": "2026-11-28T03:21:55.123Z",
    "status": {"state": "active", "silencedBy": []},
}


class TestMetrics:
    async def test_prometheus_can_read_its_series(self, platform):
        platform.watch(
            "mlflow", await platform.run_http(HttpService({"/health": (200, "OK"), "/version": (200, "3.18.0")}))
        )
        await platform.start()
        async with platform.client.get("/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            families = list(text_string_to_metric_families(await response.text()))
        assert {"cslr_service_up"} <= {family.name for family in families}

    async def test_targets_are_json_with_its_content_type(self, platform):
        await platform.start()
        async with platform.client.get("/targets") as response:
            assert (response.content_type, await response.json()) == ("application/json", [])

    async def test_page_shows_alerts_that_fire(self, platform):
        manager = HttpService({"/api/v2/alerts": (200, json.dumps([ALERT]))})
        platform.more["alertmanager"] = f"127.0.0.1:{await platform.run_http(manager)}"
        await platform.start()
        text = (await platform.get("/"))[1]
        assert "DiskLow" in text
        assert "scratch on gpu1" in text
        assert "gpu1 has &lt;9 GB of disk left" in text
        assert "2026-11-28 03:21:55 UTC" in text

    @pytest.mark.parametrize("answer", [(200, "[]"), (200, "<html>"), (500, ""), (200, '{"a": 1}')], ids=str)
    async def test_page_is_there_without_alerts(self, platform, answer):
        manager = HttpService({"/api/v2/alerts": answer})
        platform.more["alertmanager"] = f"127.0.0.1:{await platform.run_http(manager)}"
        await platform.start()
        code, text = await platform.get("/")
        assert code == 200
        assert 'id="alerts"' not in text

    @pytest.mark.parametrize(
        ("answer", "state", "said"),
        [
            ((200, '{"database": "ok", "version": "12.3.0"}'), "up", None),
            ((503, '{"database": "failing", "version": "12.3.0"}'), "down", "its database is not well: failing"),
            ((200, "<html>"), "down", "is no Grafana"),
        ],
        ids=["well", "ill", "another program"],
    )
    async def test_grafana_is_watched(self, platform, answer, state, said):
        platform.watch("grafana", await platform.run_http(HttpService({"/api/health": answer})))
        await platform.start()
        found = await platform.service("grafana")
        assert found["state"] == state
        assert found["version"] == ("12.3.0" if state == "up" else None)
        assert said is None or said in found["error"]

    async def test_prometheus_and_alertmanager_are_watched(self, platform):
        platform.watch("prometheus", await platform.run_http(HttpService({"/-/ready": (200, "ready")})))
        platform.watch("alertmanager", await platform.run_http(HttpService({"/-/ready": (503, "")})))
        await platform.start()
        assert [(await platform.service(name))["state"] for name in ("prometheus", "alertmanager")] == ["up", "down"]
