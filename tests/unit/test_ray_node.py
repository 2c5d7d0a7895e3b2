"""The Ray node's program: its decision, against a real Redis and real sockets, and one start of the real Ray."""

import ast
import http.server
import json
import multiprocessing
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from components.ports import BRIDGE_RAY_PORTS, HEAD_FLAGS
from entrypoints import ray_node
from entrypoints.ray_node import Address, ClaimElection, HeadClaim, NodeSettings, Redis, Role
from entrypoints.ray_process import AGENT_PORT, NodeError

ENTRYPOINTS = Path(ray_node.__file__).parent
PASSWORD = "correct horse: battery'staple"
NAMESPACE = "cslr-test"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def listener():
    """A port that accepts TCP, as a GCS does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address("127.0.0.1", server.getsockname()[1])


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory):
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server: apt-get install redis-server")
    folder = tmp_path_factory.mktemp("redis")
    address = Address("127.0.0.1", free_port())
    (folder / "redis.conf").write_text(f'port {address.port}\nbind 127.0.0.1\nrequirepass "{PASSWORD}"\nsave ""\n')
    server = subprocess.Popen(["redis-server", folder / "redis.conf"], cwd=folder, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not address.answers() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield address
    server.terminate()
    server.wait()


@pytest.fixture
def redis(redis_address):
    client = Redis(redis_address, PASSWORD)
    client.evaluate("return redis.call('FLUSHALL')", "-")
    return client


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "redis-password"
    path.write_text(PASSWORD + "\n")
    return path


def claim_of(redis: Redis, node: str, port: int = 6379) -> HeadClaim:
    return HeadClaim(redis, NAMESPACE, node, Address(node, port))


@pytest.fixture(autouse=True)
def poll_quickly(monkeypatch):
    monkeypatch.setattr(ray_node, "POLL_SECONDS", 0.05)


def settings(**changes: str) -> NodeSettings:
    environment = {
        "RAY_NODE_NAME": "ray-cpu",
        "RAY_NODE_CANDIDATES": "ray-cpu",
        "RAY_NODE_HEALTH_TIMEOUT": "0.5",
        "RAY_NODE_DEADLINE": "0.2",
        "RAY_NODE_PORTS": json.dumps(dict(BRIDGE_RAY_PORTS)),
    }
    return NodeSettings.from_environment(environment | changes)


def ports(**changes: int) -> str:
    """RAY_NODE_PORTS with other ports of a head: gcs, client, dashboard; or agent."""
    flags = {**HEAD_FLAGS, "agent": AGENT_PORT}
    return json.dumps({**BRIDGE_RAY_PORTS, **{flags[name]: port for name, port in changes.items()}})


def decide(node: NodeSettings, claim: HeadClaim | None = None) -> Role:
    return ClaimElection(node, claim, threading.Event()).decide()


@pytest.fixture
def health_service():
    """A health service that answers `/status` with `answer`; (url, answer) are given to the test."""
    answer: dict[str, Any] = {"status": 200, "body": b""}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", answer
        server.shutdown()


def status_of_head(address: object, node: str = "ray-gpu") -> bytes:
    return json.dumps({"ray": {"head": {"address": str(address), "node": node}, "nodes": []}}).encode()


def race(start, port: int, node: str, outcome) -> None:
    claim = claim_of(Redis(Address("127.0.0.1", port), PASSWORD), node)
    start.wait()
    outcome.put((node, claim.take() is None))


class TestClaim:
    def test_of_many_that_start_together_exactly_one_becomes_head(self, redis, redis_address):
        context = multiprocessing.get_context("fork")
        for _ in range(5):
            redis.evaluate("return redis.call('FLUSHALL')", "-")
            start, outcome = context.Event(), context.Queue()
            nodes = [
                context.Process(target=race, args=(start, redis_address.port, f"node-{n}", outcome)) for n in range(8)
            ]
            for node in nodes:
                node.start()
            start.set()
            heads = [node for node, is_head in (outcome.get(timeout=10) for _ in nodes) if is_head]
            for node in nodes:
                node.join()
            assert len(heads) == 1

    def test_the_loser_learns_where_the_head_will_be(self, redis):
        assert claim_of(redis, "ray-cpu").take() is None
        assert claim_of(redis, "ray-gpu").take() == Address("ray-cpu", 6379)

    def test_a_restarted_node_takes_its_own_claim_over(self, redis):
        before, after = claim_of(redis, "ray-cpu"), claim_of(redis, "ray-cpu")
        assert before.take() is None
        assert after.take() is None
        assert after.renew()

    def test_the_run_before_the_restart_loses_the_claim(self, redis):
        before, after = claim_of(redis, "ray-cpu"), claim_of(redis, "ray-cpu")
        before.take()
        after.take()
        assert not before.renew()
        before.release()
        assert claim_of(redis, "ray-gpu").take() == Address("ray-cpu", 6379)

    def test_a_node_whose_name_begins_like_the_holders_does_not_take_over(self, redis):
        claim_of(redis, "ray-cpu-2").take()
        assert claim_of(redis, "ray-cpu").take() == Address("ray-cpu-2", 6379)

    def test_renewal_prolongs_the_claim(self, redis):
        claim = claim_of(redis, "ray-cpu")
        claim.take()
        redis.evaluate("return redis.call('PEXPIRE', KEYS[1], 100)", f"cslr:head:{NAMESPACE}")
        assert claim.renew()
        assert int(redis.evaluate("return redis.call('PTTL', KEYS[1])", f"cslr:head:{NAMESPACE}")) > 10_000

    def test_a_claim_that_expired_unnoticed_is_renewed_only_while_free(self, redis):
        cpu, gpu = claim_of(redis, "ray-cpu"), claim_of(redis, "ray-gpu")
        cpu.take()
        redis.evaluate("return redis.call('DEL', KEYS[1])", f"cslr:head:{NAMESPACE}")
        assert cpu.renew()
        redis.evaluate("return redis.call('DEL', KEYS[1])", f"cslr:head:{NAMESPACE}")
        gpu.take()
        assert not cpu.renew()

    def test_release_lets_the_next_candidate_in(self, redis):
        cpu, gpu = claim_of(redis, "ray-cpu"), claim_of(redis, "ray-gpu")
        cpu.take()
        cpu.release()
        assert gpu.look() is None
        assert gpu.take() is None

    def test_clusters_do_not_share_a_claim(self, redis):
        claim_of(redis, "ray-cpu").take()
        assert HeadClaim(redis, "another", "ray-gpu", Address("ray-gpu", 6379)).take() is None

    def test_a_wrong_password_is_one_sentence_without_the_password(self, redis_address):
        with pytest.raises(NodeError, match="password files") as error:
            claim_of(Redis(redis_address, "wrong-secret"), "ray-cpu").take()
        assert "wrong-secret" not in str(error.value)


class TestDecision:
    def test_without_any_head_the_candidate_becomes_head(self, redis):
        assert decide(settings(), claim_of(redis, "ray-cpu")).is_head

    def test_an_explicit_head_is_joined(self, listener, redis):
        role = decide(settings(RAY_NODE_HEAD_ADDRESS=str(listener)), claim_of(redis, "ray-cpu"))
        assert role == Role(listener)

    def test_an_explicit_head_that_is_this_node_makes_it_head(self, redis):
        assert decide(settings(RAY_NODE_HEAD_ADDRESS="ray-cpu:6379"), claim_of(redis, "ray-cpu")).is_head

    def test_a_node_off_the_whitelist_never_becomes_head(self, redis):
        with pytest.raises(NodeError, match="not on the head whitelist"):
            decide(settings(RAY_NODE_CANDIDATES="ray-gpu"), claim_of(redis, "ray-cpu"))

    def test_a_node_off_the_whitelist_joins_the_holder_of_the_claim(self, redis, listener):
        HeadClaim(redis, NAMESPACE, "ray-gpu", listener).take()
        assert decide(settings(RAY_NODE_CANDIDATES=""), claim_of(redis, "ray-cpu")) == Role(listener)

    def test_the_head_named_by_the_health_service_is_joined(self, health_service, listener, redis):
        url, answer = health_service
        answer["body"] = status_of_head(listener)
        assert decide(settings(RAY_NODE_HEALTH_URL=url), claim_of(redis, "ray-cpu")) == Role(listener)

    def test_a_head_that_does_not_answer_is_ignored(self, health_service, redis):
        url, answer = health_service
        answer["body"] = status_of_head(Address("127.0.0.1", free_port()))
        assert decide(settings(RAY_NODE_HEALTH_URL=url), claim_of(redis, "ray-cpu")).is_head

    def test_its_own_former_self_is_not_joined(self, health_service, listener, redis):
        url, answer = health_service
        answer["body"] = status_of_head(listener, node="ray-cpu")
        assert decide(settings(RAY_NODE_HEALTH_URL=url), claim_of(redis, "ray-cpu")).is_head

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b'{"ray": {"head": null, "nodes": []}}'),
            (200, b'{"ray": null}'),
            (200, b"[]"),
            (200, b"not JSON"),
            (200, b'{"ray": {"head": {"address": 5, "node": "ray-gpu"}}}'),
            (200, b'{"ray": {"head": {"address": "no-port", "node": "ray-gpu"}}}'),
            (503, b""),
        ],
    )
    def test_anything_else_from_the_health_service_is_no_answer(self, health_service, status, body):
        url, answer = health_service
        answer.update(status=status, body=body)
        assert ray_node.head_by_health_service(settings(RAY_NODE_HEALTH_URL=url)) is None

    def test_no_health_service_is_no_answer(self):
        url = f"http://127.0.0.1:{free_port()}"
        assert ray_node.head_by_health_service(settings(RAY_NODE_HEALTH_URL=url)) is None

    def test_a_running_candidate_is_joined_although_the_claim_is_free(self, listener, redis):
        node = settings(RAY_NODE_CANDIDATES="ray-cpu,127.0.0.1", RAY_NODE_PORTS=ports(gcs=listener.port))
        assert decide(node, claim_of(redis, "ray-cpu")) == Role(listener)

    def test_a_claim_of_another_is_waited_for(self, redis):
        claim_of(redis, "ray-gpu").take()
        with pytest.raises(NodeError, match=r"ray-gpu:6379 claimed headship"):
            decide(settings(), claim_of(redis, "ray-cpu"))

    def test_an_unreachable_redis_ends_at_the_deadline_in_one_sentence(self):
        nowhere = Redis(Address("127.0.0.1", free_port()), PASSWORD)
        with pytest.raises(NodeError, match=r"Redis .* does not answer"):
            decide(settings(), claim_of(nowhere, "ray-cpu"))

    def test_a_stop_ends_the_waiting(self):
        stop = threading.Event()
        stop.set()
        with pytest.raises(NodeError, match="Stopped"):
            ClaimElection(settings(RAY_NODE_CANDIDATES=""), None, stop).decide()

    def test_an_outage_of_redis_is_not_a_loss_of_the_claim(self):
        nowhere = Redis(Address("127.0.0.1", free_port()), PASSWORD)
        election = ClaimElection(settings(), claim_of(nowhere, "ray-cpu"), threading.Event())
        assert election.keep()
        election.release()


class TestAddress:
    @pytest.mark.parametrize(
        ("to_redis", "default", "address"),
        [
            ("172.28.0.3", "172.28.0.3", ""),
            (None, "10.0.0.5", ""),
            ("10.0.0.5", "192.168.1.5", "10.0.0.5"),
            ("172.28.0.3", None, "172.28.0.3"),
        ],
    )
    def test_the_address_is_given_to_ray_only_where_it_would_guess_wrong(self, to_redis, default, address):
        assert ray_node.with_address(settings().means, to_redis, default).address == address


class TestMistakes:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("RAY_NODE_NAME", ""),
            ("RAY_NODE_NAME", "a b"),
            ("RAY_NODE_HEAD_ADDRESS", "ray-cpu"),
            ("RAY_NODE_CPUS", "two"),
            ("RAY_NODE_CPUS", "nan"),
            ("RAY_NODE_PORTS", "{}"),
            ("RAY_NODE_PORTS", "none"),
            ("RAY_REDIS_ADDRESS", "redis:99999"),
        ],
    )
    def test_a_wrong_variable_is_named(self, key, value):
        with pytest.raises(NodeError, match=key):
            settings(**{key: value})

    @pytest.mark.parametrize("content", [None, ""])
    def test_a_missing_or_empty_token_is_one_line_with_the_file(self, tmp_path, content):
        token = tmp_path / "ray-token"
        if content is not None:
            token.write_text(content)
        environment = {
            "RAY_NODE_NAME": "ray-cpu",
            "RAY_NODE_PORTS": ports(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        ended = subprocess.run(
            [sys.executable, "-m", "entrypoints.ray_node"],
            env=environment,
            cwd=ENTRYPOINTS.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 1
        assert ended.stdout.startswith(f"[ray-node] error: {token}")
        assert len((ended.stdout + ended.stderr).splitlines()) == 1

    @pytest.mark.parametrize("program", sorted(ENTRYPOINTS.glob("*.py")), ids=lambda path: path.name)
    def test_the_programs_are_written_for_python_3_10(self, program):
        ast.parse(program.read_text(), feature_version=(3, 10))


class TestHealth:
    @pytest.fixture(autouse=True)
    def state(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setenv("RAY_NODE_NAME", "ray-cpu")
        monkeypatch.setenv("RAY_NODE_PORTS", ports())
        return ray_node.state_file()

    def test_a_node_without_a_role_is_unhealthy(self, capsys):
        assert ray_node.health() == 1
        assert "undecided" in capsys.readouterr().out

    def test_a_worker_needs_only_its_agent(self, state, health_service, monkeypatch):
        url, _ = health_service
        monkeypatch.setenv("RAY_NODE_PORTS", ports(agent=int(url.rpartition(":")[2])))
        state.write_text('{"head": false}')
        assert ray_node.health() == 0

    def test_a_head_without_its_client_port_is_unhealthy(self, state, health_service, monkeypatch, capsys):
        url, _ = health_service
        port = url.rpartition(":")[2]
        monkeypatch.setenv("RAY_NODE_PORTS", ports(agent=int(port), dashboard=int(port), client=free_port()))
        state.write_text('{"head": true}')
        assert ray_node.health() == 1
        assert "Ray Client port" in capsys.readouterr().out

    def test_an_answer_other_than_200_is_unhealthy(self, state, health_service, monkeypatch):
        url, answer = health_service
        answer["status"] = 503
        monkeypatch.setenv("RAY_NODE_PORTS", ports(agent=int(url.rpartition(":")[2])))
        state.write_text('{"head": false}')
        assert ray_node.health() == 1
