"""The replacement of one Ray node: its stages, and the way back where one of them fails."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from build_report.units import whole_duration
from docker_api.api import DockerApi
from embedded_engine.changes import Change, Guard, Result
from stack.running_words import in_words, listed
from stack.running_work import Work
from verification.spec import VerificationSpec
from ws import changes
from ws.cluster import drain as drains
from ws.cluster import head as heads
from ws.cluster.access import Access
from ws.cluster.nodes import latest
from ws.cluster.ray_api import NoHeadError
from ws.consent import Consent, DeclinedError
from ws.cost import Cost
from ws.deploy import Session
from ws.errors import WsError, message
from ws.progress import progress, wait_until
from ws.rolling.plan import CANDIDATE, Role, Step
from ws.rolling.snapshot import Snapshot
from ws.rolling.turn import Unfinished
from ws.rolling.verify import problem_of
from ws.rolling.work import lasting, wait_for_its_end
from ws.tables import plain_table

HEAD_SECONDS = 120.0  # for a head, after Redis was replaced
JOIN_SECONDS = 300.0  # the head may move meanwhile, and a busy host is slow: a needless way back costs more
HEALTHY_SECONDS = 180.0  # for a container that is made again as it was
ENDED_BY_RAY = "Ray ended the node as soon as no task or actor was left on it, and with it what began in the drain"
STAGES = ("drained", "replaced", "joined", "verified")
DONE = ("replaced", "removed")  # outcomes


class NodeError(WsError):
    """A node was not replaced: why, and what became of it."""


class StillRunsError(WsError):
    """What began on a node while it was drained may not be ended: why, and how to go on."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all nodes of a run share."""

    session: Session
    cluster: Access
    spec: VerificationSpec | None  # how a node is verified; None: by its joining alone
    consent: Consent
    seconds: float  # for the work of a node to end
    revert: bool  # whether a node is made again as it was if its replacement fails
    change: Callable[[Step, Guard], Result]  # lets the engine make the change of a step
    whole: Callable[[], AbstractContextManager[None]] = nullcontext  # in which a node goes through its stages

    @property
    def others_may_lead(self) -> bool:
        """Whether another host may, so that the head can move."""
        membership = self.cluster.membership
        return bool(membership and not membership.static_head and set(membership.candidates) - {membership.host})

    @property
    def again(self) -> str:
        """The command that goes on."""
        return self.consent.command.with_option("").rstrip()


@dataclass
class Node:
    """One node on its way through the stages."""

    run: Run
    step: Step
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage that ended well
    outcome: str = "not reached"

    def __post_init__(self) -> None:
        membership = self.run.cluster.membership
        self.name = membership.node(self.step.service) if membership else self.step.service
        self._session, self._cluster, self._console = self.run.session, self.run.cluster, self.run.session.console
        self._unfinished = Unfinished(self._session.identity)
        self._container = self._session.identity.object_name(self.step.service)
        self._consent = replace(self.run.consent, drain=None, unchanged=f"{self.name} was left as it is")

    def replace(self) -> None:
        """Takes the node through its stages. Raises `NodeError`, after the way back."""
        api = DockerApi()
        before = Snapshot.take(api, self._container)
        try:
            self._wait_for_head()
            self._wait_for_work()
            self._tell_of_drain()
        except WsError as error:
            self.outcome = "left as it was"
            raise NodeError(str(error)) from error
        with self.run.whole(), self._told_if_interrupted():
            self._unfinished.write(self.step.service)
            try:
                self._stages()
            except StillRunsError as error:
                self.outcome = "draining"
                raise NodeError(str(error)) from error
            except Exception as error:
                why = message(error)
                if why is None:
                    self.outcome = "failed"
                    raise
                raise NodeError(f"{why}\n  {self._way_back(api, before)}.") from error
            self._unfinished.clear()
            self.outcome = "removed" if self.step.leaves else "replaced"

    @contextmanager
    def _told_if_interrupted(self) -> Iterator[None]:
        """Also on the way back."""
        try:
            yield
        except KeyboardInterrupt:
            self.outcome = "interrupted"
            text = f"Interrupted at {self.name}, which may be out of the cluster now. To go on: {self.run.again}"
            self._session.say(text, "yellow")
            raise

    # --- before anything changes ---

    def _wait_for_head(self) -> None:
        """Redis, and with it the head, may have been replaced just now."""
        if not self.step.there:  # it may be the head itself
            return

        wait_for_head(self._cluster, HEAD_SECONDS, self._console, "This node was left as it is")

    def _wait_for_work(self) -> None:
        change = self.step.change
        if change is None or not self.step.there:
            return
        with progress(self._console) as say:
            wait_for_its_end(lambda: self._ends(change), self.run.seconds, self._consent, say)

    def _ends(self, change: Change) -> Cost:
        return lasting(self._session.cost([change]))

    def _began_since(self, change: Change) -> Cost:
        """What the change ends and nobody was asked about, since it began after that."""
        return self._consent.unasked(self._ends(change))

    def _tell_of_drain(self) -> None:
        """By a person: it ends with the replacement, which lets the node in."""
        if self.step.leaves or self._unfinished.read() == self.step.service:
            return
        with self._cluster.answers():
            drained = self.name in self._cluster.lease.maintenance()
        if drained:
            self._session.say(f"  {self.name} was drained before; once replaced, it joins again", "yellow")

    # --- the stages ---

    def _stages(self) -> None:
        self._leave()
        self._change()
        if self.step.leaves:
            with self._cluster.answers():
                self._cluster.lease.forget(self.name)
        else:
            self._come_back()

    def _leave(self) -> None:
        """A worker is drained, a head moves to another host. A candidate has nothing to leave."""
        change = self.step.change
        if not self.step.there or change is None:
            return
        if self.step.role is Role.WORKER:
            self._drain(change)
            return
        self._consent.obtain(lambda: self._began_since(change))
        # The head may have moved here since the plan was made.
        if self.step.service == CANDIDATE and leads(self._cluster) and self.run.others_may_lead:
            with self._stage("drained"):
                heads.move(self._cluster, None, self._console)

    def _drain(self, change: Change) -> None:
        node = next((one for one in latest(self._cluster.ray.nodes()) if one.name == self.name and one.alive), None)
        if node is None:  # it is broken, or an interrupted run drained it
            return
        seconds = max(int(self.run.seconds), 1)  # with 0 the node may be gone before Ray is asked the second time
        seen: tuple[Work, ...] = ()  # what began meanwhile, as long as it was not asked about

        with self._stage("drained"), progress(self._console) as say:

            def look(text: str) -> None:
                nonlocal seen
                say(text)
                seen = self._began_since(change).works

            def before_end(left: float) -> None:
                nonlocal seen
                seen = ()
                self._wait_for_what_began(change, left, say)

            left = drains.vacate(self._cluster, node, seconds, look, before_end)
        if left:
            self._session.say(f"  {drains.ended_by_force(left, seconds)}", "yellow")
        if seen:
            self._session.say(f"  {ENDED_BY_RAY}: {in_words(seen)} ({'; '.join(listed(seen))})", "yellow")

    def _wait_for_what_began(self, change: Change, seconds: float, say: Callable[[str], None]) -> None:
        """In the drain: Ray gives the node no new work, but a program that runs there can still connect to it."""
        consent = replace(self._consent, unchanged=f"{self.name} still runs, and gets no new work")
        try:
            wait_for_its_end(lambda: self._began_since(change), seconds, consent, say)
        except DeclinedError as error:
            resume = f"ws node resume {self.name} --stack {self._session.identity.stack}"
            raise StillRunsError(f"{error}\n  Let it in again, which ends what runs there:  {resume}") from error

    def _change(self) -> None:
        """The engine replaces this one container, and waits until it is healthy."""
        if self.step.change is None:
            return
        with self._stage("replaced"):
            # On a single host, a job may have begun since.
            result = self.run.change(self.step, lambda change: self._consent.objection(self._ends(change)))
            if not result.ok:
                changes.show_failures(result, self._console)
                raise WsError(f"its container was not replaced: {changes.counts(result, planned=False)}")

    def _come_back(self) -> None:
        with self._stage("joined"), progress(self._console) as say:
            self._join(say)
        with self._stage("verified"):
            if self.run.spec and (problem := problem_of(self.run.spec, self.name, lambda _: None)):
                raise WsError(f"it does not pass its verification: {problem}")

    def _join(self, say: Callable[[str], None]) -> None:
        membership = self._cluster.membership
        if membership is None or self.step.service != CANDIDATE:
            drains.let_in(self._cluster, self.name, say, JOIN_SECONDS)
        elif not membership.static_head:
            heads.wait_for_candidate(self._cluster, membership.host, JOIN_SECONDS, say)

    @contextmanager
    def _stage(self, stage: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[stage] = time.monotonic() - began
        self._session.say(f"  {self.name}: {stage} after {self.seconds[stage]:.1f} s")

    # --- the way back ---

    def _way_back(self, api: DockerApi, before: Snapshot | None) -> str:
        """Makes the former container again, and lets the node in; says what came of it."""
        again = f"ws node resume {self.name} --stack {self._session.identity.stack}"
        if not self.run.revert:
            self.outcome = "failed, left so"
            return f"It was left so, because of --no-revert. If it is drained: {again}"
        if before is None:
            self.outcome = "failed"
            return "There was no container before, so there is none to go back to"
        replaced = not before.is_there(api)
        try:
            with progress(self._console) as say:
                before.restore(api, HEALTHY_SECONDS, say)
                self._join(say)
        except Exception as error:
            why = message(error)
            if why is None:
                raise
            self.outcome = "failed, not reverted"
            return f"It could not be made again as it was: {why}\n  Let it in once its container runs: {again}"
        self._unfinished.clear()
        self.outcome = "reverted" if replaced else "left as it was"
        return f"It runs as before again, image {before.image[:19]}" if replaced else "It was let in again as it was"


def wait_for_head(cluster: Access, seconds: float, console: Console, unchanged: str) -> None:
    """Waits until a head answers. Raises `WsError`, which begins with what was not changed."""

    def missing() -> str:
        try:
            cluster.ray.nodes()
        except NoHeadError as error:
            return str(error)
        return ""

    with progress(console) as say:
        if wait_until(missing, seconds, say):
            return
    stack = cluster.stack
    logs = f"ws head show -s {stack}, ws logs ray-head -s {stack}" if cluster.membership else f"ws logs -s {stack}"
    raise WsError(
        f"{unchanged}: no head of Ray answers after {seconds:.0f} s, and without one no node can be drained or "
        f"verified. {missing()}\n"
        f"  Why that is:  ws doctor -s {stack}, {logs}\n"
        f"  If the head needs what `up` would change:  ws up -s {stack} (replaces this host's nodes at once)"
    )


def leads(cluster: Access) -> bool:
    """Whether this host of several holds the lease."""
    leader = cluster.state().leader
    return bool(leader and cluster.membership and leader.host == cluster.membership.host)


def table(nodes: list[Node]) -> Table:
    """The nodes, what came of each, and how long each stage took."""
    shown = plain_table(("Node", "Result", *map(str.capitalize, STAGES), "In all"), right=(*STAGES, "In all"))
    for node in nodes:
        times = [f"{node.seconds[stage]:.0f} s" if stage in node.seconds else "" for stage in STAGES]
        total = whole_duration(sum(node.seconds.values())) if node.seconds else ""
        style = "green" if node.outcome in DONE else "yellow"
        shown.add_row(node.name, Text(node.outcome, style=style), *times, total)
    return shown
