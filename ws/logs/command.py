"""`ws logs`: finds the sources of a stack's logs, merges and prints them, and says what it read."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from fnmatch import filter as filter_names

import docker
import typer
from rich.console import Console
from rich.text import Text

from config.services import RAY_NODES
from coordination.printable import printable
from docker_api.api import DockerApi
from ws.errors import WsError
from ws.logs.containers import Container, ContainerLog, of_stack
from ws.logs.elsewhere import Elsewhere, Scope
from ws.logs.entry import CONTAINER, Entry, Tail
from ws.logs.jobs import job_names
from ws.logs.kinds import LEVELS
from ws.logs.merging import Live, by_time
from ws.logs.printing import Printer, printer
from ws.logs.query import Query
from ws.logs.ray_files import SCRATCH, Scratch, Summary
from ws.stack_settings import StackSettings

DEFAULT_TAIL = 100  # lines of each service, unless something else limits them
SILENCE_SECONDS = 24 * 3600  # for which a followed log may be silent
RAY_SERVICES = (*RAY_NODES, "ray-head")


def parse_tail(text: str | None, query: Query) -> int | None:
    """The option `--tail`; by default everything where other options select lines. Raises `typer.BadParameter`."""
    if text is None:
        return None if query.selects_lines else DEFAULT_TAIL
    if text == "all":
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise typer.BadParameter(f"{text!r} is not a number of lines; write for example 100, or all.")
    return int(text)


def check(query: Query) -> None:
    """Raises `typer.BadParameter` for what cannot be searched for."""
    if query.level and query.level not in LEVELS:
        raise typer.BadParameter(f"{query.level!r} is not a level; choose one of {', '.join(LEVELS)}.")
    try:
        re.compile(query.grep)
    except re.error as error:
        raise typer.BadParameter(f"{query.grep!r} is not a regular expression: {error}.") from None


@dataclass(kw_only=True)
class Read:
    """What was read, to be told at the end."""

    services: list[str] = field(default_factory=list)  # whose containers' logs
    sessions: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: int = 0
    aside: int = 0
    shown: int = 0  # entries
    hints: list[str] = field(default_factory=list)

    def add(self, summary: Summary) -> None:
        """Adds what the reader of files says."""
        self.sessions.update(summary.read)
        self.left_out += summary.left_out
        self.aside += summary.aside
        self.hints += summary.problems

    def sentences(self) -> Iterator[str]:
        """The parts of the last message, without the hints."""
        if self.services:
            yield f"Read Docker's logs of {', '.join(self.services)}."
        for service, sessions in sorted(self.sessions.items()):
            more = f" of {len(sessions)} sessions" if len(sessions) > 1 else ""
            yield f"Read {sum(sessions.values())} files of Ray{more} of {service}."
        if not (self.services or self.sessions):
            yield "Read nothing: no log matches the options."
        if self.left_out:
            yield f"Left out {self.left_out:,} earlier lines; --tail N or --tail all shows them."
        if self.aside:
            yield f"Left out {self.aside:,} lines that Ray says of itself or repeats; --all shows them."


def show_logs(
    configured: StackSettings,
    query: Query,
    *,
    hosts: tuple[str, ...] = (),
    job: str | None,
    probes: bool,
    as_json: bool,
    out: Console,
    err: Console,
) -> bool:
    """Prints the wanted entries on `out`, and on `err` what was read. Returns whether there were any."""
    found = of_stack(configured.identity, DockerApi())
    _refuse_services(configured, query, found)
    read = Read()
    names = job_names(configured, job) if job else None
    if names:
        query = replace(query, jobs=names.names)
        read.hints += [names.hint] if names.hint else []
    scope = Scope(configured=configured, hosts=hosts, found=found, job=names)
    others = _ask(scope, query, read)
    _refuse_nodes(scope, query, others, read)
    read_at = others.read_at(query) if others else query.read_at
    if not query.follow:
        query = replace(query, read_at=read_at)
    client = docker.from_env(timeout=SILENCE_SECONDS)
    wanted = [one for one in found if scope.here and query.takes(one.service, one.node, CONTAINER)]
    read.services = [one.service for one in wanted]
    logs = [ContainerLog(one, client, probes=probes) for one in wanted]
    has_files = scope.here and _may_have_files(query, found)
    scratch = Scratch.of(configured.identity, found) if has_files else None
    remote = others.logs if others else []
    answered = others.answered if others else []
    if others and query.follow:
        read.add(others.summary(query))
    known = {*(one.service for one in found), *RAY_SERVICES, *(node.name for node in answered)}
    print_entry = printer(out, known, as_json=as_json)

    def show(entry: Entry) -> None:
        read.shown += 1
        print_entry(entry)

    with ExitStack() as opened:
        files = opened.enter_context(scratch.reading(client, query)) if scratch else None
        if query.follow:
            live = Live([*logs, *remote], files, replace(query, read_at=read_at), remote=bool(remote))
            _follow(live, query, read, show, out, err)
        else:
            _history(logs, files, others, query, read, show)
            if query.filters and not read.shown:
                read.hints.append("No entry matches the options.")
            _tell(read, out, err)
    return read.shown > 0


def _history(
    logs: Sequence[ContainerLog],
    files: Iterator[Entry | Summary] | None,
    others: Elsewhere | None,
    query: Query,
    read: Read,
    show: Printer,
) -> None:
    streams = [log.entries(query) for log in logs]
    streams += [_entries(files, read)] if files is not None else []
    streams += others.entries(query) if others else []
    for entry in _last(by_time(streams), query.tail, read):
        show(entry)
    read.left_out += sum(log.left_out for log in logs)
    if others:
        read.add(others.summary(query))


def _follow(live: Live, query: Query, read: Read, show: Printer, out: Console, err: Console) -> None:
    told = False
    for batch in live.batches():
        entries = _entries(batch, read)
        for entry in entries if told else _last(entries, query.tail, read):
            show(entry)
        if not told:
            _tell(read, out, err)
            told = True
        out.file.flush()
    if not told:  # there is nothing to follow, and why is told all the same
        _tell(read, out, err)


def _entries(came: Iterable[Entry | Summary], read: Read) -> Iterator[Entry]:
    for one in came:
        if isinstance(one, Summary):
            read.add(one)
        else:
            yield one


def _last(entries: Iterable[Entry], lines: int | None, read: Read) -> Iterable[Entry]:
    if lines is None:
        return entries
    # Both of a service's logs have as many lines: Ray's files would else leave none of what the container says.
    tails = {True: Tail(lines), False: Tail(lines)}
    for entry in entries:
        tails[entry.source == CONTAINER].add(entry)
    read.left_out += sum(tail.left_out for tail in tails.values())
    return by_time(tail.entries() for tail in tails.values())


def _tell(read: Read, out: Console, err: Console) -> None:
    out.file.flush()  # both may go to one file
    for line in (" ".join(read.sentences()), *read.hints):
        err.print(Text(printable(line), style="dim"), soft_wrap=True)


def _may_have_files(query: Query, found: Sequence[Container]) -> bool:
    """Whether a wanted service works in the scratch folder."""
    if not query.services:
        return True
    works = {one.service for one in found if one.mounts.get(SCRATCH, {}).get("RW")}
    return bool(works.union(RAY_SERVICES).intersection(query.services))


def _ask(scope: Scope, query: Query, read: Read) -> Elsewhere | None:
    """What is read of other hosts; None if nothing is, or the head does not answer."""
    if not scope.asks(query):
        return None
    try:
        others = Elsewhere.ask(scope)
    except (WsError, OSError) as error:
        if not scope.here:
            raise
        if not scope.job:  # which was asked for and told already
            read.hints.append(f"{error} So no logs of other hosts are shown.")
        return None
    others.look(query)
    return others


def _refuse_services(configured: StackSettings, query: Query, found: Sequence[Container]) -> None:
    stack = configured.identity.stack
    if not found:
        raise WsError(f"stack {stack} has no containers. Start it with: ws up --stack {stack}")
    # A Ray node that was taken out of the stack file has left its files.
    known = {one.service for one in found}
    if unknown := [service for service in query.services if service not in known.union(RAY_SERVICES)]:
        raise WsError(f"stack {stack} has no service {', '.join(unknown)}. It has: {', '.join(sorted(known))}.")


def _refuse_nodes(scope: Scope, query: Query, others: Elsewhere | None, read: Read) -> None:
    elsewhere = [node.name for node in others.others] if others else []
    nodes = {*(one.node for one in scope.found), *RAY_SERVICES, *elsewhere}
    if unknown := [name for name in query.nodes if not filter_names(nodes, name)]:
        there = sorted([*(one.node for one in scope.found if one.service in RAY_SERVICES), *elsewhere])
        where = "" if elsewhere else " on this host"
        raise WsError(
            f"stack {scope.configured.identity.stack} has no node {', '.join(unknown)}{where}. "
            f"It has: {', '.join(there) or 'none'}. {' '.join(read.hints)}".rstrip()
        )
