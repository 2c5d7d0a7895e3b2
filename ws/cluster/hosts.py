"""`ws cluster`: the cluster key, which makes a host a member, and the facts that hosts must agree on."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.cluster import Membership
from config.remedies import secret_command
from coordination.membership import ClusterState, HeadState, MemberState
from stack.cluster_key import cluster_key, copy_command, key_file
from ws.doctor.checks import State, cluster_rows
from ws.doctor.facts import Facts, platform_facts
from ws.doctor.view import table
from ws.errors import WsError
from ws.stack_settings import StackSettings, open_stack
from ws.tables import plain_table


def _membership(configured: StackSettings) -> Membership:
    membership = configured.membership
    if membership is None:
        raise WsError(
            f"stack {configured.file.stack} is a single host: {configured.file.name} has no cslr:cluster.\n"
            "  How to make a cluster of several hosts: docs/several-hosts.md"
        )
    return membership


def show_key(stack: str, console: Console) -> None:
    """`ws cluster key`. The host of Redis makes the key if there is none yet. Raises `SecretError` elsewhere."""
    configured = open_stack(stack)
    membership, found = _membership(configured), configured.previewed
    project, file, name = found.identity.project, found.file, membership.cluster.name
    cluster_key(membership, found.config, project=project, stack_file=file, dry_run=False)
    kept = key_file(project, name)
    if not kept.is_file():
        console.print(f"The key of cluster {name} is in {file}, encrypted, as {project}:clusterKey.")
        return
    console.print(f"The key of cluster {name} is in {kept}")
    if membership.host == membership.redis_host:
        console.print(f"On every other host, once, where this user is the same:\n  {copy_command(membership, kept)}")
        console.print(
            f"Or anywhere, encrypted in its stack file:\n  {secret_command('STACK', f'{project}:clusterKey')}"
        )


def check(stack: str, console: Console) -> bool:
    """`ws cluster check`: shows the checks; returns whether this host can be part of its cluster."""
    configured = open_stack(stack)
    membership = _membership(configured)
    facts = Facts(stack=stack, **platform_facts(configured))
    assert facts.settings is not None  # noqa: S101  (a member has settings)
    rows = cluster_rows(facts, facts.settings)
    if facts.cluster.state:
        console.print(_hosts(membership, facts.cluster.state))
        console.print()
    console.print(table(rows))
    return all(row.state is not State.FAIL for row in rows)


def _hosts(membership: Membership, state: ClusterState) -> Table:
    members = {member.host: member for member in state.members}
    head = None if membership.static_head else state.head  # no host reports whether it reaches a static head
    shown = plain_table(("Host", "Address", "State", "May lead", "Reaches the head", "Ray", "Python", "CUDA"))
    for name, host in membership.cluster.hosts.items():
        member = members.get(name)
        facts = member.facts if member else {}
        versions = [str(facts.get(key, "")) for key in ("ray", "python", "cuda")]
        may_lead = "yes" if name in membership.candidates else ""
        own = f"{name} (this host)" if name == membership.host else name
        shown.add_row(own, host.address, _state(member), may_lead, _reach(member, head), *versions)
    return shown


def _state(member: MemberState | None) -> Text:
    if member is None:
        return Text("never reported", style="yellow")
    return Text("up", style="green") if member.up else Text(f"reported {member.age:.0f} s ago", style="red")


def _reach(member: MemberState | None, head: HeadState | None) -> Text:
    if member is None or not member.up or head is None:
        return Text("")
    if member.sees == head.epoch:
        return Text("yes", style="green")
    return Text("no", style="red") if member.blind == head.epoch else Text("not yet")
