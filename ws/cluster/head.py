"""`ws head`: who leads, who would be next, and the planned move to another host."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.problems import did_you_mean
from config.problems import show as in_words
from coordination.membership import ClusterState, HeadState, MemberState
from ws.cluster.access import Access
from ws.cluster.nodes import moment
from ws.errors import WsError
from ws.progress import progress, wait_until
from ws.tables import plain_table

MOVE_SECONDS = 90.0
POLL_SECONDS = 0.2
EVENTS_SHOWN = 10


@dataclass(frozen=True)
class Candidate:
    """A host that may lead, in the order in which they are preferred."""

    host: str
    state: str  # leads, ready, in maintenance, not up, …


@dataclass(frozen=True)
class HeadShown:
    """The output of `ws head show`."""

    cluster: ClusterState
    why_no_head: str
    static_head: str | None
    candidates: tuple[Candidate, ...]

    @property
    def since(self) -> str:
        """When the present head was ready, local time."""
        ready = [event for event in self.cluster.history if event.event == "ready" and event.epoch == self._epoch]
        return moment(ready[0].time) if ready else ""

    @property
    def _epoch(self) -> int:
        return self.cluster.head.epoch if self.cluster.head else -1


def look(access: Access) -> HeadShown:
    """Asks Redis."""
    state = access.state()
    order = access.membership.candidates if access.membership else tuple(member.host for member in state.members)
    members = {member.host: member for member in state.members}
    return HeadShown(
        cluster=state,
        why_no_head=access.why_no_head(state),
        static_head=access.membership.static_head if access.membership else None,
        candidates=tuple(Candidate(host, _state_of(host, members.get(host), state)) for host in order),
    )


def _state_of(host: str, member: MemberState | None, state: ClusterState) -> str:
    if state.leader and state.leader.host == host:
        return "leads" if state.leader.ready else "elected, starts its head"
    if host in state.maintenance:
        return "cordoned"
    if member is None:
        return "never reported"
    if not member.up:
        return f"not up, reported {member.age:.0f} s ago"
    return f"stays away for {member.held_down:.0f} s after a loss" if member.held_down else "ready"


def as_json(shown: HeadShown) -> dict[str, Any]:
    """`ws head show --json`."""
    head = shown.cluster.head
    return {
        "head": {**asdict(head), "since": shown.since} if head else None,
        "static_head": shown.static_head,
        "problem": "" if shown.static_head else shown.why_no_head,
        "epoch": shown.cluster.epoch,
        "candidates": [asdict(candidate) for candidate in shown.candidates],
        "history": [asdict(event) for event in shown.cluster.history],
    }


def show(shown: HeadShown, console: Console) -> None:
    """`ws head show`."""
    head = shown.cluster.head
    if shown.static_head:
        console.print(Text(f"Election is off: `head_address` names the head, {shown.static_head}.", style="yellow"))
    elif head:
        since = f" since {shown.since}" if shown.since else ""
        console.print(Text(f"{head.host} leads{since}, epoch {head.epoch}, GCS at {head.gcs}", style="green"))
    else:
        console.print(Text(f"There is no head: {shown.why_no_head}.", style="bold red"), soft_wrap=True)
    if shown.candidates:
        console.print(_table(("May lead", "State"), [(one.host, one.state) for one in shown.candidates]))
    if events := shown.cluster.history[:EVENTS_SHOWN]:
        rows = [(moment(event.time), str(event.epoch), event.host, event.event) for event in events]
        console.print(_table(("Time", "Epoch", "Host", "What happened"), rows))


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    shown = plain_table(columns)
    for row in rows:
        shown.add_row(*row)
    return shown


def move(access: Access, host: str | None, console: Console) -> None:
    """Moves the head, and waits until it is ready there. Raises `WsError` if that is impossible."""
    shown = look(access)
    former = _may_move(access, shown, host)
    with access.answers():
        refusal = access.lease.request_handover(host or "*")
    if refusal:
        raise WsError(f"The head cannot be moved: {refusal}.\n  See: ws head show --stack {access.stack}")
    began = time.monotonic()
    head: HeadState | None = None

    def missing() -> str:
        nonlocal head
        state = _state_if_any(access)
        head = state.head if state and state.head and state.head.epoch > former else None
        return "" if head else _waits_for(access, state)

    with progress(console) as say:
        wait_until(missing, MOVE_SECONDS, say, pause=POLL_SECONDS)
    if head is None:
        raise WsError(
            f"No new head was ready within {MOVE_SECONDS:.0f} s.\n"
            f"  See: ws head show --stack {access.stack}, and on that host: ws logs ray-head --stack STACK"
        )
    seconds = time.monotonic() - began
    if host and head.host != host:
        raise WsError(f"{head.host} leads now, in epoch {head.epoch}, and not {host}: see `ws logs ray-head` there.")
    console.print(Text(f"{head.host} leads after {seconds:.1f} s, epoch {head.epoch}", style="bold green"))


def _state_if_any(access: Access) -> ClusterState | None:
    try:
        return access.state()
    except WsError:  # it may be gone for a moment
        return None


def _waits_for(access: Access, state: ClusterState | None) -> str:
    if state is None:
        return "Redis does not answer"
    if state.head:
        return f"{state.head.host} gives up the lead"
    return access.why_no_head(state)


def _may_move(access: Access, shown: HeadShown, host: str | None) -> int:
    """The present epoch, if the head may be moved to the host."""
    membership, head = access.membership, shown.cluster.head
    if membership is None:
        raise WsError(f"stack {access.stack} is a single host: there is no other host to move the head to.")
    if shown.static_head:
        raise WsError(
            f"{membership.names('head_address')} fixes the head at {shown.static_head}. Remove it, on all hosts."
        )
    states = {candidate.host: candidate.state for candidate in shown.candidates}
    if host is not None and host not in states:
        raise WsError(
            f"{host} may not lead: {membership.names('head_whitelist')} does not name it.\n  "
            + did_you_mean(host, states)
            + " Or add it to the list, and deploy all hosts again."
        )
    if head is None:
        raise WsError(f"There is no head at this moment: {shown.why_no_head}.")
    if host == head.host:
        raise WsError(f"{host} leads already, in epoch {head.epoch}.")
    chosen = [host] if host else [name for name in states if name != head.host]
    if obstacles := [f"{name}: {states[name]}" for name in chosen if not _can_lead(states[name])]:
        if len(obstacles) == len(chosen):
            raise WsError(f"The head cannot be moved to {'; '.join(obstacles)}.\n{_remedy(access, chosen, states)}")
    elif not chosen:
        raise WsError(f"Only {head.host} may lead. Name another host in {membership.names('head_whitelist')}.")
    return head.epoch


def _can_lead(state: str) -> bool:
    # A request by name ends the time for which a host stays away.
    return state == "ready" or state.startswith("stays away")


def _remedy(access: Access, chosen: list[str], states: dict[str, str]) -> str:
    cordoned = [name for name in chosen if states[name] == "cordoned"]
    if cordoned:
        return f"  Let it lead again: ws head uncordon {cordoned[0]} --stack {access.stack}"
    return f"  Start it on {chosen[0]}, with the name of its stack: ws up --stack STACK"


def cordon(access: Access, host: str, console: Console) -> None:
    """Excludes a host from the election. Redis calls it maintenance, so that clusters of mixed versions agree."""
    _check_candidate(access, host)
    state = access.state()
    if state.leader and state.leader.host == host:
        raise WsError(f"{host} leads at this moment. First: ws head move --stack {access.stack}")
    with access.answers():
        access.lease.set_maintenance(host, True)
    console.print(f"{host} is cordoned and does not lead, until: ws head uncordon {host} --stack {access.stack}")


def uncordon(access: Access, host: str, console: Console) -> None:
    """Admits a host to the election again."""
    _check_candidate(access, host)
    with access.answers():
        access.lease.set_maintenance(host, False)
    console.print(f"{host} may lead again.")


def _check_candidate(access: Access, host: str) -> None:
    membership = access.membership
    if membership is None:
        raise WsError(f"stack {access.stack} is a single host: there is no other host that could lead.")
    if host not in membership.cluster.hosts:
        raise WsError(f"the cluster has no host {in_words(host)}.\n  {did_you_mean(host, membership.cluster.hosts)}")
    if host not in membership.candidates:
        raise WsError(f"{host} never leads: {membership.names('head_whitelist')} does not name it.")


def wait_for_candidate(access: Access, host: str, seconds: float, say: Callable[[str], None]) -> None:
    """Waits until a host's agent stands for election, or leads. Raises `WsError` if it does not."""

    def missing() -> str:
        state = next((one.state for one in look(access).candidates if one.host == host), "is no candidate")
        return "" if state in ("leads", "cordoned") or _can_lead(state) else f"{host}: {state}"

    if not wait_until(missing, seconds, say):
        raise WsError(f"{missing()}, so it could not lead.\n  See: ws head show --stack {access.stack}")
