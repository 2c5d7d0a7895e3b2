"""The roles of a Redis pair after all kinds of failures, with real servers."""

import threading
from itertools import product

import pytest

from coordination import redis_pair as pair_library
from coordination.redis_client import Address, RedisLink
from coordination.redis_pair import RoleChange, ServerStatus, decide, lead, read_status
from testing.gateway import GatewayProcess
from testing.redis_pair import PASSWORD, RedisServer, redis_pair, until

__all__ = ["redis_pair"]
NAMESPACE = "cslr-lab"
ONE, TWO = Address("10.0.0.1", 6381), Address("10.0.0.2", 6382)
NOWHERE = Address("127.0.0.1", 1)


class Guarded:
    """The pair with a guard beside each server, which can be stopped."""

    def __init__(self, pair: tuple[RedisServer, RedisServer]) -> None:
        self.first, self.second = pair
        self.said: list[str] = []
        self._stops: list[threading.Event] = []

    @property
    def addresses(self) -> tuple[Address, Address]:
        return self.first.address, self.second.address

    def guard(self, *servers: RedisServer) -> None:
        for server in servers:
            stop = threading.Event()
            arguments = (server.address, self.addresses, PASSWORD, NAMESPACE, stop, self.said.append)
            threading.Thread(target=pair_library.guard, args=arguments, daemon=True).start()
            self._stops.append(stop)

    def stop(self) -> None:
        for stop in self._stops:
            stop.set()

    def link(self) -> RedisLink:
        return RedisLink(self.addresses, PASSWORD)

    def settled(self, primary: RedisServer, replica: RedisServer) -> bool:
        leading, following = read_status(primary.link()), read_status(replica.link())
        return leading.leads and following.in_step and following.follows == primary.address


@pytest.fixture
def guarded(redis_pair, monkeypatch):
    monkeypatch.setattr(pair_library, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(pair_library, "SILENT_SECONDS", 1.0)
    pair = Guarded(redis_pair)
    yield pair
    pair.stop()


@pytest.fixture
def running(guarded):
    """The pair at work: the first one leads, with a key that the second one has too."""
    guarded.guard(guarded.first, guarded.second)
    until(lambda: guarded.settled(guarded.first, guarded.second))
    guarded.link().command("SET", "key", "value")
    until(lambda: guarded.second.link().command("GET", "key") == "value")
    return guarded


class TestStart:
    def test_a_server_of_a_pair_takes_no_write_before_it_has_its_role(self, redis_pair):
        for server in redis_pair:
            with pytest.raises(ConnectionRefusedError, match="READONLY"):
                server.link().command("SET", "key", "value")

    def test_of_two_new_servers_the_configured_primary_leads(self, guarded):
        guarded.guard(guarded.second, guarded.first)
        until(lambda: guarded.settled(guarded.first, guarded.second))
        assert read_status(guarded.first.link()).generation == 1

    def test_the_configured_primary_leads_alone(self, guarded):
        guarded.second.kill()
        guarded.guard(guarded.first)
        until(lambda: read_status(guarded.first.link()).leads)

    def test_the_configured_replica_alone_waits(self, guarded):
        guarded.first.kill()
        guarded.guard(guarded.second)
        until(lambda: any("does not answer" in line for line in guarded.said))
        assert not read_status(guarded.second.link()).leads


class TestGateway:
    @pytest.mark.parametrize("static_head", [{}, {"gcs": "127.0.0.1:1"}])
    def test_it_guards_the_server_of_its_host_whether_heads_are_elected_or_not(self, redis_pair, tmp_path, static_head):
        first, second = redis_pair
        own = str(first.address)
        gateway = GatewayProcess(tmp_path, first.address, second.address, own_redis=own, static_head=static_head)
        (tmp_path / "redis-password").write_text(PASSWORD)
        with gateway:
            until(lambda: read_status(first.link()).leads)


class TestRestart:
    def test_a_primary_that_restarts_leads_again_in_the_same_generation(self, running):
        running.first.kill()
        running.first.start()
        until(lambda: running.settled(running.first, running.second))
        assert read_status(running.first.link()).generation == 1

    def test_a_replica_that_restarts_follows_again(self, running):
        running.second.kill()
        running.second.start()
        until(lambda: running.settled(running.first, running.second))

    def test_a_promoted_replica_that_restarts_leads_again(self, running):
        running.first.kill()
        assert lead(running.second.link(), NAMESPACE) == 2
        running.second.kill()
        running.second.start()
        until(lambda: read_status(running.second.link()).leads)

    def test_a_demoted_primary_that_restarts_alone_waits_for_its_successor(self, running):
        running.first.kill()
        lead(running.second.link(), NAMESPACE)
        running.first.start()
        until(lambda: running.settled(running.second, running.first))
        running.first.kill()
        running.second.kill()
        running.first.start()
        until(lambda: any("does not answer" in line for line in running.said))
        assert not read_status(running.first.link()).leads

    def test_a_primary_without_its_data_does_not_wipe_its_copy(self, running):
        running.first.kill()
        running.first.lose_data()
        running.first.start()
        until(lambda: running.settled(running.second, running.first))
        assert running.link().command("GET", "key") == "value"


class TestReturn:
    def test_a_primary_that_was_lost_follows_its_successor_when_it_returns(self, running):
        running.first.kill()
        lead(running.second.link(), NAMESPACE)
        running.link().command("SET", "key", "newer")
        running.first.start()
        until(lambda: running.settled(running.second, running.first))
        assert running.first.link().command("GET", "key") == "newer"

    def test_a_primary_that_was_only_cut_off_follows_too_and_its_late_writes_are_gone(self, running):
        running.first.wire.cut()
        lead(running.second.link(), NAMESPACE)
        running.second.link().command("SET", "key", "newer")
        running.first.beside().command("SET", "key", "accepted by no other server")
        running.first.wire.heal()
        until(lambda: running.settled(running.second, running.first))
        assert running.first.link().command("GET", "key") == "newer"

    def test_a_link_prefers_the_successor_as_soon_as_both_answer(self, running):
        running.stop()  # no guard demotes the old one
        running.first.wire.cut()
        lead(running.second.link(), NAMESPACE)
        running.first.wire.heal()
        assert read_status(running.first.link()).leads
        link = running.link()
        link.command("PING")
        assert link.address == running.second.address

    def test_no_user_of_a_head_survives_a_change_of_roles(self, running):
        for server in (running.first, running.second):
            server.link().command("ACL", "SETUSER", "ray-cslr-lab-7-aa", "on", "nopass", "~*", "+@all")
        running.first.wire.cut()
        lead(running.second.link(), NAMESPACE)
        running.first.wire.heal()
        until(lambda: running.settled(running.second, running.first))
        for server in (running.first, running.second):
            assert server.link().command("ACL", "USERS") == ["default"]


class TestHold:
    def test_a_new_primary_grants_no_lease_for_a_while(self, running):
        running.first.kill()
        lead(running.second.link(), NAMESPACE)
        remaining = running.second.link().command("PTTL", "cslr:cslr-lab:hold")
        assert isinstance(remaining, int)
        assert 5000 < remaining <= 6000


def server(address: Address, **values: object) -> ServerStatus:
    usual = {
        "leads": False, "follows": NOWHERE, "in_step": False, "offset": 0, "generation": 1, "primary": str(ONE),
        "handover": False,
    }  # fmt: skip
    return ServerStatus(address=address, **{**usual, **values})  # type: ignore[arg-type]


class TestDecision:
    def test_nobody_moves_while_a_person_moves_the_primary(self):
        for own, peer in ((True, False), (False, True)):
            assert decide(server(ONE, handover=own), server(TWO, handover=peer), silent=False, pair=(ONE, TWO)) is (
                RoleChange.NOTHING
            )

    def test_without_a_word_of_the_peer_only_the_named_primary_leads_and_only_after_a_while(self):
        assert decide(server(ONE), None, silent=True, pair=(ONE, TWO)) is RoleChange.LEAD
        assert decide(server(ONE), None, silent=False, pair=(ONE, TWO)) is RoleChange.NOTHING
        assert decide(server(TWO), None, silent=True, pair=(ONE, TWO)) is RoleChange.NOTHING

    def test_of_two_with_changed_addresses_the_configured_primary_leads(self):
        gone = "10.0.0.9:6381"
        own, peer = server(ONE, primary=gone), server(TWO, primary=gone)
        assert decide(own, peer, silent=False, pair=(ONE, TWO)) is RoleChange.LEAD
        assert decide(peer, own, silent=False, pair=(ONE, TWO)) is RoleChange.NOTHING

    def test_whatever_both_know_exactly_one_of_them_leads_in_the_end(self):
        states = list(product((False, True), (0, 1, 2), ("", str(ONE), str(TWO))))
        for one, two in product(states, states):
            assert _leaders(one, two) in ([ONE], [TWO]), (one, two)

    def test_data_of_an_older_generation_never_replaces_that_of_a_newer_one(self):
        states = list(product((False, True), (0, 1, 2), ("", str(ONE), str(TWO))))
        for one, two in product(states, states):
            if one[1] != two[1]:
                assert _leaders(one, two) == [ONE if one[1] > two[1] else TWO], (one, two)


def _leaders(one: tuple[bool, int, str], two: tuple[bool, int, str]) -> list[Address]:
    """Who leads once both guards have nothing left to do, deciding in turns."""
    servers = [
        server(address, leads=leads, generation=generation, primary=primary)
        for address, (leads, generation, primary) in ((ONE, one), (TWO, two))
    ]
    for turn in range(8):
        own, peer = servers[turn % 2], servers[1 - turn % 2]
        action = decide(own, peer, silent=False, pair=(ONE, TWO))
        if action is RoleChange.LEAD:
            raised = own.generation + (own.primary != str(own.address))
            servers[turn % 2] = server(own.address, leads=True, generation=raised, primary=str(own.address))
        elif action is RoleChange.FOLLOW:
            servers[turn % 2] = server(
                own.address, follows=peer.address, generation=peer.generation, primary=peer.primary
            )
    return [one.address for one in servers if one.leads]
