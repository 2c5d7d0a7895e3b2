"""Builds on a real Docker Engine: their behaviour during a silent step, and how they are cancelled."""

import time
from pathlib import Path
from typing import Any

import pytest
import requests

from docker_api.api import DockerApi
from docker_api.builds import Build, BuildError, build
from docker_api.internals import hang_up

pytestmark = pytest.mark.live

SILENT_SECONDS = 60
# With a fraction of its own, so that no other program of this host is taken for it.
SILENT = f"{SILENT_SECONDS}.{time.time_ns() % 10**9:09}"
SOON = 10.0  # seconds


@pytest.fixture
def silent(base: str, tmp_path: Path) -> Build:
    """A build whose only step prints nothing for a long time; no other has its text, nor its cache."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {base}\nRUN : {time.time()} && sleep {SILENT}\n")
    return Build(
        tag="cslr-live/silent", context=tmp_path, dockerfile=dockerfile, target=None, args={}, platform="linux/amd64"
    )


class InterruptedError(Exception):  # noqa: A001
    """What a run raises when it is interrupted."""


class TestASilentStep:
    def test_its_progress_goes_on_and_an_interrupt_ends_it_at_once(self, silent):
        said: list[str] = []

        def progress(text: str) -> None:
            said.append(text)
            if said.count(text) > 2 and "sleep" in text:
                raise InterruptedError

        began = time.monotonic()
        with pytest.raises(InterruptedError):
            build(DockerApi(), silent, progress)
        assert time.monotonic() - began < SILENT_SECONDS / 2

    def test_the_daemon_stops_working_for_it(self, silent):
        def progress(text: str) -> None:
            if "sleep" in text:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            build(DockerApi(), silent, progress)
        deadline = time.monotonic() + SOON
        while sleeping() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not sleeping()


class TestADaemonThatGoesAway:
    def test_fails_the_build_in_words(self, silent, monkeypatch):
        client = DockerApi()
        answers: list[requests.Response] = []
        request = client._request

        def remembered(*words: Any, **options: Any) -> requests.Response:
            answers.append(request(*words, **options))
            return answers[-1]

        monkeypatch.setattr(client, "_request", remembered)

        def progress(text: str) -> None:
            if "sleep" in text:
                hang_up(client._client, answers[-1])

        with pytest.raises(BuildError, match="Docker's answer broke off: POST /build"):
            build(client, silent, progress)


def sleeping() -> bool:
    """Whether the silent step runs anywhere on this host."""
    commands = (path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    return any(command == f"sleep\0{SILENT}\0".encode() for command in commands)
