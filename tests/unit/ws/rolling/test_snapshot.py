"""A container that is made again as it was: what the Engine is asked for."""

from typing import Any

import pytest

from docker_api.api import Json
from ws.errors import WsError
from ws.rolling import snapshot
from ws.rolling.snapshot import Snapshot

HEALTHY = {"Status": "running", "Health": {"Status": "healthy"}}


def inspected(mode: str = "host", **networks: Json) -> Json:
    return {
        "Id": "0123456789abcdef", "Name": "/cslr-dev-ray-cpu", "Image": "sha256:old",
        "Config": {"Image": "cslr/ml:another", "Env": ["A=1"], "Labels": {"cslr.engine.urn": "urn"}, "MacAddress": ""},
        "HostConfig": {"NetworkMode": mode, "Memory": 2048, "Mounts": [{"Source": "/a", "Target": "/b"}]},
        "NetworkSettings": {"Networks": networks or {mode: {}}}, "State": HEALTHY,
    }  # fmt: skip


class Engine:
    """Docker, with one container, of which a successor may have taken the place."""

    def __init__(self, found: Json, *, replaced: bool = True) -> None:
        self.there = {} if replaced else {found["Id"]: found}
        self.state: Json = HEALTHY
        self.calls: list[tuple[str, str, Any]] = []

    def find(self, path: str) -> Json | None:
        identifier = path.split("/")[2]
        return {"State": self.state} if identifier == "cslr-dev-ray-cpu" else self.there.get(identifier)

    def call(self, method: str, path: str, *, query: Json | None = None, body: Json | None = None) -> None:
        self.calls.append((method, path, body or query))

    @property
    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.calls]


def restore(engine: Engine, found: Json, seconds: float = 5.0) -> None:
    Snapshot(found=found).restore(engine, seconds, lambda _: None)  # type: ignore[arg-type]


def test_it_takes_the_place_of_its_successor_with_image_settings_and_labels():
    found = inspected()
    engine = Engine(found)
    restore(engine, found)
    assert engine.paths == [
        "POST /containers/cslr-dev-ray-cpu/stop", "DELETE /containers/cslr-dev-ray-cpu", "POST /containers/create",
        "POST /containers/cslr-dev-ray-cpu/start",
    ]  # fmt: skip
    assert engine.calls[2][2] == {
        # The ID, since its name may have moved to the image that failed.
        "Image": "sha256:old", "Env": ["A=1"], "Labels": {"cslr.engine.urn": "urn"}, "HostConfig": found["HostConfig"],
    }  # fmt: skip


def test_it_joins_its_network_with_the_same_address_and_leaves_the_default_one():
    endpoint = {
        "Aliases": ["ray-cpu", "0123456789ab"],
        "IPAMConfig": {"IPv4Address": "10.0.0.3"},
        "Gateway": "10.0.0.1",
    }
    found = inspected("bridge", **{"cslr-dev": endpoint})
    engine = Engine(found)
    restore(engine, found)
    assert engine.paths[3:5] == ["POST /networks/bridge/disconnect", "POST /networks/cslr-dev/connect"]
    joined = {"Aliases": ["ray-cpu"], "IPAMConfig": {"IPv4Address": "10.0.0.3"}}
    assert engine.calls[4][2] == {"Container": "cslr-dev-ray-cpu", "EndpointConfig": joined}


def test_one_that_was_not_replaced_is_only_started():
    found = inspected()
    engine = Engine(found, replaced=False)
    restore(engine, found)
    assert engine.paths == ["POST /containers/cslr-dev-ray-cpu/start"]


def test_one_that_does_not_become_healthy_is_an_error(monkeypatch):
    monkeypatch.setattr(snapshot, "POLL_SECONDS", 0.01)
    engine = Engine(inspected())
    engine.state = {"Status": "exited"}
    with pytest.raises(WsError, match="cslr-dev-ray-cpu is not healthy after 0 s"):
        restore(engine, inspected(), seconds=0.05)
