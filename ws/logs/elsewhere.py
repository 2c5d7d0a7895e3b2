"""Ray's log files on the other hosts of a cluster: which nodes are asked, and what is said of those that do not answer.

Every node's agent reads the files of its current session for the head's dashboard, which this host's gateway reaches.
Docker's logs and files of nodes that do not run are only read on their host.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts.ray_nodes import RayNode
from ws.cluster.access import access
from ws.cluster.ray_api import RayApi, counted
from ws.errors import WsError
from ws.logs.containers import Container
from ws.logs.entry import Entry
from ws.logs.files import NO_LOGS
from ws.logs.jobs import JobNames
from ws.logs.kinds import OWN
from ws.logs.query import Query
from ws.logs.ray_files import SCRATCH, Summary
from ws.logs.remote_log import MOST_LINES, RemoteFile, RemoteLog
from ws.rolling.ssh import Remote
from ws.stack_settings import StackSettings

ALL = "all"
AT_ONCE = 8  # requests to the dashboard
MOST_FILES = 400  # of a node
MOST_FAILURES = 8  # of a node, before its other files are left out
MOST_FOLLOWED = 40  # of Ray's 100 requests at a time to the State API


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Whose logs of which hosts are wanted."""

    configured: StackSettings
    hosts: tuple[str, ...]  # `all` for every one; empty: as the other options need it
    found: Sequence[Container]  # on this host
    job: JobNames | None = None

    @property
    def here(self) -> bool:
        """Whether this host's logs are wanted."""
        return self.names(self.own)

    @property
    def own(self) -> str:
        """This host's name in its cluster; empty without one."""
        return self.configured.membership.host if self.configured.membership else ""

    def asks(self, query: Query) -> bool:
        """Whether the head has to be asked for nodes on other hosts."""
        several = self.configured.membership is not None
        return bool(set(self.hosts) - {self.own} or self.job or (query.nodes and several))

    def takes(self, node: RayNode, query: Query) -> bool:
        """Whether a node on another host is wanted."""
        by_host = self.names(node.host) if self.hosts else bool(query.nodes or self.job)
        return by_host and query.takes_node(service_of(node), node.name)

    def names(self, host: str) -> bool:
        """Whether the options leave a host in; without any they leave in all."""
        return not self.hosts or bool({ALL, host}.intersection(self.hosts))

    def is_here(self, node: RayNode) -> bool:
        """Whether a node is one of this host's."""
        return node.name in {one.node for one in self.found} or bool(self.own and node.host == self.own)

    def command(self, host: str, *options: str) -> str:
        """What to type to run `ws logs` on another host."""
        membership = self.configured.membership
        if membership and host in membership.cluster.hosts:
            return Remote.of(host, membership.cluster.hosts[host]).for_people("logs", *options)
        return f"`{' '.join(('ws', 'logs', *options))}` there"

    def host_at(self, address: str) -> str:
        """The name of the host with an address, or the address."""
        peers = self.configured.membership.peers if self.configured.membership else {}
        return next((name for name, there in peers.items() if there == address), address)


@dataclass(kw_only=True)
class Elsewhere:
    """What is read of other hosts."""

    scope: Scope
    ray: RayApi
    nodes: tuple[RayNode, ...]  # all that Ray knows
    zone: tzinfo
    logs: list[RemoteLog] = field(default_factory=list)
    answered: list[RayNode] = field(default_factory=list)
    unanswered: set[str] = field(default_factory=set)  # addresses
    found: set[tuple[str, str]] = field(default_factory=set)  # address and name of each file
    read: dict[str, dict[str, int]] = field(default_factory=dict)  # as in a summary, with one session
    problems: list[str] = field(default_factory=list)

    @classmethod
    def ask(cls, scope: Scope) -> "Elsewhere":
        """The cluster's nodes, as its head knows them. Raises `WsError` if there is no head."""
        ray = access(scope.configured).ray
        return cls(scope=scope, ray=ray, nodes=tuple(ray.nodes()), zone=_zone(scope.found))

    def look(self, query: Query) -> None:
        """Finds the wanted files. Raises `WsError` for a host that is not known."""
        self._refuse_unknown_hosts()
        if query.follow and self.scope.job:
            self._follow_driver(query, self.scope.job)
        else:
            self._list(query)

    @property
    def others(self) -> list[RayNode]:
        """The living nodes on other hosts."""
        return [node for node in self.nodes if node.alive and not self.scope.is_here(node)]

    @property
    def own_addresses(self) -> set[str]:
        """The addresses of this host's nodes, now and before."""
        return {node.address for node in self.nodes if self.scope.is_here(node)}

    def read_at(self, query: Query) -> tuple[str, ...]:
        """The addresses of nodes whose workers' files are read: a driver's log need not repeat them."""
        here = [node for node in self.nodes if self.scope.here and self.scope.is_here(node)]
        own = {node.address for node in here if query.takes_node(service_of(node), node.name)}
        if query.follow:
            return tuple(own)  # of another host's driver, in whose log the others' lines are read
        return (OWN, *own, *(node.address for node in self.answered))

    def entries(self, query: Query) -> Iterator[Iterator[Entry]]:
        """The wanted entries of each file."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from map(iter, list(pool.map(partial(self._entries_of, query), self.logs)))

    def _entries_of(self, query: Query, log: RemoteLog) -> list[Entry]:
        # Each file of a host that was lost meanwhile would be waited for.
        if sum(bool(other.problem) for other in self.logs if other.node == log.node) < MOST_FAILURES:
            return log.read(query)
        log.problem = "not tried"
        return []

    def summary(self, query: Query) -> Summary:
        """What was read, and what could not be."""
        problems = [*self.problems, *self._unread(), *self._driver_problem(query)]
        if cut := [log.file.source for log in self.logs if log.cut]:
            problems.append(f"Of {', '.join(cut)} only the last {MOST_LINES:,} lines were read; on their host are all.")
        return Summary(read=self.read, aside=sum(log.aside for log in self.logs), problems=problems)

    def _unread(self) -> Iterator[str]:
        for name in self.read:
            if failed := [log for log in self.logs if log.node == name and log.problem]:
                number = counted(len(failed), "file")
                yield f"Could not read {number} of {name}: {failed[0].file.source}: {failed[0].problem}"

    def _list(self, query: Query) -> None:
        wanted = [node for node in self.others if self.scope.takes(node, query)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for node, files in zip(wanted, pool.map(lambda node: self._files(node, query), wanted), strict=True):
                self._add(node, files, query)
        if query.follow and len(self.logs) > MOST_FOLLOWED:
            self.problems.append(f"Follows {MOST_FOLLOWED} of {len(self.logs)} files of other hosts; --source selects.")
            self.logs = self.logs[:MOST_FOLLOWED]
        self._say_what_hosts_keep()

    def _add(self, node: RayNode, files: list[RemoteFile] | str, query: Query) -> None:
        if isinstance(files, str):
            job = self.scope.job
            ran_driver = job is not None and job.driver is not None and job.driver.address == node.address
            self.problems.append(
                f"Node {node.name}{', where its driver ran,' if ran_driver else ''} was not read, since its agent does "
                f"not answer the head ({files.rstrip('.')}). To read its logs there: "
                + self.scope.command(node.host, *(("--job", job.names[0]) if job else ()))
            )
            self.unanswered.add(node.address)
            return
        self.answered.append(node)
        if len(files) > MOST_FILES:
            self.problems.append(
                f"Left out {len(files) - MOST_FILES} of {len(files)} files of {node.name}; --source selects."
            )
            files = files[:MOST_FILES]
        self.read[node.name] = {"": len(files)}
        self.found |= {(node.address, file.source) for file in files}
        for file in files:
            find = partial(self._alive, node.name) if query.follow else partial(_known, node)
            self._read(file, find, node=node.name)

    def _read(self, file: RemoteFile, find: Callable[[], RayNode | None], *, node: str = "") -> None:
        driver = self.scope.job.driver if self.scope.job else None
        undated = (driver.ended if driver else None) or time.time()
        self.logs.append(RemoteLog(ray=self.ray, file=file, node=node, find=find, zone=self.zone, undated=undated))

    def _files(self, node: RayNode, query: Query) -> list[RemoteFile] | str:
        """The wanted files of a node, those that matter most first, or why it does not answer."""
        try:
            names = self.ray.log_files(node)
        except (WsError, OSError) as error:
            return str(error)
        found = (RemoteFile.of(name) for name in names if not NO_LOGS.intersection(name.split("/")[:-1]))
        return sorted(
            (
                file
                for file in found
                if file
                and query.takes(service_of(node), node.name, file.source)
                and not (query.jobs and file.kind.of_one_job and file.job and file.job not in query.jobs)
            ),
            key=lambda file: file.rank,
        )

    def _alive(self, name: str) -> RayNode | None:
        return next((node for node in self.ray.nodes() if node.alive and node.name == name), None)

    def _follow_driver(self, query: Query, job: JobNames) -> None:
        """Of a followed job the driver's log is read, which repeats what tasks print: one connection for all."""
        submission = job.driver.submission if job.driver else job.names[0]
        file = RemoteFile.of(driver_log(submission))
        here = job.driver and job.driver.address in self.own_addresses
        if submission and file and not here and query.takes_source(file.source):
            self._read(file, lambda: self._driver_node(submission, query))

    def _driver_node(self, submission: str, query: Query) -> RayNode | None:
        """The node that has the log of a submission's driver; None as long as no wanted one on another host has."""
        address = next((job.address for job in self.ray.jobs() if job.submission == submission), "")
        here = [node for node in self.ray.nodes() if node.alive and node.address == address]
        return next(
            (
                node
                for node in here
                if not self.scope.is_here(node)
                and self.scope.takes(node, query)
                and driver_log(submission) in self.ray.log_files(node)
            ),
            None,
        )

    def _driver_problem(self, query: Query) -> Iterator[str]:
        """Says where the driver's log is, if it is on another host and was not read."""
        driver = self.scope.job.driver if self.scope.job else None
        source = driver_log(driver.submission) if driver and driver.submission else ""
        if driver is None or not source or query.follow or not query.takes_source(source):
            return
        # The head has a file of this name as well, with what it said before the driver began.
        if driver.address in ("", *self.own_addresses, *self.unanswered) or (driver.address, source) in self.found:
            return
        host = self.scope.host_at(driver.address)
        there = [node for node in self.others if node.address == driver.address]
        wanted = any(self.scope.takes(node, query) for node in there) if there else self.scope.names(host)
        if not wanted:
            return
        why = "whose Ray nodes did not give its log" if there else "which has no running Ray node"
        command = self.scope.command(host, "--job", driver.submission)
        yield f"Its driver ran on host {host}, {why}. To read it there: {command}"

    def _say_what_hosts_keep(self) -> None:
        """Of hosts that the user named."""
        membership, scope = self.scope.configured.membership, self.scope
        if not scope.hosts or membership is None:
            return
        wanted = [name for name in membership.peers if ALL in scope.hosts or name in scope.hosts]
        alive = {node.host for node in self.others}
        self.problems += [
            f"Host {name} has no running Ray node. To read its logs there: {scope.command(name)}"
            for name in wanted
            if name not in alive
        ]
        if shown := next((name for name in wanted if name in alive), None):
            self.problems.append(f"Docker's logs of other hosts are read there: {scope.command(shown)}")

    def _refuse_unknown_hosts(self) -> None:
        membership = self.scope.configured.membership
        known = {node.host for node in self.nodes if node.host} | set(membership.cluster.hosts if membership else ())
        if unknown := [name for name in self.scope.hosts if name not in known | {ALL}]:
            raise WsError(
                f"the cluster has no host {', '.join(unknown)}. It has: {', '.join(sorted(known)) or 'none'}."
            )


def service_of(node: RayNode) -> str:
    """The name of a node's service on its host."""
    return node.name.removeprefix(f"{node.host}-")


def _known(node: RayNode) -> RayNode:
    return node


def driver_log(submission: str) -> str:
    """The name of the file with the output of a submitted job's driver."""
    return f"job-driver-{submission}.log"


def _zone(found: Sequence[Container]) -> tzinfo:
    """The time zone of Ray's containers, which is taken to be the same on all hosts."""
    name = next((one.zone for one in found if SCRATCH in one.mounts and one.zone), "")
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC
