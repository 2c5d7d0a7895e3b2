"""Sampling the host's resource use during a build."""

import time
from pathlib import Path
from typing import Any

import pytest

from build_report.runs import RUN
from build_report.sampling import Sampler, docker_root, sampled_run
from build_report.store import Store
from docker_api.api import DockerApi


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Engine(DockerApi):
    """An Engine that keeps its data in the root folder."""

    def __init__(self) -> None:
        pass

    def call(self, *_: Any, **__: Any) -> Any:
        return {"DockerRootDir": "/"}


class TestFolder:
    @pytest.mark.parametrize(
        ("host", "folder"),
        [(None, Path("/")), ("", Path("/")), ("unix:///run/docker.sock", Path("/")), ("tcp://elsewhere:2375", None)],
    )
    def test_is_looked_at_only_where_it_is_on_this_host(self, monkeypatch, host, folder):
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        if host is not None:
            monkeypatch.setenv("DOCKER_HOST", host)
        assert docker_root(Engine()) == folder


class TestSampler:
    def test_sees_processor_memory_and_disk(self, tmp_path):
        with Sampler(tmp_path, seconds=0.1) as sampler:
            busy(0.5)
        usage = sampler.usage
        assert usage is not None
        assert 0 < usage.cpu_mean <= usage.cpu_peak <= 100
        assert usage.memory_peak > 10**7
        assert usage.disk_before
        assert usage.disk_after

    def test_sees_disk_that_is_used(self, tmp_path):
        def less_is_free(attempt: int) -> bool:
            with Sampler(tmp_path) as sampler:
                busy(0.2)
                (tmp_path / f"large-{attempt}").write_bytes(bytes(64 * 2**20))
            usage = sampler.usage
            assert usage is not None
            return (usage.disk_before or 0) > (usage.disk_after or 0)

        assert any(map(less_is_free, range(5))), "somebody else frees as much meanwhile, five times in a row"

    def test_the_disk_of_another_host_is_unknown(self):
        with Sampler(None) as sampler:
            pass
        assert sampler.usage is not None
        assert sampler.usage.disk_before is None

    def test_a_folder_that_cannot_be_seen_is_unknown(self):
        with Sampler(Path("/nowhere/at/all")) as sampler:
            pass
        assert sampler.usage is not None
        assert sampler.usage.disk_after is None

    def test_an_error_inside_ends_it_and_passes_through(self, tmp_path):
        try:
            with Sampler(tmp_path) as sampler:
                raise ValueError
        except ValueError:
            seen = sampler.usage
        assert seen is not None


class TestSampledRun:
    def test_keeps_what_it_sees_for_builds_of_other_programs(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setenv(RUN, "run")
        began = time.time()
        with sampled_run(tmp_path):
            busy(0.3)
        usage = Store().usage("run", began, time.time())
        assert usage is not None
        assert usage.memory_peak > 10**7

    def test_a_store_that_fails_does_not_disturb_the_run(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        (tmp_path / "cslr").write_text("a file where the folder should be")
        with sampled_run(None) as sampler:
            pass
        assert sampler.usage is not None
