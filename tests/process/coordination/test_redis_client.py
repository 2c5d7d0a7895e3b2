"""The Redis client, against a real server and against servers that misbehave."""

import socket
import subprocess
import threading
import time

import pytest

from coordination.errors import NodeError
from coordination.redis_client import GENERATION, Address, RedisConnection, RedisLink, RedisRefusedError
from testing.redis_pair import until
from testing.redis_users import REDIS_PASSWORD
from testing.servers import free_port


@pytest.fixture
def start_redis(redis_server, tmp_path):
    """Starts further servers, which end with the test."""
    servers = []

    def start(*options: str) -> Address:
        address = Address("127.0.0.1", free_port())
        command = [redis_server, "--port", str(address.port), "--save", "", "--requirepass", "pw", *options]
        servers.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + 10
        while not address.answers():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return address

    yield start
    for server in servers:
        server.kill()
        server.wait()


class TestAddress:
    @pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:6a", "host:²"])
    def test_what_is_no_address_is_refused_with_the_name_of_the_setting(self, text):
        with pytest.raises(NodeError, match=r"RAY_X=.*host:port"):
            Address.parse(text, "RAY_X")

    def test_a_list_of_addresses(self):
        addresses = Address.parse_list("redis://a:1, b:2,", "RAY_X")
        assert addresses == (Address("a", 1), Address("b", 2))


class TestCalls:
    def test_answers_of_every_kind(self, redis_link):
        assert redis_link.command("SET", "key", "wört\r\nzwei") == "OK"
        assert redis_link.command("GET", "key") == "wört\r\nzwei"
        assert redis_link.command("GET", "none") is None
        assert redis_link.command("INCR", "number") == 1
        assert redis_link.command("RPUSH", "list", 1, "", "x") == 3
        assert redis_link.command("LRANGE", "list", 0, -1) == ["1", "", "x"]
        assert redis_link.command("EVAL", "return {1, {2, 'x'}, false}", 0) == [1, [2, "x"], None]

    def test_a_long_answer_comes_whole(self, redis_link):
        redis_link.command("SET", "long", "x" * 3_000_000)
        assert redis_link.command("GET", "long") == "x" * 3_000_000

    def test_a_script_runs_also_where_it_is_not_known_any_more(self, redis_link):
        lua = "return KEYS[1] .. ARGV[1]"
        assert redis_link.script(lua, ("a",), ("b",)) == "ab"
        redis_link.command("SCRIPT", "FLUSH")
        assert redis_link.script(lua, ("a",), ("c",)) == "ac"

    def test_an_error_leaves_the_connection_as_it_was(self, redis_link):
        with pytest.raises(RedisRefusedError, match="refuses a command"):
            redis_link.command("NONSENSE")
        assert redis_link.command("PING") == "PONG"

    def test_a_wrong_password_names_the_remedy(self, redis_address):
        with pytest.raises(RedisRefusedError, match="password files"):
            RedisLink((redis_address,), "wrong").command("PING")

    def test_without_an_address_there_is_no_link(self):
        with pytest.raises(NodeError, match="No address of Redis"):
            RedisLink((), REDIS_PASSWORD)

    def test_after_a_lost_connection_the_next_call_makes_a_new_one(self, redis_link):
        redis_link.command("PING")
        other = redis_link.another(1.0)
        other.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(OSError, match=r"closed the connection|reset by peer"):
            redis_link.command("PING")
        assert redis_link.command("PING") == "PONG"


class TestSilence:
    def test_a_call_ends_in_time_and_its_late_answer_is_never_taken_for_another_one(self, redis_address):
        link = RedisLink((redis_address,), REDIS_PASSWORD, timeout=0.2)
        other = RedisLink((redis_address,), REDIS_PASSWORD)
        link.command("SET", "key", "value")
        pause = 3.0
        other.command("CLIENT", "PAUSE", int(pause * 1000), "ALL")
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            link.command("GET", "key")
        assert time.monotonic() - began < 1.4  # long before the pause ends
        answers: list[object] = []
        until(lambda: answers.append(link.command("PING")) or answers, seconds=30)  # type: ignore[func-returns-value]
        assert answers == ["PONG"]

    def test_a_server_that_sends_byte_by_byte_does_not_stretch_the_time(self):
        with socket.create_server(("127.0.0.1", 0)) as server:

            def drip() -> None:
                connection, _ = server.accept()
                with connection:
                    for _ in range(100):
                        try:
                            connection.sendall(b"+")
                        except OSError:
                            return
                        time.sleep(0.05)

            threading.Thread(target=drip, daemon=True).start()
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                RedisConnection(Address("127.0.0.1", server.getsockname()[1]), "", timeout=0.3).command("PING")
            assert time.monotonic() - began < 1.0


class TestSubscription:
    def test_messages_come_and_silence_is_none(self, redis_link):
        messages = redis_link.subscribe("events", idle=0.1)
        assert next(messages) is None
        redis_link.command("PUBLISH", "events", "one")
        redis_link.command("PUBLISH", "other", "two")
        redis_link.command("PUBLISH", "events", "three")
        assert [next(messages), next(messages), next(messages)] == [("events", "one"), ("events", "three"), None]

    def test_a_lost_connection_is_an_error(self, redis_link):
        messages = redis_link.subscribe("events", idle=0.1)
        assert next(messages) is None
        redis_link.command("CLIENT", "KILL", "TYPE", "pubsub")
        with pytest.raises(OSError, match=r"closed the connection|reset by peer"):
            next(messages)


class TestSeveralServers:
    def test_the_master_of_the_highest_generation_is_talked_to(self, start_redis):
        old, new = start_redis(), start_redis()
        RedisConnection(old, "pw").command("SET", GENERATION, 3)
        RedisConnection(new, "pw").command("SET", GENERATION, 4)
        link = RedisLink((old, new), "pw")
        assert link.command("GET", GENERATION) == "4"
        assert link.address == new

    def test_a_replica_is_passed_over(self, start_redis):
        master = start_redis()
        replica = start_redis("--replicaof", f"{master.host} {master.port}", "--masterauth", "pw")
        link = RedisLink((replica, master), "pw")
        link.command("PING")
        assert link.address == master

    def test_a_server_that_is_away_is_passed_over(self, start_redis):
        master = start_redis()
        link = RedisLink((Address("127.0.0.1", free_port()), master), "pw")
        assert link.command("PING") == "PONG"

    def test_a_former_master_is_not_believed_while_the_new_one_is_away(self, start_redis):
        old, new = start_redis(), start_redis()
        RedisConnection(old, "pw").command("SET", GENERATION, 3)
        RedisConnection(new, "pw").command("SET", GENERATION, 4)
        link = RedisLink((old, new), "pw")
        link.command("PING")
        with pytest.raises(OSError, match=r"closed the connection|reset"):
            link.command("SHUTDOWN", "NOSAVE")
        with pytest.raises(OSError, match=r"no Redis is master: .*former master"):
            link.command("PING")

    def test_a_master_that_became_a_replica_is_left_at_the_next_write(self, start_redis):
        first, second = start_redis(), start_redis()
        RedisConnection(first, "pw").command("SET", GENERATION, 1)
        link = RedisLink((first, second), "pw")
        link.command("SET", "key", 1)
        RedisConnection(first, "pw").command("REPLICAOF", second.host, second.port)
        RedisConnection(second, "pw").command("SET", GENERATION, 2)
        with pytest.raises(OSError, match="READONLY"):
            link.command("SET", "key", 2)
        link.command("SET", "key", 3)
        assert link.address == second
