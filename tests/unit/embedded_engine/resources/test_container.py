"""Containers of the embedded engine that start: how long one is waited for, and what is said of one that fails."""

from typing import Any

import pytest

from docker_api.api import DockerApi
from embedded_engine.changes import CONTAINER
from embedded_engine.registration import Registration, recorded
from embedded_engine.resources.base import ResourceError
from embedded_engine.resources.container import Container

NAME = "cslr-dev-mlflow"
HEALTHY = {"Status": "running", "Health": {"Status": "healthy"}}
STARTING = {"Status": "running", "Health": {"Status": "starting", "Log": [{"Output": "connection refused\n"}]}}
EXITED = {"Status": "exited", "ExitCode": 3}
CRASHED = {"Status": "restarting", "ExitCode": 3}


class Engine(DockerApi):
    """A container that is inspected again and again, half a second after the other; the last state stays."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self._states = list(states)
        self.seconds = 0.0

    def find(self, path: str) -> dict[str, Any] | None:
        assert path == f"/containers/{NAME}/json"
        self.seconds += 0.5
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        restarts = state.get("restarts", 0)
        return {"Id": "5e", "Name": f"/{NAME}", "Image": "sha256:1", "State": state, "RestartCount": restarts}

    def call(self, method: str, path: str, **_: Any) -> Any:
        assert (method, path) == ("POST", f"/containers/{NAME}/start")

    def logs(self, container: str, lines: int = 15) -> str:
        return "no such table: experiments"


@pytest.fixture
def start(monkeypatch):
    """Starts a container that goes through these states; returns what it said meanwhile, and how long that took."""

    def run(*states: dict[str, Any]) -> tuple[list[str], float]:
        engine, said = Engine(*states), list[str]()
        monkeypatch.setattr("time.monotonic", lambda: engine.seconds)
        monkeypatch.setattr("time.sleep", lambda _: None)
        inputs = {"name": NAME, "waitTimeout": 180}
        wanted = Registration(
            urn="urn", type=CONTAINER, name="mlflow", inputs=inputs, recorded=recorded(inputs), dependencies=(),
            retain_on_delete=False,
        )  # fmt: skip
        Container(engine)._start(wanted, NAME, said.append)
        return said, engine.seconds

    return run


class TestStart:
    def test_waits_until_it_is_healthy(self, start):
        said, seconds = start(*[STARTING] * 100, HEALTHY)
        assert said[-1] == "waiting until it is healthy, 50 s"
        assert seconds == pytest.approx(50.5)

    def test_waits_for_as_long_as_the_program_says(self, start):
        with pytest.raises(ResourceError, match=r"not healthy after 180 s \(state: running; last check: connection r"):
            start(STARTING)

    def test_fails_soon_where_it_has_ended_for_good(self, start):
        with pytest.raises(ResourceError) as failed:
            start(STARTING, *[EXITED] * 8, HEALTHY)
        assert str(failed.value) == (
            "has ended and is not started again (exit code 3).\nThe end of its log:\nno such table: experiments"
        )

    def test_waits_for_one_that_somebody_restarts(self, start):
        start(*[EXITED] * 4, *[STARTING] * 4, *[EXITED] * 4, HEALTHY)

    def test_waits_for_one_that_docker_starts_again(self, start):
        start(STARTING, *[{**CRASHED, "restarts": 5}] * 40, HEALTHY)

    def test_fails_where_it_crashes_again_and_again(self, start):
        crashes = [{**CRASHED, "restarts": number // 2} for number in range(20)]
        with pytest.raises(ResourceError, match=r"crashes: it ended 6 times within 6 s \(the last time: exit code 3\)"):
            start(*crashes)

    def test_says_what_docker_says(self, start):
        with pytest.raises(ResourceError, match="exit code 137, killed for lack of memory, no space left"):
            start({**EXITED, "ExitCode": 137, "OOMKilled": True, "Error": "no space left on device"})
