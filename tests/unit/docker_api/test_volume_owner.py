"""Named volumes of `volumes` belong to their service's user before it starts, or `up` says whose they are."""

from typing import Any

import pytest

from docker_api.volume_owner import IMAGE, VolumeError, give, main
from testing.harness import COMMAND, deploy

VOLUMES = [
    {"source": "checkpoints", "target": "/checkpoints"},
    {"source": "datasets", "target": "/datasets", "read_only": True},
]


class Container:
    def __init__(self, said: str, code: int = 0) -> None:
        self.said, self.code, self.removed = said, code, False

    def start(self) -> None: ...

    def wait(self, timeout: float) -> dict[str, int]:
        return {"StatusCode": self.code}

    def logs(self) -> bytes:
        return self.said.encode()

    def remove(self, *, force: bool) -> None:
        self.removed = force


class Client:
    """Docker, as far as it is asked."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.options: dict[str, Any] = {}
        self.containers = self

    def create(self, image: str, **options: Any) -> Container:
        self.options = {"image": image, **options}
        return self.container


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    settings = {"marimo": {"volumes": VOLUMES}, "ray": {"cpu": {"volumes": VOLUMES[:1]}}}
    return deploy(settings, state_home=tmp_path_factory.mktemp("state"))


class TestProgram:
    def test_gives_each_volume_that_is_written_to_before_its_service_starts(self, program):
        given = {name: one for name, one in program.of_type(COMMAND).items() if "-volume-" in name}
        assert set(given) == {"marimo-volume-checkpoints", "ray-cpu-volume-checkpoints"}
        for name, one in given.items():
            container = program.containers[name.removesuffix("-volume-checkpoints")]
            assert name in program.needs(container)
            assert one.inputs["create"].endswith("-m docker_api.volume_owner checkpoints 1000:1000 /checkpoints")
            assert one.inputs["environment"][IMAGE] == container.inputs["image"]

    def test_declares_no_such_command_without_them(self, tmp_path):
        assert not [name for name in deploy({}, state_home=tmp_path).of_type(COMMAND) if "-volume-" in name]


class TestGive:
    def test_has_no_other_right_than_to_change_an_owner(self):
        client: Any = Client(Container("1000 1000 755"))
        give(client, "v", "1000:1000", "/data", "sha256:1")
        assert client.options["cap_drop"] == ["ALL"]
        assert client.options["cap_add"] == ["CHOWN"]
        assert client.options["network_mode"] == "none"
        assert client.options["read_only"]
        assert [mount["Source"] for mount in client.options["mounts"]] == ["v"]
        assert client.container.removed

    def test_reads_what_it_says_on_an_engine_that_keeps_no_logs_by_default(self):
        client: Any = Client(Container("1000 1000 755"))
        give(client, "v", "1000:1000", "/data", "sha256:1")
        assert client.options["log_config"]["Type"] == "json-file"

    @pytest.mark.parametrize("said", ["1000 0 755", "0 1000 775", "5 5 777"])
    def test_is_content_where_the_user_can_write(self, said):
        client: Any = Client(Container(said))
        give(client, "v", "1000:1000", "/data", "sha256:1")

    @pytest.mark.parametrize("said", ["0 0 755", "999 999 700", "1000 0 555", "0 1000 755"])
    def test_says_whose_it_is_where_not(self, said):
        client: Any = Client(Container(said))
        with pytest.raises(VolumeError, match="user 1000 cannot write to the volume v"):
            give(client, "v", "1000:1000", "/data", "sha256:1")
        assert client.container.removed

    @pytest.mark.parametrize("said", ["1000 1000 755 1000", "1000 1000 755"])
    def test_is_content_where_the_image_has_nothing_of_others_at_the_target(self, said):
        client: Any = Client(Container(said))
        give(client, "v", "1000:1000", "/data", "sha256:1")

    def test_refuses_a_target_whose_owner_an_empty_volume_would_get(self):
        client: Any = Client(Container("1000 1000 755 0"))
        with pytest.raises(VolumeError, match="at a path that the image does not have, such as /mnt/v"):
            give(client, "v", "1000:1000", "/mnt", "sha256:1")

    def test_says_what_the_command_said_where_it_failed(self):
        client: Any = Client(Container("sh: stat: not found", code=127))
        with pytest.raises(VolumeError, match="stat: not found"):
            give(client, "v", "1000:1000", "/data", "sha256:1")

    def test_is_one_sentence_where_docker_does_not_answer(self, monkeypatch, capsys):
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        monkeypatch.setenv(IMAGE, "sha256:1")
        assert main(["v", "1000:1000", "/data"]) == 1
        assert "Traceback" not in capsys.readouterr().err
