"""MLflow reached by a browser on another machine: from a separate network namespace, over a veth pair.

The address is outside of the private networks, as hosts of universities often have them.
"""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from preflight.host_facts import outside_addresses
from testing.live.deployment import LiveStack, deployed

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root makes a network namespace")

SPACE, OUTSIDE, INSIDE = "cslr-browser", "cslr-out0", "cslr-in0"
# A network of two, so that it hides nothing else of the site's.
HOST, BROWSER, BITS, PORT = "198.51.100.1", "198.51.100.2", 30, 23500
NAME = "gpuhost.example.org"
TRACKING: dict[str, Any] = {
    "network": {"name": "cslr-live-other", "subnet": "10.223.0.0/24", "bind_address": HOST, "names": [NAME]},
    "ray": {"cpu": {"enabled": False}},
    "redis": {"enabled": False},
    "marimo": {"enabled": False},
    "keeper": {"enabled": False},
    "mlflow": {"port": PORT},
    "health": {"port": 23888},
}
SEARCH = "/ajax-api/2.0/mlflow/runs/search"


def ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)


@pytest.fixture(scope="module")
def other_machine() -> Iterator[None]:
    """A network namespace that reaches this host at `HOST`."""
    ip("netns", "del", SPACE, check=False)
    ip("link", "del", OUTSIDE, check=False)
    ip("netns", "add", SPACE)
    try:
        ip("link", "add", OUTSIDE, "type", "veth", "peer", "name", INSIDE)
        ip("link", "set", INSIDE, "netns", SPACE)
        ip("addr", "add", f"{HOST}/{BITS}", "dev", OUTSIDE)
        ip("link", "set", OUTSIDE, "up")
        ip("-n", SPACE, "addr", "add", f"{BROWSER}/{BITS}", "dev", INSIDE)
        ip("-n", SPACE, "link", "set", INSIDE, "up")
        yield
    finally:
        ip("link", "del", OUTSIDE, check=False)
        ip("netns", "del", SPACE, check=False)


@pytest.fixture(scope="module")
def stack(other_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with deployed("live-other", TRACKING, tmp_path_factory.mktemp("other")) as stack:
        yield stack


def asked(host: str, *, origin: str | None = None, path: str = SEARCH, to: str = HOST) -> tuple[int, str]:
    """What a browser on the other machine is answered: a POST with `Origin` as MLflow's page sends it, else a GET."""
    curl = ["ip", "netns", "exec", SPACE, "curl", "-s", "-m", "20", "-w", "\n%{http_code}", "-H", f"Host: {host}"]
    if origin is not None:
        body = json.dumps({"experiment_ids": ["0"], "max_results": 1})
        curl += ["-H", f"Origin: {origin}", "-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run([*curl, f"http://{to}:{PORT}{path}"], capture_output=True, text=True, check=True)
    answer, _, status = done.stdout.rpartition("\n")
    return int(status), answer


class TestFromAnotherMachine:
    @pytest.mark.parametrize("host", [f"{HOST}:{PORT}", f"{NAME}:{PORT}", f"{NAME}.:{PORT}", NAME])
    def test_the_page_comes_and_its_tables_fill(self, stack, host):
        assert asked(host, path="/")[0] == 200
        assert asked(host, origin=f"http://{host}")[0] == 200

    def test_a_proxy_with_encryption_may_be_before_it(self, stack):
        assert asked(NAME, origin=f"https://{NAME}")[0] == 200

    @pytest.mark.parametrize("host", [f"10.evil.example:{PORT}", f"evil.example:{PORT}", f"{HOST}:80", "10.0.0.1"])
    def test_a_rebound_name_reads_nothing(self, stack, host):
        assert asked(host, path="/") == (403, "Invalid Host header - possible DNS rebinding attack detected")

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", f"http://{HOST}:8080", f"https://{HOST}:{PORT}", "null", f"http://{HOST}"]
    )
    def test_pages_of_others_change_nothing(self, stack, origin):
        assert asked(f"{HOST}:{PORT}", origin=origin) == (403, "Cross-origin request blocked")

    def test_up_prints_what_can_be_opened_there(self, stack):
        assert f"http://{NAME}:{PORT}" in "".join(stack.output)


class TestUpkeep:
    def test_what_was_deleted_goes_for_good_with_its_artifacts(self, stack):
        run, kept = (self.log_a_run(stack) for _ in range(2))
        assert self.call("runs/delete", {"run_id": run}) == 200
        assert stack.ws("mlflow", "gc", "--yes").returncode == 0
        files = stack.exec("mlflow", "find", "/mlflow/artifacts/0", "-name", "a.txt")[1]
        assert kept in files
        assert run not in files
        assert self.call("runs/delete", {"run_id": run}) == 404

    def test_a_dump_is_one_of_pg_dump(self, stack, tmp_path):
        assert stack.ws("mlflow", "dump", str(tmp_path / "runs.dump")).returncode == 0
        assert (tmp_path / "runs.dump").read_bytes().startswith(b"PGDMP")

    def call(self, what: str, body: dict[str, Any]) -> int:
        request = urllib.request.Request(
            f"http://{HOST}:{PORT}/api/2.0/mlflow/{what}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as answer:
                self.answer = json.load(answer)
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def log_a_run(self, stack: LiveStack) -> str:
        assert self.call("runs/create", {"experiment_id": "0", "start_time": 1}) == 200
        run = str(self.answer["run"]["info"]["run_id"])
        artifact = f"http://{HOST}:{PORT}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.txt"
        with urllib.request.urlopen(urllib.request.Request(artifact, data=b"a" * 1000, method="PUT")) as answer:
            assert answer.status == 200
        return run


class TestOnAllAddresses:
    """Last, since it changes the stack."""

    def test_every_address_of_the_host_is_answered(self, stack):
        stack.configure({"network": {"bind_address": "0.0.0.0", "names": []}})
        assert stack.ws("up", "--engine", "embedded", "--yes").returncode == 0
        for address in (HOST, *outside_addresses()):
            host = f"{address}:{PORT}"
            assert asked(host, origin=f"http://{host}")[0] == 200
        assert asked(f"10.evil.example:{PORT}", path="/")[0] == 403
        assert asked(f"{NAME}:{PORT}", path="/")[0] == 403
