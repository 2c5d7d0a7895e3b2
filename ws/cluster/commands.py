"""The commands on a running cluster. Implementations are imported when called, so that help appears at once."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ws.paths import there
from ws.terminal import FAILED, HELP, AsJson, Stack, out

CLUSTER_FILE = Path("cluster.yaml")

node = typer.Typer(help="The Ray nodes of the cluster.", no_args_is_help=True, context_settings=HELP)
head = typer.Typer(help="The head of the cluster.", no_args_is_help=True, context_settings=HELP)
redis = typer.Typer(help="The Redis that keeps the cluster's state.", no_args_is_help=True, context_settings=HELP)
cluster = typer.Typer(help="A cluster over several hosts.", no_args_is_help=True, context_settings=HELP)

Node = Annotated[str, typer.Argument(metavar="NODE", help="As `ws node list` calls it: alpha-ray-cpu.")]
Seconds = Annotated[int, typer.Option(min=1, metavar="NUMBER", help="How long running work may take to end by itself.")]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to `ws`."""
    for name, group in (("node", node), ("head", head), ("redis", redis), ("cluster", cluster)):
        app.add_typer(group, name=name)


@node.command("list")
def node_list(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """List the cluster's nodes: host, role, state, resources."""
    from ws.cluster import nodes
    from ws.cluster.access import access_to

    found = nodes.nodes_of(access_to(stack))
    if as_json:
        print(json.dumps(nodes.as_json(found), indent=2))
        return
    out.print(nodes.table(found.nodes))
    if found.problem:
        out.print(Text(found.problem, style="yellow"), soft_wrap=True)


@node.command("drain")
def node_drain(name: Node, stack: Stack = "dev", seconds: Seconds = 300) -> None:
    """Drain a node: no new work; wait for running work; keep the node out until `ws node resume`."""
    from ws.cluster import drain
    from ws.cluster.access import access_to

    drain.drain(access_to(stack), name, seconds, out)


@node.command("resume")
def node_resume(name: Node, stack: Stack = "dev") -> None:
    """Let a drained node join again."""
    from ws.cluster import drain
    from ws.cluster.access import access_to

    drain.resume(access_to(stack), name, out)


@node.command("remove")
def node_remove(name: Node, stack: Stack = "dev", seconds: Seconds = 300) -> None:
    """Drain a node, stop its container, and forget it."""
    from ws.cluster import drain
    from ws.cluster.access import access_to

    drain.remove(access_to(stack), name, seconds, out)


@head.command("show")
def head_show(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Show the head and since when it leads, the next candidates, or why there is no head."""
    from ws.cluster import head as heads
    from ws.cluster.access import access_to

    shown = heads.look(access_to(stack))
    if as_json:
        print(json.dumps(heads.as_json(shown), indent=2))
    else:
        heads.show(shown, out)


@head.command("move")
def head_move(
    host: Annotated[
        str | None, typer.Argument(metavar="[HOST]", help="Target host; without it, the next candidate.")
    ] = None,
    stack: Stack = "dev",
) -> None:
    """Move the head to another host: takes seconds, and no task fails."""
    from ws.cluster import head as heads
    from ws.cluster.access import access_to

    heads.move(access_to(stack), host, out)


@head.command("cordon")
def head_cordon(host: Annotated[str, typer.Argument(metavar="HOST")], stack: Stack = "dev") -> None:
    """Exclude a host from the election of the head, during maintenance."""
    from ws.cluster import head as heads
    from ws.cluster.access import access_to

    heads.cordon(access_to(stack), host, out)


@head.command("uncordon")
def head_uncordon(host: Annotated[str, typer.Argument(metavar="HOST")], stack: Stack = "dev") -> None:
    """Admit a cordoned host to the election again."""
    from ws.cluster import head as heads
    from ws.cluster.access import access_to

    heads.uncordon(access_to(stack), host, out)


@head.command("keep-off", hidden=True)  # the former name of both, which scripts may use
def head_keep_off(
    host: Annotated[str, typer.Argument(metavar="HOST")],
    stack: Stack = "dev",
    end: Annotated[bool, typer.Option("--end", help="As `ws head uncordon`.")] = False,
) -> None:
    """Former name of `ws head cordon` and `ws head uncordon`."""
    (head_uncordon if end else head_cordon)(host, stack)


@redis.command("status")
def redis_status(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Show the primary, its replica on another host, and how far the replica is behind."""
    from ws.cluster import redis as pair
    from ws.cluster.access import access_to

    status = pair.status(access_to(stack))
    if as_json:
        print(json.dumps(pair.as_json(status), indent=2))
    else:
        pair.show(status, out)
    if status.problem:
        raise typer.Exit(FAILED)


@redis.command("failover")
def redis_failover(
    stack: Stack = "dev",
    primary_is_off: Annotated[
        bool, typer.Option("--primary-is-off", help="Confirm that the primary's host is off or disconnected.")
    ] = False,
) -> None:
    """Promote this host's replica to primary; nothing is lost if the present primary answers."""
    from ws.cluster import failover
    from ws.cluster.access import access_to

    failover.failover(access_to(stack), out, primary_is_off=primary_is_off)


@cluster.command("key")
def cluster_key(stack: Stack = "dev") -> None:
    """Show where the cluster key is, and how to copy it to the other hosts."""
    from ws.cluster.hosts import show_key

    show_key(stack, out)


@cluster.command("up")
def cluster_up(
    file: Annotated[
        Path, typer.Option("--cluster", metavar="FILE", help="The cluster file.", callback=there)
    ] = CLUSTER_FILE,
    drain: Annotated[
        str, typer.Option(metavar="TIME", help="How long the work of each node may take to end (600, 30m, 2h).")
    ] = "10m",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="End the jobs, drivers and sessions that have not ended by then.")
    ] = False,
    revert: Annotated[
        bool, typer.Option("--revert/--no-revert", help="Restore the former container of a node that fails.")
    ] = True,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the commands for each host in their order, and run none.")
    ] = False,
) -> None:
    """Run `ws up --rolling` on every host over SSH, one host after the other, the head's last.

    Uses OpenSSH's client and its config, and asks for no password. Stops at the first failure; run again, it continues.
    """
    from ws.drain_option import parse_duration
    from ws.rolling.walk import Walk

    parse_duration(drain)  # each host gets it as text
    options = ("--drain", drain, *(("--yes",) if yes else ()), *(() if revert else ("--no-revert",)))
    walk = Walk.of(file, options, out)
    if only_print:
        walk.show_commands()
    else:
        walk.run()


@cluster.command("check")
def cluster_check(stack: Stack = "dev") -> None:
    """Check what all hosts must agree on: members, versions, ports, clocks."""
    from ws.cluster.hosts import check

    if not check(stack, out):
        raise typer.Exit(FAILED)
