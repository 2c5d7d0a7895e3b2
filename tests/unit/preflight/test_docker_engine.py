"""The Docker Engine that a stack is deployed on: this host's own, one for all, that answers and keeps user ids."""

import hashlib
import json
from pathlib import Path

import pytest

from config.problems import SettingsError
from docker_api.address import SOCKET
from preflight.docker_engine import (
    PROVIDERS_KEYS,
    other_ids,
    refuse_other_engine,
    refuse_other_system,
    refuse_remote_engine,
)

FILE = "Pulumi.dev.yaml"


@pytest.fixture(autouse=True)
def docker_folder(tmp_path, monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def context(folder: Path, name: str, host: str) -> None:
    meta = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def linked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Engine's socket is reached by a link, as `/var/run` is one to `/run`."""
    (folder / "run").mkdir()
    (folder / "var").symlink_to("run")
    address = f"unix://{folder}/var/docker.sock"
    monkeypatch.setattr("preflight.docker_engine.SOCKET", address)
    monkeypatch.setattr("preflight.docker_engine.engine_address", lambda: address)


class TestSystem:
    def test_linux_is_deployed_on(self):
        refuse_other_system("linux")

    @pytest.mark.parametrize(
        ("system", "name"), [("darwin", "macOS"), ("win32", "Windows"), ("freebsd14", "freebsd14")]
    )
    def test_another_one_is_told_so_in_a_sentence_with_what_works(self, system, name):
        with pytest.raises(SettingsError) as caught:
            refuse_other_system(system)
        assert f"stacks are deployed on Linux hosts; on {name}, Docker runs in a virtual machine" in str(caught.value)
        assert "ws matrix" in str(caught.value)


class TestStackConfig:
    @pytest.mark.parametrize("name", PROVIDERS_KEYS)
    def test_chooses_no_engine(self, name):
        with pytest.raises(SettingsError) as caught:
            refuse_other_engine({f"docker:{name}": "ssh://me@gpu1"}, stack_file=FILE)
        assert str(caught.value).startswith(
            f"{FILE}: docker:{name}: chooses the Docker Engine of Pulumi's provider alone"
        )
        assert f"ws unset docker:{name} -s dev" in str(caught.value)

    @pytest.mark.parametrize("key", ["docker:registryAuth", "aws:region", "cslr:host"])
    def test_of_other_kinds_is_left_alone(self, key):
        refuse_other_engine({key: "x"}, stack_file=FILE)

    def test_may_name_the_engine_that_is_deployed_on(self):
        refuse_other_engine({"docker:host": SOCKET}, stack_file=FILE)

    def test_may_name_it_by_another_way_to_its_socket(self, tmp_path, monkeypatch):
        linked(tmp_path, monkeypatch)
        refuse_other_engine({"docker:host": f"unix://{tmp_path}/run/docker.sock"}, stack_file=FILE)


class TestEnvironment:
    @pytest.mark.parametrize("address", ["tcp://192.168.1.20:2375", "ssh://me@gpu1", "tcp://127.example.org:2375"])
    def test_the_engine_of_another_host_is_refused(self, monkeypatch, address):
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(SettingsError) as caught:
            refuse_remote_engine()
        assert str(caught.value).startswith(f"DOCKER_HOST: {address} is the Docker Engine of another host")
        assert "unset DOCKER_HOST" in str(caught.value)

    @pytest.mark.parametrize(
        "address", [None, "", "unix:///run/docker.sock", "tcp://127.0.0.1:2375", "tcp://localhost"]
    )
    def test_the_engine_of_this_host_is_not(self, monkeypatch, address):
        if address is not None:
            monkeypatch.setenv("DOCKER_HOST", address)
        refuse_remote_engine()

    @pytest.mark.parametrize("by", ["environment", "config.json"])
    @pytest.mark.parametrize(
        ("host", "remedy"),
        [
            ("ssh://me@gpu1", f"export DOCKER_HOST={SOCKET}"),
            ("tcp://10.0.0.1:2376", f"export DOCKER_HOST={SOCKET}"),
            ("unix:///run/user/1000/docker.sock", "export DOCKER_HOST=unix:///run/user/1000/docker.sock"),
            (None, f"export DOCKER_HOST={SOCKET}"),
        ],
    )
    def test_a_context_of_another_engine_is_refused(self, docker_folder, monkeypatch, by, host, remedy):
        if host:
            context(docker_folder, "lab", host)
        if by == "environment":
            monkeypatch.setenv("DOCKER_CONTEXT", "lab")
        else:
            (docker_folder / "config.json").write_text('{"currentContext": "lab"}')
        with pytest.raises(SettingsError) as caught:
            refuse_remote_engine()
        assert remedy in str(caught.value)
        monkeypatch.setenv("DOCKER_HOST", remedy.partition("=")[2])
        refuse_remote_engine()

    @pytest.mark.parametrize(
        "text", ["{}", "[]", "no JSON", '{"currentContext": null}', '{"currentContext": "default"}']
    )
    def test_a_config_without_a_context_is_not(self, docker_folder, text):
        (docker_folder / "config.json").write_text(text)
        refuse_remote_engine()

    def test_nor_is_a_context_of_this_hosts_engine(self, docker_folder, monkeypatch):
        context(docker_folder, "same", SOCKET)
        monkeypatch.setenv("DOCKER_CONTEXT", "same")
        refuse_remote_engine()

    def test_nor_one_that_names_it_by_another_way(self, docker_folder, monkeypatch):
        linked(docker_folder, monkeypatch)
        context(docker_folder, "same", f"unix://{docker_folder}/run/docker.sock")
        monkeypatch.setenv("DOCKER_CONTEXT", "same")
        refuse_remote_engine()


class TestUserIds:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (["name=seccomp,profile=default", "name=userns"], "userns-remap"),
            (["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"], "rootless"),
            (["name=rootless"], "rootless"),
        ],
    )
    def test_that_are_others_on_the_host_are_noticed(self, options, reason):
        problem = other_ids({"SecurityOptions": options})
        assert problem
        assert reason in problem.reason

    @pytest.mark.parametrize(
        "info", [{}, {"SecurityOptions": None}, {"SecurityOptions": ["name=apparmor", "name=seccomp,profile=userns"]}]
    )
    def test_that_are_the_same_are_fine(self, info):
        assert other_ids(info) is None
