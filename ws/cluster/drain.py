"""`ws node drain`, `resume` and `remove`: planned maintenance of a node, without losing its running work."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import docker
from rich.console import Console
from rich.text import Text

from build_report.units import whole_duration
from contracts.ray_nodes import RayNode
from coordination.membership import drain_key
from stack.programs import run_module
from ws.cluster.access import Access
from ws.cluster.nodes import HEAD_SUFFIX, node_named
from ws.cluster.ray_api import NoHeadError, Work
from ws.containers import ContainerState, containers
from ws.errors import WsError
from ws.progress import progress, wait_until

POLL_SECONDS = 1.0
END_SECONDS = 120.0  # for Ray to end on the node, after its work has ended
RETURN_SECONDS = 90.0
STOP_SECONDS = 60
ASK_SECONDS = 60.0  # for Ray's answer; the node is not stopped before
NAMES_SHOWN = 8
RAY_SERVICES = ("ray-cpu", "ray-gpu")


def drain(access: Access, name: str, seconds: int, console: Console) -> None:
    """Lets running work on a node end, and keeps the node out. Raises `WsError` if that is impossible."""
    node = _drainable(access, name)
    if node is None:
        console.print(f"{name} is drained already; to let it join again: ws node resume {name} --stack {access.stack}")
        return
    began = time.monotonic()
    with progress(console) as say:
        left = vacate(access, node, seconds, say)
    if left:
        console.print(Text(ended_by_force(left, seconds), style="yellow"), soft_wrap=True)
    took = whole_duration(time.monotonic() - began)
    console.print(Text(f"{name} is drained ({took})", style="bold green"))
    console.print(f"It stays out, even if its container restarts, until: ws node resume {name} -s {access.stack}")


def vacate(
    access: Access,
    node: RayNode,
    seconds: int,
    say: Callable[[str], None],
    before_end: Callable[[float], None] | None = None,
) -> Work:
    """Lets a node's running work end, ends Ray there, and keeps it out; returns the work that did not end by itself.

    `before_end` is called right before Ray ends there, with the seconds that are left of its time. If it raises, the
    node keeps what runs on it, without a deadline, and gets no new work.
    """
    began = time.monotonic()
    _ask_node(access, node.name, seconds, ends_by_itself=before_end is None)
    left = _wait_for_work(access, node, began + seconds, say)
    if before_end and not _is_gone_surely(access, node):
        before_end(max(began + seconds - time.monotonic(), 0.0))
    if (before_end or not left) and not _is_gone_surely(access, node):
        _ask_node(access, node.name, 0)  # no work is left, or it may end
    _wait(access, lambda: _is_gone(access, node), f"Ray ends on {node.name}", END_SECONDS, say)
    return left


def let_in(access: Access, name: str, say: Callable[[str], None], seconds: float) -> None:
    """Ends a node's time out, and waits until it has joined."""
    with access.answers():
        marked = name in access.lease.maintenance()
    with suppress(NoHeadError):
        if marked and (node := next((one for one in access.ray.nodes() if one.name == name and one.alive), None)):
            # Ray cannot revoke a drain, so this Ray must end.
            _ask_node(access, name, 0)
            _wait(access, lambda: _is_gone(access, node), f"Ray ends on {name}", END_SECONDS, say)
    with access.answers():
        access.lease.set_maintenance(name, False)
    _wait(access, lambda: _is_there(access, name), f"{name} joins", seconds, say)


def resume(access: Access, name: str, console: Console) -> None:
    """Lets a drained node join again, and waits until it has."""
    node = node_named(access, name)
    with access.answers():
        marked = name in access.lease.maintenance()
    if not marked:
        joins = "" if node and node.alive else " It joins when its container runs."
        console.print(f"{name} is not drained.{joins}")
        return
    began = time.monotonic()
    with progress(console) as say:
        let_in(access, name, say, RETURN_SECONDS)
    console.print(Text(f"{name} is back after {whole_duration(time.monotonic() - began)}", style="bold green"))


def remove(access: Access, name: str, seconds: int, console: Console) -> None:
    """Drains a node, stops its container if it is on this host, and forgets the node."""
    alive = node_is_alive(access, name)
    with access.answers():
        marked = name in access.lease.maintenance()
    if not marked or alive:
        drain(access, name, seconds, console)
    container = _own_container(access, name)
    if container is None:
        host = name.rpartition("-ray-")[0]
        console.print(
            f"Its container waits on another host. On {host or 'that host'}, with the name of its stack: "
            f"ws node remove {name} --stack STACK"
        )
        return
    docker.from_env(timeout=STOP_SECONDS + 30).containers.get(container.name).stop(timeout=STOP_SECONDS)
    with access.answers():
        access.lease.forget(name)
    console.print(Text(f"{name} is removed: {container.name} is stopped", style="bold green"))
    key = f"cslr:platform.ray.{container.service.removeprefix('ray-')}.enabled"
    console.print(f"The next `ws up` starts it again, unless its stack file says otherwise: {key}: false")


def node_is_alive(access: Access, name: str) -> bool:
    """Whether the node is a member of the cluster now; True if that cannot be asked."""
    try:
        node = node_named(access, name)
    except NoHeadError:
        return True
    return bool(node and node.alive)


def _drainable(access: Access, name: str) -> RayNode | None:
    """The node; None if it is already drained. Raises `WsError` if it cannot be drained."""
    node = node_named(access, name)
    marked = name in access.state().maintenance
    if node and node.head:
        advice = (
            f"Move the head first: ws head move --stack {access.stack}"
            if access.membership
            else "On a single host the head cannot be drained: ws down stops the whole stack."
        )
        raise WsError(f"{name} leads the cluster.\n  {advice}")
    if name.endswith(HEAD_SUFFIX):
        raise WsError(
            f"{name} runs no tasks, so there is nothing to drain.\n"
            f"  To exclude its host from the election: ws head cordon {name.removesuffix(HEAD_SUFFIX)} --stack "
            f"{access.stack}"
        )
    if node and node.alive:
        return node
    if marked:
        return None
    why = node.message if node and node.message else "it is not a member now"
    raise WsError(f"{name} is gone: {why}. See: ws node list --stack {access.stack}")


def _ask_node(access: Access, name: str, seconds: int, *, ends_by_itself: bool = True) -> None:
    """Marks the node, and makes Ray give it no new work. Any Ray container of this host can ask the GCS for that.

    After these seconds the node ends its Ray, unless it is to wait until it is asked again.
    """
    helpers = [one for one in containers(access.identity) if one.service in RAY_SERVICES and one.state == "running"]
    if not helpers:
        raise WsError(
            f"stack {access.stack} runs no Ray node on this host that could ask the head.\n"
            "  Run this on a host of the cluster that has one."
        )
    command = list(run_module("entrypoints.ray.node", "drain", name, "--seconds", str(seconds)))
    with access.answers():
        newly = _mark(access, name, max(seconds, ASK_SECONDS) if ends_by_itself else None)
    done = docker.from_env(timeout=120).containers.get(helpers[0].name).exec_run(command)
    output = done.output.decode(errors="replace") if isinstance(done.output, bytes) else ""
    answer = _last_json(output)
    if done.exit_code or not answer.get("accepted"):
        reason = answer.get("reason") or output.strip() or f"exit code {done.exit_code}"
        if newly:
            with access.answers():
                access.lease.set_maintenance(name, False)
                access.lease.link.command("DEL", drain_key(access.namespace, name))
        raise WsError(f"{name} cannot be drained: {reason}")
    if not seconds:
        with access.answers():
            access.lease.link.command("DEL", drain_key(access.namespace, name))


def _mark(access: Access, name: str, seconds: float | None) -> bool:
    """Marks a node as drained, with its deadline if it has one; returns whether it was not marked before."""
    # Its time first: a mark without any would end the node at once.
    deadline = () if seconds is None else ("PX", int(seconds * 1000))
    access.lease.link.command("SET", drain_key(access.namespace, name), 1, *deadline)
    return access.lease.set_maintenance(name, True)


def _last_json(output: str) -> dict[str, Any]:
    for line in reversed(output.splitlines()):
        with suppress(ValueError):
            answer = json.loads(line)
            if isinstance(answer, dict):
                return answer
    return {}


def _wait_for_work(access: Access, node: RayNode, deadline: float, say: Callable[[str], None]) -> Work:
    """Waits until nothing runs on a node. Returns the work that is left at the deadline."""
    work = Work((), ())
    while (seconds := deadline - time.monotonic()) > 0:
        with suppress(NoHeadError):  # while the head moves
            if _is_gone(access, node) or not (work := access.ray.work(node)):
                return Work((), ())
        say(f"{node.name}: waiting for {work}, {whole_duration(seconds)} left ({_names(work)})")
        time.sleep(min(POLL_SECONDS, seconds))
    return work


def _wait(access: Access, done: Callable[[], bool], what: str, seconds: float, say: Callable[[str], None]) -> None:
    def missing() -> str:
        with suppress(NoHeadError):
            return "" if done() else what
        return what

    if not wait_until(missing, seconds, say, pause=POLL_SECONDS):
        raise WsError(
            f"{what}: not within {seconds:.0f} s.\n"
            f"  See: ws node list --stack {access.stack}, and on the node's host: ws logs --stack STACK"
        )


def _is_gone(access: Access, node: RayNode) -> bool:
    return not any(one.alive for one in access.ray.nodes() if one.identifier == node.identifier)


def _is_gone_surely(access: Access, node: RayNode) -> bool:
    try:
        return _is_gone(access, node)
    except NoHeadError:
        return False


def _is_there(access: Access, name: str) -> bool:
    return any(one.alive for one in access.ray.nodes() if one.name == name)


def ended_by_force(left: Work, seconds: int) -> str:
    """What a drain had to end."""
    return f"Not ended by itself within {seconds} s, and ended now: {left} ({_names(left)})"


def _names(work: Work) -> str:
    names = [*work.tasks, *work.actors]
    return ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")


def _own_container(access: Access, name: str) -> ContainerState | None:
    """The node's container, if it is one of this host's."""
    membership = access.membership
    for one in containers(access.identity):
        if one.service in RAY_SERVICES and name == (membership.node(one.service) if membership else one.service):
            return one
    return None
