"""The tunnel of a bundle with OpenSSH on both ends, and `check` through it."""

import getpass
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from testing.client_bundle import TOKEN, bundle
from testing.client_servers import (
    HOST,
    PACKAGES,
    PYTHON,
    give_python,
    grpc_server,
    outcomes,
    ray_version,
    run,
    web,
)
from testing.queue_memory import running
from testing.ssh_server import Server, serving, wait_for
from ws.client.endpoints import Way
from ws.client.folder import write


@pytest.fixture(scope="module")
def ssh_server(sshd, tmp_path_factory) -> Iterator[Server]:
    """sshd on a free port, which lets this user in by a key that may open tunnels and do nothing else."""
    with serving(sshd, tmp_path_factory.mktemp("sshd"), rights="restrict,port-forwarding") as server:
        yield server


def free_shift(ports: list[int]) -> int:
    """By how much these ports move to ones that are free."""
    for shift in range(-1000, -20000, -7):
        if all(is_free(port + shift) for port in ports):
            return shift
    pytest.fail("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex((HOST, port)) != 0


@contextmanager
def tunnel(folder: Path, server: Server, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The bundle's tunnel; `port`: one that it listens on."""
    log = folder.parent / "tunnel.log"
    with log.open("w") as said:
        process = subprocess.Popen([f"{folder}/tunnel", *server.options], stdout=said, stderr=said)
        try:
            wait_for(port, process, log)
            yield process
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def stack(tmp_path) -> Iterator[tuple[Path, int, ExitStack]]:
    """A bundle whose stack are servers on this machine; a port of its tunnel; and what ends Ray's dashboard."""
    with ExitStack() as others, ExitStack() as dashboard:
        ports = {
            "ray": dashboard.enter_context(web(token="token-of-ray", _api_version=ray_version())),
            "client": others.enter_context(grpc_server()),
            "mlflow": others.enter_context(web(_version=(200, "3.17.2"))),
            "marimo": others.enter_context(web(_=(200, ""))),
            "health": others.enter_context(web(_=(200, ""))),
            "queue": others.enter_context(running(tmp_path / "queue", TOKEN)).url,
        }
        numbers = {name: int(str(address).rpartition(":")[2]) for name, address in ports.items()}
        settings = {name: {"port": numbers[name]} for name in ("mlflow", "marimo", "health", "queue")}
        settings["queue"]["enabled"] = True
        ray = {"ray": {"cpu": {"ports": {"dashboard": numbers["ray"], "client": numbers["client"]}}}}
        shift = free_shift([*numbers.values()])
        folder = tmp_path / "bundle"
        way = Way(host=HOST, shift=shift)
        write(bundle({**settings, **ray}, way, user=getpass.getuser(), python=PYTHON, packages=PACKAGES), folder)
        give_python(folder)
        yield folder, numbers["mlflow"] + shift, dashboard


def test_each_service_answers_through_it_until_it_ends(stack, ssh_server):
    folder, port, _ = stack
    with tunnel(folder, ssh_server, port):
        found = outcomes(folder)
        assert len(found) == 8
        assert set(found.values()) == {"ok"}
    assert {title for title, result in outcomes(folder).items() if result == "ok"} == {"Python environment", "token"}


def test_the_queue_is_used_from_the_folder_alone(stack, ssh_server):
    """Each command, as a person types it: its modules are all in the bundle."""
    folder, port, _ = stack
    sourced = 'set -e; . ./environment; cd jobs; "$@"'

    def ws(*words: str) -> str:
        done = run("sh", "-c", sourced, "sh", "ws", *words, at=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with tunnel(folder, ssh_server, port):
        options = ("--memory", "1g", "--time-limit", "1h", "--id", "first", "--follow")
        assert "hello" in ws("submit", *options, "--", "prints:hello", "ends:succeeded")
        ws("submit", "--id", "second", "--wait", "--", "ends:succeeded")
        ws("submit", "--id", "third", "--no-folder", "--", "waits")
        assert "third" in ws("queue")
        shown = json.loads(ws("job", "show", "first", "--json"))
        assert (shown["user"], shown["outcome"]) == (getpass.getuser(), "succeeded")
        assert shown["submission"]["package"]
        assert "hello" in ws("job", "logs", "first")
        assert "third" in ws("job", "list", "--state", "waiting")
        ws("job", "show", "third")
        assert "cancelled" in ws("job", "cancel", "third")
        assert "waits again" in ws("job", "retry", "third")
        ws("usage", "--since", "1d")


def test_a_service_that_does_not_run_is_told_from_a_tunnel_that_does_not_stand(stack, ssh_server):
    folder, port, dashboard = stack
    dashboard.close()
    with tunnel(folder, ssh_server, port):
        done = run("./check", at=folder)
    assert "FAIL  Ray's dashboard and Jobs API: the tunnel is open, but nothing answers behind" in done.stdout
    assert done.stdout.count("FAIL") == 1


def test_a_port_that_another_program_has_ends_it_with_a_failure(stack, ssh_server):
    folder, port, _ = stack
    with socket.create_server((HOST, port)):
        done = run("./tunnel", *ssh_server.options, at=folder)
    assert done.returncode != 0
    assert str(port) in done.stderr
