"""Facts about the cluster that a host needs before it deploys: which hosts are up, and whether they can be reached.

Asks the cluster's Redis and probes the ports of hosts that are up; changes nothing. Unknown facts stay empty, which
skips the checks that need them.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from socket import create_connection

from config.cluster import Membership
from config.ports import host_ports
from coordination.membership import ClusterState, MemberState, read_state
from coordination.own_address import source_address
from coordination.redis_client import Address, RedisLink, RedisRefusedError

CALL_SECONDS = 1.0
KNOCKS = 64  # concurrent probes
REPORT_SECONDS = 2.5  # within which every host that is up reports again


@dataclass(frozen=True, kw_only=True)
class ClosedPort:
    """A blocked port of another host; a port where nothing listens does not count as closed."""

    host: str
    port: int
    purpose: str
    error: str


@dataclass(frozen=True, kw_only=True)
class ClusterFacts:
    """A cluster at one moment, as one of its hosts sees it. A default means "unknown", and no check fails for it."""

    machine: str = ""  # name of this machine in its deployments
    sources: Mapping[str, str | None] = field(default_factory=dict)  # peer → own address on the route; None: no route
    silence: str = ""  # why Redis was not asked
    refusal: str = ""  # Redis's error, if it refused
    clock_ahead: float | None = None  # seconds by which this host's clock is ahead of Redis's
    state: ClusterState | None = None
    closed: tuple[ClosedPort, ...] = ()

    @property
    def up(self) -> tuple[MemberState, ...]:
        """Hosts with a recent report."""
        return tuple(member for member in self.state.members if member.up) if self.state else ()

    @classmethod
    def probe(cls, membership: Membership, *, machine: str, password: str) -> "ClusterFacts":
        """Return the facts within a few seconds; if Redis does not answer, only those of this host."""
        sources = {name: source_address(address) for name, address in membership.peers.items()}
        link = RedisLink(
            [Address.parse(text, "redis") for text in membership.redis_addresses], password, timeout=CALL_SECONDS
        )
        try:
            link.command("PING")  # opens the connection
            ahead = _clock_ahead(link)
            state = read_state(link, membership.namespace)
            closed = _closed_ports(membership, link, state)
        except RedisRefusedError as error:
            return cls(machine=machine, sources=sources, refusal=str(error))
        except OSError as error:
            return cls(machine=machine, sources=sources, silence=error.strerror or str(error) or "no answer")
        finally:
            link.close()
        return cls(machine=machine, sources=sources, clock_ahead=ahead, state=state, closed=closed)


def _clock_ahead(link: RedisLink) -> float:
    before = time.time()
    answer = link.command("TIME")
    after = time.time()
    seconds, microseconds = answer if isinstance(answer, list) else (0, 0)
    return (before + after) / 2 - (int(str(seconds)) + int(str(microseconds)) / 1e6)


def _closed_ports(membership: Membership, link: RedisLink, state: ClusterState) -> tuple[ClosedPort, ...]:
    """Closed ports of other hosts. A host that has gone down meanwhile is left out."""
    doors = [door for member in state.members if member.up for door in _doors(membership, member)]
    with ThreadPoolExecutor(KNOCKS) as pool:
        closed = [found for found in pool.map(lambda door: _knock(*door), doors) if found]
    if not closed:
        return ()
    started = time.monotonic()
    time.sleep(REPORT_SECONDS)
    members = read_state(link, membership.namespace).members
    still_up = {member.host for member in members if member.age < time.monotonic() - started}
    return tuple(found for found in closed if found.host in still_up)


def _doors(membership: Membership, member: MemberState) -> Iterator[tuple[str, str, int, str]]:
    """The endpoints of a peer that this host's nodes will use: host, address, port and purpose."""
    if member.address != membership.peers.get(member.host):
        return
    nodes = member.facts.get("nodes")
    for service in nodes if isinstance(nodes, list) else ():
        for purpose, first, last in host_ports(service):
            if first == last:  # ports of worker processes are open only while these work
                yield member.host, member.address, first, f"{service} ({purpose})"


def _knock(host: str, address: str, port: int, purpose: str) -> ClosedPort | None:
    try:
        create_connection((address, port), timeout=CALL_SECONDS).close()
    except ConnectionRefusedError:
        return None  # reachable, and nothing listens yet
    except OSError as error:
        return ClosedPort(host=host, port=port, purpose=purpose, error=error.strerror or "no answer")
    return None
