"""The Ray node's program: its decision, against a real Redis and real sockets, and one start of the real Ray."""

import ast
import http.server
import json
import multiprocessing
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from config.ports import BRIDGE_RAY_PORTS, HEAD_FLAGS
from contracts.document import SETTINGS_VARIABLE, dump
from contracts.ray_node import GuardSettings, NodeConfig, NodeSettings
from contracts.redis import RedisAccess
from contracts.status import HeadStatus, RayStatus, Status
from coordination.errors import NodeError
from coordination.lease import TTL_SECONDS, Lease, Refusal
from coordination.membership import drain_key
from coordination.redis_client import Address, RedisLink
from entrypoints.ray import node as ray_node
from entrypoints.ray import single_host
from entrypoints.ray.command import AGENT_PORT
from entrypoints.ray.node import NodeState
from entrypoints.ray.single_host import OneHostElection, Question, Role
from entrypoints.ray.supervision import LOST_DATA, Stop
from testing.harness import PROJECT
from testing.redis_users import REDIS_PASSWORD
from testing.servers import free_port

PROGRAMS = sorted(
    path for room in ("entrypoints", "coordination", "contracts") for path in (PROJECT / room).rglob("*.py")
)
NAMESPACE = "cslr-test"
DEADLINE = 0.3


@pytest.fixture
def listener():
    """A port that accepts TCP, as a GCS does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address("127.0.0.1", server.getsockname()[1])


@pytest.fixture
def lease(redis_link):
    return Lease(redis_link, NAMESPACE)


@pytest.fixture(autouse=True)
def poll_quickly(monkeypatch):
    monkeypatch.setattr(single_host, "POLL_SECONDS", 0.05)


def settings(node: NodeConfig | None = None, **changes: Any) -> NodeSettings:
    usual: dict[str, Any] = {
        "guard": GuardSettings(service="ray-cpu"),
        "redis": RedisAccess(
            addresses=("redis:6379",), password_file=Path("/run/secrets/redis-password"), namespace=NAMESPACE
        ),
        "candidates": ("ray-cpu",),
    }
    return NodeSettings(node=node or node_with(), **(usual | changes))


def node_with(**changes: int) -> NodeConfig:
    """A node with other ports of a head: gcs, client, dashboard; or agent."""
    flags = {**HEAD_FLAGS, "agent": AGENT_PORT}
    ports = {**BRIDGE_RAY_PORTS, **{flags[name]: port for name, port in changes.items()}}
    return NodeConfig(name="ray-cpu", ports=ports)


def election_of(lease: Lease, name: str = "ray-cpu", **changes: Any) -> OneHostElection:
    usual = {
        "candidates": ("ray-cpu",),
        "head": None,
        "health_url": "",
        "health_timeout": 0.5,
        "deadline": DEADLINE,
        "ports": BRIDGE_RAY_PORTS,
    }
    return OneHostElection(Question(name, **{**usual, **changes}), lease, Stop())


def decide(lease: Lease, name: str = "ray-cpu", **changes: Any) -> Role:
    role = election_of(lease, name, **changes).decide(pytest.fail)
    assert role
    return role


def elect(lease: Lease, name: str, gcs: Address | None = None) -> None:
    """Let another node hold the lease, and be ready if its address is given."""
    grant = lease.acquire(name, "its-instance")
    if gcs:
        assert not isinstance(grant, Refusal)
        assert lease.announce(grant, gcs, gcs, gcs, {})


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
    head = HeadStatus(node=node, address=str(address), dashboard=None)
    ray = RayStatus(head=head, nodes=(), latency_ms=1.0)
    return Status(time="2026-01-01T00:00:00Z", stack="dev", services=(), ray=ray).to_json().encode()


def race(start, address: Address, name: str, outcome) -> None:
    lease = Lease(RedisLink((address,), REDIS_PASSWORD), NAMESPACE)
    start.wait()
    try:
        outcome.put((name, decide(lease, name, candidates=(name,)).head is None))
    except NodeError:
        outcome.put((name, False))


class TestDecision:
    def test_of_many_that_start_together_exactly_one_becomes_head(self, redis_link, redis_address):
        context = multiprocessing.get_context("fork")
        for _ in range(5):
            redis_link.command("FLUSHALL")
            start, outcome = context.Event(), context.Queue()
            nodes = [context.Process(target=race, args=(start, redis_address, f"node-{n}", outcome)) for n in range(8)]
            for node in nodes:
                node.start()
            start.set()
            heads = [name for name, is_head in (outcome.get(timeout=10) for _ in nodes) if is_head]
            for node in nodes:
                node.join()
            assert len(heads) == 1

    def test_without_any_head_the_candidate_becomes_head_with_the_only_user(self, lease):
        old = lease.acquire("ray-cpu", "former-run")
        lease.create_user(old)
        role = decide(lease, deadline=20)  # a Redis that has just started is waited for
        assert role.grant
        assert role.credentials
        assert role.grant.epoch == old.epoch + 1
        users = [user for user in map(str, lease.link.command("ACL", "USERS")) if user != "default"]
        assert users == [role.credentials.username]

    def test_a_former_run_of_the_node_loses_the_lease(self, lease):
        before = election_of(lease)
        before.decide(pytest.fail)
        decide(lease, deadline=20)
        end = before.keep()
        assert end
        assert end.at_once
        before.release()
        assert lease.look()

    def test_an_explicit_head_is_joined(self, listener, lease):
        assert decide(lease, head=listener) == Role(listener)

    def test_an_explicit_head_that_is_this_node_makes_it_head(self, lease):
        assert decide(lease, head=Address("ray-cpu", 6379)).head is None

    def test_a_node_off_the_whitelist_never_becomes_head(self, lease):
        with pytest.raises(NodeError, match="not on the head whitelist"):
            decide(lease, candidates=("ray-gpu",))
        assert lease.look() is None

    def test_a_node_off_the_whitelist_joins_who_was_elected(self, lease, listener):
        elect(lease, "ray-gpu", listener)
        assert decide(lease, candidates=()) == Role(listener)

    def test_who_was_elected_is_waited_for(self, lease):
        elect(lease, "ray-gpu")
        with pytest.raises(NodeError, match="ray-gpu was elected and starts its head"):
            decide(lease)

    def test_the_head_named_by_the_health_service_is_joined(self, health_service, listener, lease):
        url, answer = health_service
        answer["body"] = status_of_head(listener)
        assert decide(lease, health_url=url) == Role(listener)

    def test_a_head_that_does_not_answer_is_ignored(self, health_service, lease):
        url, answer = health_service
        answer["body"] = status_of_head(Address("127.0.0.1", free_port()))
        assert decide(lease, health_url=url).head is None

    def test_its_own_former_self_is_not_joined(self, health_service, listener, lease):
        url, answer = health_service
        answer["body"] = status_of_head(listener, node="ray-cpu")
        assert decide(lease, health_url=url).head is None

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, status_of_head("no-port")),
            (200, b'{"ray": {"head": null, "nodes": []}}'),
            (200, b'{"ray": null}'),
            (200, b"[]"),
            (200, b"not JSON"),
            (200, b'{"ray": {"head": {"address": 5, "node": "ray-gpu"}}}'),
            (200, b'{"ray": {"head": {"address": "no-port", "node": "ray-gpu"}}}'),
            (503, b""),
        ],
    )
    def test_anything_else_from_the_health_service_is_no_answer(self, health_service, lease, status, body):
        url, answer = health_service
        answer.update(status=status, body=body)
        assert decide(lease, health_url=url).head is None

    def test_a_report_of_another_version_is_no_answer_and_is_said_once(self, health_service, listener, lease, capsys):
        url, answer = health_service
        head = {"address": str(listener), "node": "ray-gpu"}
        answer["body"] = json.dumps({"services": [], "ray": {"head": head, "nodes": []}}).encode()
        question = election_of(lease, health_url=url)._question
        assert [single_host.head_by_health_service(question) for _ in range(2)] == [None, None]
        said = capsys.readouterr()
        assert (said.out + said.err).count("deployed by another version of the platform") == 1

    def test_no_health_service_is_no_answer(self, lease):
        assert decide(lease, health_url=f"http://127.0.0.1:{free_port()}").head is None

    def test_a_running_candidate_is_joined_although_nobody_was_elected(self, listener, lease):
        flags = {**BRIDGE_RAY_PORTS, HEAD_FLAGS["gcs"]: listener.port}
        assert decide(lease, candidates=("ray-cpu", "127.0.0.1"), ports=flags) == Role(listener)

    def test_an_unreachable_redis_ends_at_the_deadline_in_one_sentence(self):
        nowhere = RedisLink((Address("127.0.0.1", free_port()),), REDIS_PASSWORD)
        with pytest.raises(NodeError, match=r"Redis .* does not answer"):
            decide(Lease(nowhere, NAMESPACE))

    def test_a_stop_ends_the_waiting(self, lease):
        stop = Stop()
        stop.set()
        question = Question("ray-cpu", (), None, "", 0.5, 0.3, BRIDGE_RAY_PORTS)
        assert OneHostElection(question, lease, stop).decide(pytest.fail) is None


class TestDrained:
    """A node of one host that does not lead."""

    @pytest.fixture
    def election(self, lease, listener):
        elect(lease, "ray-gpu", listener)
        return election_of(lease)

    def test_it_ends_when_its_time_is_over(self, election, lease):
        election.decide(pytest.fail)
        lease.link.command("SET", drain_key(NAMESPACE, "ray-cpu"), 1)
        lease.set_maintenance("ray-cpu", True)
        assert election.keep() is None
        lease.link.command("DEL", drain_key(NAMESPACE, "ray-cpu"))
        end = election.keep()
        assert end
        assert not end.at_once
        assert "`ws node resume ray-cpu`" in end.reason

    def test_it_stays_out_beyond_the_deadline_until_it_is_let_in(self, election, lease):
        lease.set_maintenance("ray-cpu", True)
        told: list[str] = []

        def drained(reason: str) -> None:
            told.append(reason)
            if reason:
                threading.Timer(2 * DEADLINE, lambda: resumed(lease)).start()

        role = election.decide(drained)
        assert role
        assert role.head
        assert told == ["this node was drained; `ws node resume ray-cpu` lets it join again", ""]

    def test_it_waits_for_a_redis_that_is_down_unless_the_settings_say_who_leads(self, election, lease, listener):
        election.decide(pytest.fail)
        lease.link.addresses = (Address("127.0.0.1", free_port()),)
        lease.link.close()
        assert election.keep() is None
        assert decide(lease, head=listener).head == listener


def resumed(lease: Lease) -> None:
    other = Lease(RedisLink(lease.link.addresses, REDIS_PASSWORD), NAMESPACE)
    other.set_maintenance("ray-cpu", False)


class TestHeadship:
    def test_a_worker_has_nothing_to_keep(self, lease, listener):
        election = election_of(lease, head=listener)
        election.decide(pytest.fail)
        assert election.keep() is None

    def test_a_worker_starts_anew_when_the_data_was_lost(self, lease, listener):
        elect(lease, "ray-gpu", listener)
        election = election_of(lease)
        role = election.decide(pytest.fail)
        assert role
        assert role.head == listener
        assert election.keep() is None
        lease.link.command("SET", lease.prefix + "incarnation", "another")
        assert election.keep() is LOST_DATA

    def test_a_lease_that_is_gone_with_the_data_is_no_other_head(self, lease):
        election = election_of(lease)
        election.decide(pytest.fail)
        for key in ("lease", "epoch", "incarnation"):
            lease.link.command("DEL", lease.prefix + key)
        end = election.keep()
        assert end
        assert end.at_once
        assert "may have lost its data" in end.reason

    def test_it_is_renewed(self, lease):
        election = election_of(lease)
        election.decide(pytest.fail)
        lease.link.command("PEXPIRE", lease.prefix + "lease", 500)
        assert election.keep() is None
        view = lease.look()
        assert view
        assert view.remaining > TTL_SECONDS - 1

    def test_it_is_announced_once_the_head_serves(self, lease, health_service):
        url, answer = health_service
        answer["status"] = 503
        flags = {**BRIDGE_RAY_PORTS, HEAD_FLAGS["dashboard"]: int(url.rpartition(":")[2])}
        election = election_of(lease, ports=flags)
        election.decide(pytest.fail)
        assert election.keep() is None
        assert not lease.look().ready
        answer["status"] = 200
        assert election.keep() is None
        assert (lease.look().ready, lease.look().gcs) == (True, Address("ray-cpu", 6379))
        assert lease.versions()["host"] == "ray-cpu"

    def test_a_redis_that_is_down_ends_nothing_and_is_said_once(self, lease, capsys):
        election = election_of(lease)
        election.decide(pytest.fail)
        lease.link.addresses = (Address("127.0.0.1", free_port()),)
        lease.link.close()
        assert [election.keep(), election.keep()] == [None, None]
        assert capsys.readouterr().out.count("was not renewed") == 1

    def test_a_lease_that_ran_out_unwanted_is_taken_up_and_announced_again(self, lease, health_service):
        flags = {**BRIDGE_RAY_PORTS, HEAD_FLAGS["dashboard"]: int(health_service[0].rpartition(":")[2])}
        election = election_of(lease, ports=flags)
        election.decide(pytest.fail)
        assert election.keep() is None
        before = lease.look()
        lease.link.command("DEL", lease.prefix + "lease")
        assert election.keep() is None
        after = lease.look()
        assert (after.epoch, after.ready) == (before.epoch, True)

    def test_a_lease_that_another_got_meanwhile_is_lost(self, lease):
        election = election_of(lease)
        election.decide(pytest.fail)
        lease.link.command("DEL", lease.prefix + "lease")
        elect(lease, "ray-gpu")
        lease.link.command("DEL", lease.prefix + "lease")
        end = election.keep()
        assert end
        assert end.at_once

    def test_release_lets_the_next_candidate_in(self, lease):
        election = election_of(lease)
        election.decide(pytest.fail)
        election.release()
        assert decide(lease, "ray-gpu", candidates=("ray-gpu",)).head is None


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
        assert ray_node.with_address(node_with(), to_redis, default).address == address


class TestMistakes:
    @pytest.mark.parametrize("command", ["run", "health", "drain"])
    @pytest.mark.parametrize(
        ("document", "told"), [("", "CSLR_SETTINGS is not set"), ("{}", "CSLR_SETTINGS: NodeSettings: missing field")]
    )
    def test_settings_that_do_not_fit_are_one_line(self, monkeypatch, capsys, command, document, told):
        monkeypatch.setenv(SETTINGS_VARIABLE, document)
        assert ray_node.main([command, *(["alpha-ray-cpu"] if command == "drain" else [])]) == 1
        [line] = capsys.readouterr().out.splitlines()
        assert line.startswith(f"[ray-node] error: {told}")

    @pytest.mark.parametrize("content", [None, ""])
    def test_a_missing_or_empty_token_is_one_line_with_the_file(self, tmp_path, content):
        token = tmp_path / "ray-token"
        if content is not None:
            token.write_text(content)
        guard = GuardSettings(service="ray-cpu", token_file=token)
        ended = subprocess.run(
            [sys.executable, "-m", "entrypoints.ray.node"],
            env={SETTINGS_VARIABLE: dump(settings(guard=guard))},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 1
        assert ended.stdout.startswith(f"[ray-node] error: {token}")
        assert len((ended.stdout + ended.stderr).splitlines()) == 1

    @pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(PROJECT)))
    def test_the_programs_are_written_for_python_3_10(self, program):
        ast.parse(program.read_text(), feature_version=(3, 10))


class TestHealth:
    @pytest.fixture(autouse=True)
    def state(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setenv(SETTINGS_VARIABLE, dump(settings()))

    def test_a_node_of_one_host_without_a_role_is_unhealthy(self, capsys):
        assert ray_node.health() == 1
        assert "not started yet" in capsys.readouterr().out

    def test_a_drained_node_of_one_host_is_healthy(self, capsys):
        NodeState("drained", "this node was drained").write()
        assert ray_node.health() == 0
        assert "drained: this node was drained" in capsys.readouterr().out

    def test_a_node_of_a_cluster_that_waits_is_healthy_and_says_for_what(self, monkeypatch, capsys):
        monkeypatch.setenv(SETTINGS_VARIABLE, dump(settings(gateway="127.0.0.2:6379")))
        NodeState("waiting", "no head: Redis has just started").write()
        assert ray_node.health() == 0
        assert "waiting: no head: Redis has just started" in capsys.readouterr().out

    def test_a_worker_needs_only_its_agent(self, health_service, monkeypatch):
        url, _ = health_service
        node = node_with(agent=int(url.rpartition(":")[2]))
        monkeypatch.setenv(SETTINGS_VARIABLE, dump(settings(node)))
        NodeState("worker").write()
        assert ray_node.health() == 0

    def test_a_head_without_its_client_port_is_unhealthy(self, health_service, monkeypatch, capsys):
        url, _ = health_service
        port = int(url.rpartition(":")[2])
        node = node_with(agent=port, dashboard=port, client=free_port())
        monkeypatch.setenv(SETTINGS_VARIABLE, dump(settings(node)))
        NodeState("head").write()
        assert ray_node.health() == 1
        assert "Ray Client port" in capsys.readouterr().out

    def test_an_answer_other_than_200_is_unhealthy(self, health_service, monkeypatch):
        url, answer = health_service
        answer["status"] = 503
        node = node_with(agent=int(url.rpartition(":")[2]))
        monkeypatch.setenv(SETTINGS_VARIABLE, dump(settings(node)))
        NodeState("worker").write()
        assert ray_node.health() == 1
