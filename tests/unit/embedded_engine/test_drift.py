"""Drift of a whole stack, on a made-up Docker Engine."""

import hashlib
from typing import Any

import pytest

from docker_api.api import DockerError
from embedded_engine import drift
from embedded_engine.changes import CONTAINER, IMAGE, NETWORK, VOLUME
from testing.harness import PROJECT, deploy, quiet_host, stack_config
from testing.inspection import inspected

SETTINGS: dict[str, Any] = {
    "ray": {"cpu": {"enabled": False}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "postgres": {"enabled": False},
    "keeper": {"enabled": False},
}
LABELS = {"cslr.project": "cslr", "cslr.stack": "dev"}


def image_id(tag: str) -> str:
    return f"sha256:{hashlib.sha256(tag.encode()).hexdigest()}"


class Host:
    """An Engine with the objects that a stack declares."""

    def __init__(self, tmp_path) -> None:
        self.declared = deploy(SETTINGS, state_home=tmp_path)
        self.objects: dict[str, dict[str, Any]] = {}
        tags = [one.inputs["imageName"] for one in self.declared.of_type(IMAGE).values()]
        for tag in tags:
            self.objects[f"/images/{tag}/json"] = {"Id": image_id(tag), "RepoTags": [tag], "Config": {}}
        for one in self.declared.of_type(NETWORK).values():
            (pool,) = one.inputs["ipamConfigs"]
            self.objects[f"/networks/{one.inputs['name']}"] = {
                "Id": "network-id",
                "Name": one.inputs["name"],
                "Driver": "bridge",
                "IPAM": {"Config": [{"Subnet": pool["subnet"], "Gateway": pool["gateway"]}]},
                "Labels": one.labels,
            }
        for one in self.declared.of_type(VOLUME).values():
            self.objects[f"/volumes/{one.inputs['name']}"] = {"Driver": "local", "Labels": one.labels}

    def run(self, *, embedded: bool = True) -> None:
        """Starts the containers, with the images that the program is given for this host."""
        for one in self.declared.of_type(CONTAINER).values():
            image = next(tag for tag in self.objects if one.inputs["hostname"].partition("-")[0] in tag)
            inputs = {**one.inputs, "image": self.objects[image]["Id"]}
            self.objects[f"/containers/{one.inputs['name']}/json"] = inspected(inputs, embedded=embedded)

    def container(self, service: str) -> dict[str, Any]:
        return self.objects[f"/containers/cslr-dev-{service}/json"]

    def find(self, path: str) -> dict[str, Any] | None:
        return self.objects.get(path)

    def labelled(self, path: str, _key: str, _labels: list[str]) -> list[dict[str, Any]]:
        if path == "/networks":
            return [one for key, one in self.objects.items() if key.startswith("/networks/")]
        found = [one for key, one in self.objects.items() if key.startswith("/containers/")]
        return [{"Names": [one["Name"]], "Labels": one["Config"]["Labels"]} for one in found]


@pytest.fixture
def host(tmp_path, monkeypatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setattr(drift, "DockerApi", lambda: host)
    return host


@pytest.fixture
def observe(tmp_path):
    def run(settings: dict[str, Any] = SETTINGS) -> drift.Observation:
        with quiet_host(tmp_path):
            return drift.observe(PROJECT, stack_config(settings))

    return run


def told(observation: drift.Observation) -> list[str]:
    return [f"{one.kind} {one.name} {one.field} {one.difference}" for one in observation.drifts]


class TestDrift:
    @pytest.mark.parametrize("embedded", [True, False])
    def test_of_a_stack_as_deployed_is_none(self, host, observe, embedded):
        host.run(embedded=embedded)
        assert told(observe()) == []

    @pytest.mark.parametrize("embedded", [True, False])
    def test_is_named_by_field(self, host, observe, embedded):
        host.run(embedded=embedded)
        host.container("redis")["HostConfig"]["RestartPolicy"] = {"Name": "no"}
        assert told(observe()) == ["container cslr-dev-redis restart unless-stopped → no"]

    def test_names_what_is_missing(self, host, observe):
        host.run()
        for path in [path for path in host.objects if "redis" in path or path.startswith("/networks")]:
            del host.objects[path]
        assert {one.kind for one in observe().drifts} == {"container", "network", "volume", "image"}
        assert {one.difference for one in observe().drifts} == {"is missing"}

    def test_names_what_nobody_declares(self, host, observe):
        host.run()
        stranger = {**host.container("redis"), "Name": "/by-hand"}
        host.objects["/containers/by-hand/json"] = stranger
        assert told(observe()) == ["container by-hand  is not declared"]

    def test_is_not_what_is_yet_to_be_deployed(self, host, observe):
        host.run()
        found = observe({**SETTINGS, "redis": {"memory": "2g"}})
        assert found.drifts == ()
        assert "cslr-dev-redis" in found.pending

    def test_knows_the_images_that_are_declared(self, host, observe):
        assert all(identifier == image_id(name) for name, identifier in observe().images.items())
        assert len(observe().images) >= 2

    def test_cannot_be_told_without_docker(self, host, observe, monkeypatch):
        def gone(_path: str) -> None:
            raise DockerError("Docker did not answer")

        monkeypatch.setattr(host, "find", gone)
        with pytest.raises(DockerError):
            observe()
