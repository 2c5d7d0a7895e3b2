"""How requests for the page are read, and what is kept of what they get."""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from contracts.health import HealthSettings, Kind, WatchedService
from entrypoints.health.disks import disks_of
from entrypoints.health.monitor import Monitor
from entrypoints.health.page import routes
from entrypoints.health.page.assets import assets
from entrypoints.health.page.routes import HomePage, reached_at, version_of

PATIENCE = 20.0  # seconds, on a busy machine


def got(path: str, host: str = "h") -> web.Request:
    return make_mocked_request("GET", path, headers={"Host": host})


class TestReachedAt:
    @pytest.mark.parametrize(
        ("header", "host"),
        [("alpha:8888", "alpha"), ("[::1]:8888", "::1"), ("user:secret@alpha", "alpha"), ("", "127.0.0.1")],
    )
    def test_is_the_host_of_the_header(self, header, host):
        assert reached_at(got("/", header)) == host

    @pytest.mark.parametrize("header", ["alpha:x", "alpha:99999", "xn--a"])
    def test_is_this_host_where_the_header_makes_no_address(self, header):
        assert reached_at(got("/", header)) == "127.0.0.1"


def home_page() -> HomePage:
    settings, http = HealthSettings(stack="dev"), None
    return HomePage(settings, Monitor(settings, http))  # type: ignore[arg-type]


class TestAssets:
    async def kept(self, address: str) -> str | None:
        request: Any = got(f"/{address}")
        request._match_info = {"name": "page.js"}
        return (await home_page().get_asset(request)).headers.get("Cache-Control")

    def test_are_kept_under_the_address_of_their_content_alone(self):
        address = assets()["page.js"].address
        assert asyncio.run(self.kept(address)) == routes.KEPT
        assert asyncio.run(self.kept(f"{address}0")) is None
        assert asyncio.run(self.kept("assets/page.js")) is None


class TestVersion:
    PROMETHEUS = WatchedService(name="prometheus", kind=Kind.PROMETHEUS, host="prometheus", port=9090)

    def test_is_another_with_other_files_or_charts_but_not_with_other_services(self):
        plain, files = HealthSettings(stack="dev"), assets()
        known = version_of(plain, files)
        redis = replace(self.PROMETHEUS, kind=Kind.REDIS)
        assert version_of(replace(plain, services=(redis,)), files) == known
        other = {**files, "page.js": replace(files["page.js"], content=b"other")}
        assert version_of(plain, other) != known
        assert version_of(replace(plain, services=(self.PROMETHEUS,)), files) != known


class TestStream:
    def test_ends_for_a_reader_that_does_not_take_the_first_event(self, monkeypatch):
        class Stuck(web.StreamResponse):
            async def prepare(self, _: Any) -> None:
                return None

            async def write(self, _: Any) -> None:
                await asyncio.Event().wait()

        monkeypatch.setattr(routes, "SLOWEST_READER", 0.01)
        monkeypatch.setattr("aiohttp.web.StreamResponse", Stuck)

        async def events() -> AsyncGenerator[bytes, None]:
            yield b"data: {}\n\n"

        async def ends() -> bool:
            stream = asyncio.create_task(routes._stream(got("/events"), events()))
            await asyncio.wait({stream}, timeout=PATIENCE)
            return stream.done() and isinstance(stream.exception(), TimeoutError)

        assert asyncio.run(ends())

    def test_has_no_head_alone(self):
        async def ask() -> None:
            async with asyncio.timeout(PATIENCE):
                await home_page().get_events(make_mocked_request("HEAD", "/events"))

        with pytest.raises(web.HTTPMethodNotAllowed):
            asyncio.run(ask())


def test_a_disk_without_a_size_is_left_out(monkeypatch, tmp_path: Path):
    real = os.statvfs(tmp_path)
    assert len(disks_of({"scratch": tmp_path})) == 1
    monkeypatch.setattr("os.statvfs", lambda _: os.statvfs_result((*real[:2], 0, 0, 0, *real[5:])))
    assert disks_of({"scratch": tmp_path}) == ()
