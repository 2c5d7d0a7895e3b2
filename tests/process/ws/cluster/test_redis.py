"""`ws redis`, with two real servers, their role guards, and a client that writes meanwhile."""

import contextlib
import threading
import time
from dataclasses import dataclass

import pytest
from rich.console import Console

from coordination import redis_failover
from coordination import redis_pair as pair_library
from coordination.redis_client import RedisLink
from coordination.redis_pair import read_status
from testing.redis_access import access_on
from testing.redis_pair import PASSWORD, RedisServer, redis_pair, until
from ws.cluster import failover as command
from ws.cluster import redis
from ws.errors import WsError

__all__ = ["redis_pair"]
QUIET = Console(quiet=True)


@pytest.fixture
def pair(redis_pair, monkeypatch):
    """Gamma's server leads, and beta's has all that it has."""
    monkeypatch.setattr(pair_library, "LOOK_SECONDS", 0.1)
    addresses = redis_pair[0].address, redis_pair[1].address
    stop = threading.Event()
    for address in addresses:
        arguments = (address, addresses, PASSWORD, "cslr-lab", stop, lambda _: None)
        threading.Thread(target=pair_library.guard, args=arguments, daemon=True).start()
    until(lambda: settled(*redis_pair))
    yield redis_pair
    stop.set()


def settled(primary: RedisServer, replica: RedisServer) -> bool:
    leading, following = read_status(primary.link()), read_status(replica.link())
    return leading.leads and following.in_step and following.follows == primary.address


@dataclass
class Writer:
    """A client that notes which of its writes were acknowledged."""

    link: RedisLink
    acknowledged: list[int]
    slowest: float = 0.0
    ended: bool = False

    def run(self) -> None:
        number, before = 0, time.monotonic()
        while not self.ended:
            number += 1
            with contextlib.suppress(OSError):
                self.link.command("SADD", "written", number)
                self.acknowledged.append(number)
                self.slowest = max(self.slowest, time.monotonic() - before)
                before = time.monotonic()


@pytest.fixture
def writer(pair):
    writing = Writer(RedisLink((pair[0].address, pair[1].address), PASSWORD), [])
    thread = threading.Thread(target=writing.run, daemon=True)
    thread.start()
    until(lambda: len(writing.acknowledged) > 100)
    yield writing
    writing.ended = True
    thread.join()


class TestReplacementOfThePrimary:
    """What `ws up` does on the host of a Redis that it is about to replace."""

    def test_has_the_copy_lead_first_and_loses_nothing(self, pair, writer):
        gamma, beta = pair
        assert command.leads_here(access_on("gamma", pair)) is True
        command.give_away(access_on("gamma", pair), QUIET)
        until(lambda: settled(beta, gamma))
        seen = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > seen + 100)
        writer.ended = True
        kept = {int(member) for member in beta.link().command("SMEMBERS", "written")}
        assert set(writer.acknowledged) <= kept
        assert command.leads_here(access_on("gamma", pair)) is False

    @pytest.mark.parametrize("host", ["beta", "alpha"])
    def test_is_no_matter_of_another_host(self, pair, host):
        command.give_away(access_on(host, pair), QUIET)
        assert settled(*pair)

    def test_without_a_copy_changes_nothing(self, pair):
        command.give_away(access_on("gamma"), QUIET)
        assert settled(*pair)

    def test_with_a_copy_that_is_gone_says_that_redis_is_away_meanwhile(self, pair, capsys):
        gamma, beta = pair
        beta.wire.cut()
        command.give_away(access_on("gamma", pair), Console(width=200))
        assert (
            "Redis is unavailable until it is back on this host: the replica on beta does not answer"
            in capsys.readouterr().out
        )
        assert read_status(gamma.link()).leads


class TestPrimaryAnswers:
    def test_no_acknowledged_write_is_lost_there_and_back(self, pair, writer):
        gamma, beta = pair
        command.failover(access_on("beta", pair), QUIET, primary_is_off=False)
        until(lambda: settled(beta, gamma))
        seen = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > seen + 100)
        command.failover(access_on("gamma", pair), QUIET, primary_is_off=False)
        until(lambda: settled(gamma, beta))
        seen = len(writer.acknowledged)
        until(lambda: len(writer.acknowledged) > seen + 100)
        writer.ended = True
        kept = {int(member) for member in gamma.link().command("SMEMBERS", "written")}
        assert set(writer.acknowledged) <= kept
        assert writer.slowest < 4
        assert read_status(gamma.link()).generation == 3

    def test_heads_of_the_former_primary_are_fenced(self, pair):
        gamma, beta = pair
        gamma.link().command("ACL", "SETUSER", "ray-cslr-lab-7-aa", "on", "nopass", "~*", "+@all")
        command.failover(access_on("beta", pair), QUIET, primary_is_off=False)
        assert gamma.link().command("ACL", "USERS") == ["default"]
        assert int(beta.link().command("PTTL", "cslr:cslr-lab:hold")) > 4000

    def test_a_copy_that_is_not_in_step_is_not_promoted(self, pair):
        gamma, beta = pair
        beta.link().command("CONFIG", "SET", "masterauth", "wrong")
        gamma.link().command("CLIENT", "KILL", "TYPE", "replica")
        until(lambda: not read_status(beta.link()).in_step)
        with pytest.raises(WsError, match="not in step"):
            command.failover(access_on("beta", pair), QUIET, primary_is_off=False)
        assert read_status(gamma.link()).leads

    def test_a_copy_that_stops_receiving_meanwhile_leaves_all_as_it_was(self, pair, monkeypatch):
        gamma, beta = pair
        monkeypatch.setattr(redis_failover, "CATCH_UP_SECONDS", 0.5)
        monkeypatch.setattr(redis_failover, "_caught_up", lambda *_: False)
        with pytest.raises(WsError, match="Nothing was changed"):
            command.failover(access_on("beta", pair), QUIET, primary_is_off=False)
        gamma.link().command("SET", "key", "taken at once")
        assert settled(gamma, beta)

    def test_one_that_dies_after_the_primary_has_stopped_is_undone_by_the_guards(self, pair, monkeypatch):
        gamma, beta = pair
        monkeypatch.setattr(redis_failover, "QUIET_SECONDS", 1.0)

        def die(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(redis_failover, "promote", die)
        with pytest.raises(KeyboardInterrupt):
            command.failover(access_on("beta", pair), QUIET, primary_is_off=False)
        until(lambda: settled(gamma, beta))
        assert read_status(gamma.link()).generation == 1

    def test_it_is_not_for_the_host_that_has_the_primary(self, pair):
        with pytest.raises(WsError, match=r"is the primary already.*\n.*beta's the primary, run this there"):
            command.failover(access_on("gamma", pair), QUIET, primary_is_off=False)

    def test_it_is_not_for_a_host_without_redis(self, pair):
        with pytest.raises(WsError, match=r"alpha has no Redis\.\n.*gamma or beta"):
            command.failover(access_on("alpha", pair), QUIET, primary_is_off=False)


class TestPrimaryIsSilent:
    def test_nothing_happens_before_a_person_says_that_it_is_off(self, pair):
        gamma, beta = pair
        gamma.wire.cut()
        with pytest.raises(WsError, match=r"gamma MUST be off(.|\n)*--primary-is-off"):
            command.failover(access_on("beta", pair), QUIET, primary_is_off=False)
        assert not read_status(beta.link()).leads

    def test_the_copy_leads_and_the_old_primary_follows_when_it_returns(self, pair):
        gamma, beta = pair
        gamma.kill()
        command.failover(access_on("beta", pair), QUIET, primary_is_off=True)
        beta.link().command("SET", "key", "newer")
        gamma.start()
        until(lambda: settled(beta, gamma))
        assert gamma.link().command("GET", "key") == "newer"

    def test_one_that_was_cut_off_and_was_not_off_is_overruled(self, pair):
        gamma, beta = pair
        gamma.wire.cut()
        command.failover(access_on("beta", pair), QUIET, primary_is_off=True)
        assert gamma.beside().command("SET", "key", "lost, as the command warned") == "OK"
        gamma.wire.heal()
        until(lambda: settled(beta, gamma))
        assert gamma.link().command("GET", "key") is None


class TestNoCopy:
    def test_a_failover_says_how_a_copy_is_made(self):
        with pytest.raises(WsError, match=r"redis\.replica in cluster\.yaml"):
            command.failover(access_on("gamma"), QUIET, primary_is_off=False)


class TestStatus:
    def test_it_shows_who_leads_and_how_far_the_copy_is(self, pair):
        rows = redis.status(access_on("alpha", pair)).servers
        assert [(row.host, row.role, row.generation) for row in rows] == [
            ("gamma", "primary", 1),
            ("beta", "replica", 1),
        ]
        assert rows[1].behind is not None
        assert rows[1].behind < 1000

    def test_a_primary_without_a_copy_is_a_problem(self, pair):
        pair[1].kill()
        status = redis.status(access_on("alpha", pair))
        assert "no replica in step" in status.problem
        assert status.servers[1].role == "does not answer"

    def test_a_copy_without_a_primary_says_what_to_do(self, pair):
        pair[0].kill()
        status = redis.status(access_on("alpha", pair))
        assert "ws redis failover" in status.problem

    def test_it_can_be_read_by_programs(self, pair):
        shown = redis.as_json(redis.status(access_on("alpha", pair)))
        assert shown["servers"][0]["role"] == "primary"
        assert shown["problem"] == ""
