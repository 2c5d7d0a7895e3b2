"""A Docker Engine that does not answer is the first and only problem reported."""

import socket
import threading

import pytest

from config.problems import SettingsError
from embedded_engine.program import ProgramError
from preflight.docker_engine import (
    refuse_unusable_engine,
)
from testing.harness import deploy


@pytest.fixture(autouse=True)
def docker_folder(tmp_path, monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


class TestSilence:
    def test_is_said_first_and_alone(self, tmp_path, monkeypatch):
        """Ports are in use by the stack's own containers, which cannot be asked for."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
            with pytest.raises(ProgramError, match=r"Docker: does not answer at unix://.*: there is no such") as caught:
                deploy({"health": {"port": taken.getsockname()[1]}}, state_home=tmp_path, secrets={"preflight": "true"})
        assert "in use" not in str(caught.value)
        assert "ws doctor" in str(caught.value)

    def test_of_a_socket_that_takes_calls_and_never_answers(self, tmp_path, monkeypatch):
        monkeypatch.setattr("preflight.docker_engine.TIMEOUT", 0.3)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(tmp_path / "docker.sock"))
            deaf.listen()
            monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
            with pytest.raises(SettingsError, match="no answer in time"):
                refuse_unusable_engine()

    def test_of_something_else_that_listens_there(self, monkeypatch):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()

            def serve():
                connection, _ = other.accept()
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                connection.close()

            threading.Thread(target=serve, daemon=True).start()
            monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{other.getsockname()[1]}")
            with pytest.raises(SettingsError, match="Docker: does not answer"):
                refuse_unusable_engine()
