"""The addresses of the home page, against a stand-in of what the health service asks."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from contracts.document import load
from contracts.health import HealthSettings, Kind
from entrypoints.health.disks import disks_of
from entrypoints.health.page import events, routes, snapshot
from entrypoints.health.page.jobs import Job, ask_jobs
from entrypoints.health.server import HOME, make_application
from tests.process.home_page.recorded import PROGRAM, SECRET_ARGUMENT, SECRETS, StandIn, settings_of

pytestmark = pytest.mark.asyncio
PATIENCE = 20.0  # seconds, on a busy machine
Client = TestClient[web.Request, web.Application]


@pytest.fixture
def world() -> Any:
    with contextlib.closing(StandIn()) as server:
        yield server


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SECONDS", 0.1)
    monkeypatch.setattr(routes, "PATIENCE", PATIENCE)


@pytest.fixture
def settings(world: StandIn, tmp_path: Path) -> HealthSettings:
    return load(HealthSettings, json.dumps(settings_of(world, tmp_path)))


@pytest_asyncio.fixture
async def client(settings: HealthSettings) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_application(settings))) as client:
        yield client


def without(settings: HealthSettings, kind: Kind) -> HealthSettings:
    return replace(settings, services=tuple(one for one in settings.services if one.kind is not kind))


async def first_event(answer: ClientResponse) -> dict[str, str]:
    line = await asyncio.wait_for(answer.content.readline(), PATIENCE)
    found: dict[str, str] = json.loads(line.removeprefix(b"data: "))
    assert (await answer.content.readline()).startswith(b"id: ")
    await answer.content.readline()
    return found


class TestPage:
    async def test_shows_gpus_jobs_runs_and_the_rest(self, client):
        text = await (await client.get("/")).text()
        for word in ("NVIDIA H100", "nightly-train", PROGRAM, "resnet-lr3e-4", "loss 0.2137", "11 of 11", "scratch"):
            assert word in text

    async def test_shows_no_secret(self, client):
        pages = [await (await client.get(path)).text() for path in ("/", "/api/charts?range=hour")]
        async with client.get("/events") as answer:
            pages.append(json.dumps(await first_event(answer)))
        for secret in (*SECRETS.values(), SECRET_ARGUMENT):
            assert not [text for text in pages if secret in text]

    async def test_policy_lets_only_own_files_in_and_the_page_needs_no_other(self, client):
        answer = await client.get("/")
        text, policy = await answer.text(), answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self' 'sha256-")
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]*src=)|style=|url\(|\son\w+=", text)
        files = re.findall(r'<(?:script|link)[^>]*(?:src|href)="(?!data:)([^"]+)', text)
        assert files
        assert all(address.startswith("assets/") for address in files)

    async def test_does_not_wait_for_a_slow_service(self, client, monkeypatch):
        monkeypatch.setattr(routes, "PATIENCE", 0.0)
        assert "Asking …" in await (await client.get("/")).text()

    @pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
    async def test_changes_nothing(self, client, method):
        for path in ("/", "/events", "/api/charts"):
            assert (await client.request(method, path)).status == 405


class TestAssets:
    async def test_each_is_there_small_when_compressed_and_kept(self, client):
        text = await (await client.get("/")).text()
        addresses = re.findall(r"assets/[^ \"]+", text)
        assert len(addresses) == 4
        for address in addresses:
            answer = await client.get(f"/{address}")
            assert (answer.status, answer.headers["Content-Encoding"]) == (200, "gzip")
            assert answer.headers["Cache-Control"].endswith("immutable")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.content_type in ("text/css", "text/javascript")

    async def test_is_sent_as_it_is_to_who_knows_no_gzip(self, client):
        answer = await client.get("/assets/page.js", headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in answer.headers
        assert "EventSource" in await answer.text()

    @pytest.mark.parametrize("path", ["/assets/none.js", "/assets/..%2Fassets.py", "/assets/", "/assets/assets.py"])
    async def test_no_other_file_is_served(self, client, path):
        assert (await client.get(path)).status == 404


class TestCharts:
    @pytest.mark.parametrize("name", ["hour", "day", "week"])
    async def test_figures_of_a_range(self, client, name):
        found = await (await client.get(f"/api/charts?range={name}")).json()
        assert found["points"] == 121
        assert {one["name"] for one in found["charts"]["nodes"]["series"]} == {"ray-cpu", "ray-gpu"}
        assert all(len(one["values"]) == 121 for chart in found["charts"].values() for one in chart["series"])

    @pytest.mark.parametrize("query", ["", "?range=", "?range=year", "?range=<b>", "?range=hour,day"])
    async def test_another_range_is_refused_with_those_that_there_are(self, client, query):
        answer = await client.get(f"/api/charts{query}")
        assert answer.status == 400
        assert (await answer.json())["error"].startswith("range must be one of hour, day, week, not '")

    async def test_without_metrics_it_says_how_to_turn_them_on(self, settings):
        async with TestClient(TestServer(make_application(without(settings, Kind.PROMETHEUS)))) as client:
            answer = await client.get("/api/charts?range=hour")
            assert answer.status == 404
            assert "ws set metrics.enabled true exporter.enabled true -s gpu && ws up -s gpu" in await answer.text()

    async def test_a_prometheus_that_fails_is_named(self, client, world):
        world.world.prometheus_up = False
        answer = await client.get("/api/charts?range=day")
        assert answer.status == 502
        assert "Prometheus does not answer" in (await answer.json())["error"]

    async def test_have_longer_than_a_round_of_probes(self, settings, world):
        world.world.prometheus_takes = 1.0
        impatient = replace(settings, deadline=0.5)
        async with TestClient(TestServer(make_application(impatient))) as client:
            assert (await client.get("/api/charts?range=week")).status == 200
        hasty = replace(settings, charts_deadline=0.5)
        async with TestClient(TestServer(make_application(hasty))) as client:
            answer = await client.get("/api/charts?range=week")
            assert "no answer within 0.5 s" in (await answer.json())["error"]

    async def test_many_pages_cost_one_question(self, client, world):
        await asyncio.gather(*(client.get("/api/charts?range=week") for _ in range(10)))
        once = world.asked("query_range")
        await client.get("/api/charts?range=week")
        assert world.asked("query_range") == once


class TestStream:
    async def test_brings_what_changes_while_the_page_is_open(self, client, world):
        async with client.get("/events") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            assert {"summary", "services", "gpus", "jobs"} <= set(await first_event(answer))
            world.world.mlflow_up = False
            async with asyncio.timeout(PATIENCE):
                while "unhealthy" not in (await first_event(answer)).get("summary", ""):
                    pass

    async def test_a_reader_that_goes_makes_room(self, client, monkeypatch):
        monkeypatch.setattr(events, "MOST_READERS", 1)
        home = client.app[HOME]
        async with client.get("/events") as answer:
            await first_event(answer)
            refused = await client.get("/events")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "30")
            assert "pages are open already" in await refused.text()
        async with asyncio.timeout(PATIENCE):
            while home.readers.count:
                await asyncio.sleep(0.05)

    async def test_open_streams_do_not_hold_the_end(self, settings, monkeypatch):
        monkeypatch.setattr(events, "SECONDS", 3600.0)
        server = TestServer(make_application(settings))
        async with TestClient(server) as client:
            answers = [await client.get("/events") for _ in range(5)]
            for answer in answers:
                await first_event(answer)
            await asyncio.wait_for(server.close(), PATIENCE)
            for answer in answers:
                answer.close()


class TestFault:
    @pytest.mark.parametrize("fails", [ask_jobs.__name__, disks_of.__name__])
    async def test_of_one_section_costs_neither_the_page_nor_the_stream(self, client, monkeypatch, capsys, fails):
        def surprise(*_: object) -> Any:
            raise RuntimeError(f"surprise with {SECRETS['ray-token']}")

        async def strange(*_: object) -> Any:
            return (Job(name="x", program="x", status="RUNNING", started="yesterday", ended=None),)  # type: ignore[arg-type]

        monkeypatch.setattr(snapshot, fails, strange if fails == "ask_jobs" else surprise)
        section = "jobs" if fails == "ask_jobs" else "upkeep"
        answer = await client.get("/")
        text = await answer.text()
        assert answer.status == 200
        assert f"The section “{section}” cannot be shown" in text
        assert "resnet-lr3e-4" in text
        async with client.get("/events") as stream:
            found = await first_event(stream)
        assert f"The section “{section}” cannot be shown" in found[section]
        assert "resnet-lr3e-4" in found["runs"]
        logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        (line,) = [line for line in logged if line["event"] == "section"]
        assert line["name"] == section
        assert "Traceback" in line["error"]
        assert SECRETS["ray-token"] not in line["error"]


class TestIdle:
    async def test_without_a_reader_only_the_probes_are_asked(self, client, world):
        for path in ("/health", "/status", "/metrics", "/ping"):
            await client.get(path)
        assert not world.asked("/api/v1/query", "query_range", "/api/jobs/", "runs/search", "/api/v2/alerts")
        await client.get("/")
        assert world.asked("/api/v1/query", "/api/jobs/", "runs/search", "/api/v2/alerts") == 4
        assert not world.asked("query_range")
