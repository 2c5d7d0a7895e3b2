"""entrypoints/ray/redis_relay.py: a GCS and a Redis that goes and comes back; no fence is passed."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coordination.lease import Credentials, Grant, Lease
from coordination.redis_client import Address, RedisConnection, RedisLink, RedisRefusedError
from entrypoints.ray import redis_relay
from entrypoints.ray.redis_relay import RelayProcess
from testing.harness import PROJECT
from testing.redis_pair import is_written, until
from testing.redis_users import makers_of_users
from testing.servers import free_port

PASSWORD = "correct-horse-battery"
PROGRAM = (
    "import asyncio, sys; from entrypoints.ray import redis_relay; from coordination.redis_client import Address;"
    "redis_relay.LOGIN_SECONDS = redis_relay.HOLD_SECONDS = float(sys.argv[3]);"
    "asyncio.run(redis_relay.serve(Address.parse(sys.argv[1], 'test'), int(sys.argv[2])))"
)


class OwnRedis:
    """A Redis with its data on disk, as the platform's, that can be stopped and started."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.address = Address("127.0.0.1", free_port())
        self.configuration = folder / "redis.conf"
        self.configuration.write_text(
            f'port {self.address.port}\nbind 127.0.0.1\ndir {folder}\nrequirepass "{PASSWORD}"\n'
            'appendonly yes\nappendfsync everysec\nsave ""\n'
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([self.program, self.configuration], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self.address.answers() and time.monotonic() < deadline:
            time.sleep(0.05)

    def wait_until_written(self) -> None:
        """Waits until the append-only file has all data: it is synced each second."""
        link = RedisLink((self.address,), PASSWORD)
        until(lambda: is_written(str(link.command("INFO", "persistence"))), seconds=20)
        link.close()

    def stop(self, *, kill: bool = False) -> None:
        if self.process:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis(redis_server, tmp_path) -> Iterator[OwnRedis]:
    server = OwnRedis(redis_server, tmp_path)
    with makers_of_users(server.address, PASSWORD, "test"):
        yield server
    server.stop(kill=True)


@pytest.fixture
def process(redis, monkeypatch) -> Iterator[RelayProcess]:
    """A relay that holds for 5 s, on a port of its own."""
    port = free_port()
    monkeypatch.setattr(redis_relay, "RELAY_PORT", port)
    relay = RelayProcess()
    words = [sys.executable, "-c", PROGRAM, str(redis.address), str(port), "5"]
    relay._process = subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not Address("127.0.0.1", port).answers() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield relay
    relay._process.kill()
    relay._process.communicate()


@pytest.fixture
def relay(process) -> Address:
    """Where it is."""
    return Address("127.0.0.1", redis_relay.RELAY_PORT)


@pytest.fixture
def log_in_as(process: RelayProcess) -> Callable[[Credentials], None]:
    """Has the relay log in as another user."""
    return process.log_in_as


@pytest.fixture
def client(relay) -> Iterator[RedisConnection]:
    """A connection by way of the relay, which waits for its answers as a GCS does."""
    connection = RedisConnection(relay, PASSWORD, 30.0)
    yield connection
    with contextlib.suppress(OSError):
        connection.close()


class TestPassingOn:
    @pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
    def test_values_of_any_size_come_back_as_they_were(self, client, size):
        value = "x\r\n"[: min(size, 3)] + "y" * max(size - 3, 0)
        client.command("SET", "key", value)
        assert client.command("GET", "key") == value

    def test_answers_of_every_kind(self, client):
        assert client.command("HSET", "table", "a", "1", "b", "2") == 2
        assert sorted(map(str, client.command("HGETALL", "table") or ())) == ["1", "2", "a", "b"]
        assert client.command("GET", "missing") is None
        with pytest.raises(RedisRefusedError, match="WRONGTYPE"):
            client.command("GET", "table")

    def test_many_commands_at_once_are_answered_in_order(self, client):
        for number in range(500):
            client.send("ECHO", number)
        deadline = time.monotonic() + 20
        assert [client.receive(deadline) for _ in range(500)] == [str(number) for number in range(500)]


class TestRestart:
    @pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
    def test_the_connection_goes_on_and_so_does_what_was_asked_meanwhile(self, redis, client, kill):
        client.command("SET", "before", "1")
        redis.wait_until_written()
        redis.stop(kill=kill)
        client.send("GET", "before")
        client.send("SET", "meanwhile", "2")
        time.sleep(1.0)
        redis.start()
        deadline = time.monotonic() + 20
        assert (client.receive(deadline), client.receive(deadline)) == ("1", "OK")
        assert client.command("GET", "meanwhile") == "2"

    def test_again_and_again(self, redis, client):
        for number in range(3):
            redis.stop()
            redis.start()
            client.command("SET", "round", number)
        assert client.command("GET", "round") == "2"

    def test_a_redis_that_stays_away_ends_the_connection(self, redis, client):
        redis.stop()
        began = time.monotonic()
        with pytest.raises(OSError, match=r"closed|reset"):
            client.command("PING")
        assert 4 < time.monotonic() - began < 20


class TestFence:
    @pytest.fixture
    def lease(self, redis) -> Iterator[Lease]:
        link = RedisLink((redis.address,), PASSWORD)
        yield Lease(link, "test")
        link.close()

    def test_a_deleted_user_is_let_in_no_more_and_its_connection_ends(self, redis, relay, lease):
        redis_user = "ray-1"
        lease.link.command("ACL", "SETUSER", redis_user, "on", ">secret-of-the-head", "~*", "+@all")
        head = connect_as(relay, redis_user, "secret-of-the-head")
        head.command("SET", "mine", "1")
        lease.link.command("ACL", "DELUSER", redis_user)
        with pytest.raises(OSError, match=r"closed|reset"):
            head.command("SET", "mine", "2")
        assert lease.link.command("GET", "mine") == "1"

    def test_a_restarted_redis_gets_another_user_for_the_running_head(self, redis, relay, lease, log_in_as):
        grant = acquire(lease)
        first = lease.create_user(grant)
        head = connect_as(relay, first.username, first.password)
        head.command("PING")
        redis.stop()
        redis.start()
        until_it_is_there(lease)
        assert not lease.has_user(first)
        second = lease.create_user(grant)
        log_in_as(second)
        assert head.command("PING") == "PONG"
        assert lease.has_user(second)


def connect_as(address: Address, username: str, password: str) -> RedisConnection:
    connection = RedisConnection(address, PASSWORD, 30.0)
    connection.command("AUTH", username, password)
    return connection


def acquire(lease: Lease) -> Grant:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        grant = lease.acquire("ray-cpu", "instance", takeover=True)
        if isinstance(grant, Grant):
            return grant
        time.sleep(0.5)
    raise AssertionError(grant)


def until_it_is_there(lease: Lease) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            lease.link.command("PING")
            return
        time.sleep(0.1)
