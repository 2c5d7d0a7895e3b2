"""The election of Ray's head, as its state in Redis shows it."""

import asyncio
import contextlib
from datetime import UTC, datetime

from contracts.health import Election
from contracts.status import ClusterStatus, HeadEvent, HostState, HostStatus, Reason
from coordination.errors import NodeError
from coordination.membership import ClusterState, HeadState, MemberState, read_state
from coordination.redis_client import Address, RedisLink, RedisRefusedError
from coordination.redis_users import READER
from entrypoints.health.asker import Asker
from entrypoints.health.failure import FailureError


async def ask_election(election: Election, asker: Asker) -> ClusterState | FailureError:
    """Ask Redis for the election's state; returns the reason instead of raising if there is no answer."""
    try:
        addresses = tuple(Address.parse(text, "redis_addresses") for text in election.redis_addresses)
        link = RedisLink(addresses, asker.secrets["redis-reader"], username=READER)
        return await asker.in_time(asyncio.to_thread(_read_once, link, election.namespace))
    except RedisRefusedError as error:
        return FailureError(Reason.ACCESS_DENIED, f"Redis does not answer: {error}")
    except (OSError, NodeError, FailureError) as error:
        return FailureError(Reason.REDIS_UNREACHABLE, f"Redis does not answer: {error}")


def _read_once(link: RedisLink, namespace: str) -> ClusterState:
    with contextlib.closing(link):
        return read_state(link, namespace)


def cluster_status(election: Election, state: ClusterState | FailureError) -> ClusterStatus:
    """Return the election's state for the report."""
    mode = f"off: head_address says {election.static_head}" if election.static_head else "on"
    if isinstance(state, FailureError):
        return ClusterStatus(
            namespace=election.namespace,
            host=election.host,
            election=mode,
            reason=state.reason,
            error=state.message,
        )
    head = None if election.static_head else state.head
    history = tuple(
        HeadEvent(time=_utc(event.time), epoch=event.epoch, host=event.host, event=event.event)
        for event in state.history
    )
    lacking = not head and not election.static_head
    return ClusterStatus(
        namespace=election.namespace,
        host=election.host,
        election=mode,
        head=head.host if head else None,
        epoch=head.epoch if head else None,
        since=next((event.time for event in history if head and event.epoch == head.epoch), None),
        hosts=tuple(_host(member, head) for member in state.members),
        history=history,
        reason=Reason.NO_HEAD if lacking else None,
        error=state.why_no_head(election.whitelist) if lacking else None,
    )


def _host(member: MemberState, head: HeadState | None) -> HostStatus:
    up = HostState.MAINTENANCE if member.maintenance else HostState.UP
    return HostStatus(
        name=member.host,
        address=member.address,
        state=up if member.up else HostState.DOWN,
        candidate=member.candidate,
        sees_head=member.sees == head.epoch if head and member.up else None,
        last_seen=round(member.age, 1),
    )


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
