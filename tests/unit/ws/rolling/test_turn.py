"""The turn of a host among those of its cluster, and its end after Redis was replaced."""

import pytest

from config.cluster import Membership
from config.cluster_file import parse
from coordination.redis_client import Address
from stack.identity import StackIdentity
from ws.cluster.access import Access
from ws.errors import WsError
from ws.rolling.turn import turn_in_cluster

HOSTS = {"lab": {"address": "10.0.0.1"}, "beta": {"address": "10.0.0.2"}}


class Redis:
    """The server, of which each replacement ends the connections."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.replaced = 0


class Link:
    def __init__(self, server: Redis) -> None:
        self._server, self._of = server, server.replaced

    def command(self, verb: str, key: str, *words: object) -> str | int | None:
        if self._of != self._server.replaced:
            self._of = self._server.replaced  # the next call makes a new connection
            raise ConnectionResetError("closed the connection")
        values = self._server.values
        if verb == "GET":
            return values.get(key)
        if verb == "DEL":
            return int(values.pop(key, None) is not None)
        if "NX" in words and key in values:
            return None
        values[key] = str(words[0])
        return "OK"


@pytest.fixture
def server(monkeypatch) -> Redis:
    server = Redis()
    monkeypatch.setattr("ws.cluster.access.RedisLink", lambda *_: Link(server))
    return server


def access() -> Access:
    cluster = parse({"name": "c", "hosts": HOSTS, "redis": {"host": "beta"}}, file="cluster.yaml", key="")
    membership = Membership(cluster=cluster, host="lab", file="cluster.yaml", key="")
    address = Address("10.0.0.2", 6381)
    return Access(
        identity=StackIdentity(project="cslr", stack="lab"), servers=(address,), dashboard=address,
        membership=membership, redis_password="", ray_token="",
    )  # fmt: skip


def test_another_host_is_refused_meanwhile_and_its_turn_is_not_ended(server):
    with turn_in_cluster(access()):
        (key,) = server.values
        server.values[key] = other = "beta (process 1 on beta)"
        refused = pytest.raises(WsError, match=r"The nodes of beta \(process 1 on beta\) are being replaced")
        with refused, turn_in_cluster(access()):
            pass
    assert server.values == {key: other}


def test_it_ends_at_once(server):
    with turn_in_cluster(access()):
        (holder,) = server.values.values()
        assert holder.startswith("lab (process ")
    assert server.values == {}


def test_it_ends_at_once_after_redis_was_replaced_too(server):
    with turn_in_cluster(access()):
        server.replaced += 1
    assert server.values == {}, "the next host would be refused for a minute"
