"""Runs a rolling replacement on this host: what is no node first, then the nodes of the plan, then a whole `ws up`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from embedded_engine.changes import Action, Change, Guard, Result
from stack import running_work
from stack.advertised_facts import versions as configured_versions
from stack.running_work import RAY_NODES, RunningWork
from verification.spec import VerificationSpec
from ws import changes as shown_changes
from ws.cluster.access import Access, access
from ws.consent import Consent, DeclinedError
from ws.containers import containers
from ws.deploy import VERIFICATION, Session
from ws.engines import Choice
from ws.errors import WsError
from ws.history.recording import Recording
from ws.rolling import versions
from ws.rolling.node import DONE, Node, NodeError, Run, leads, table, wait_for_head
from ws.rolling.plan import CANDIDATE, Place, Plan, Role, Step, plan, service_of
from ws.rolling.turn import Unfinished, turn_in_cluster
from ws.rolling.verify import planned_spec

EARLY_SECONDS = 30.0  # for a head before anything was changed: it may be moving just now
DRAIN_SECONDS = 600.0  # for the work of a node to end, unless the user says otherwise
NO_MORE = "Nothing more was changed"
OF_ONE_HOST = (
    "It leads this single host, so all of Ray restarts with it: jobs, drivers, actors, Ray Client sessions. They are "
    "waited for; what has not ended then ends with consent only"
)
MOVES = "It leads, so another host takes over first. Ray Client sessions end; jobs, tasks and actors continue"
STAYS = (
    "It leads, and no other host may, so the cluster has no head while it is replaced. Ray Client sessions end; jobs, "
    "tasks and actors continue, and new ones wait"
)


@dataclass(kw_only=True)
class Rolling:
    """One run on one host."""

    session: Session
    choice: Choice
    consent: Consent  # its time to drain is that of each node
    revert: bool = True
    whole: Callable[[], AbstractContextManager[None]] = nullcontext  # what must not end in its middle
    changes: list[Change] = field(default_factory=list)  # of all parts of the run
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def stack(self) -> str:
        """The name of the stack."""
        return self.session.identity.stack

    def run(self, recording: Recording) -> None:
        """Replaces what has changed. Raises `WsError` where that is refused, or where a node fails."""
        if self.session.changes_over(self.choice):
            raise WsError(
                f"Stack {self.stack} was made by the {self.session.maker} engine, and the {self.choice.name} engine "
                "recreates all its containers at once. Nothing was changed.\n"
                f"  Keep the engine: ws up --rolling --stack {self.stack} --engine {self.session.maker}"
            )
        try:
            self._refuse_configured_versions()
            planned, spec = self._planned()
            if planned.steps:
                cluster = access(self.session.stack)
                with turn_in_cluster(cluster):
                    self._roll(planned, spec, cluster)
            # What is left, and the verification of the stack.
            consent = replace(self.consent, unchanged=NO_MORE) if planned.steps else self.consent
            try:
                self.session.report(self._add(self.session.up(self.choice, consent)))
            except DeclinedError as error:
                if not planned.steps:
                    raise
                # Not as one that changed nothing, of which the history keeps no record.
                raise WsError(f"The nodes were replaced, but not the rest: {error}") from error
        finally:
            recording.result = Result(changes=self.changes, outputs=self.outputs)

    def _planned(self) -> tuple[Plan, VerificationSpec | None]:
        """The plan for what differs now, and how a node is verified."""
        previewed = self.session.run(self.choice, lambda engine: engine.preview(), self._previewed_with())
        if previewed.failed:
            shown_changes.show_failures(previewed, self.session.console)
            raise WsError(f"The preview failed. {NO_MORE}.")
        running = running_work.look(self.session.identity)
        place = place_of(running, self._leads() or running.head, Unfinished(self.session.identity).read())
        last = self.session.last_verification
        spec = planned_spec(previewed.changes, VERIFICATION) or (last.spec if last else None)
        return plan(previewed.changes, place, last=VERIFICATION), spec

    def _previewed_with(self) -> Mapping[str, object] | None:
        """Config for the preview: nodes that were made again as they were are replaced in their turn."""
        left = self.session.leftovers(self.choice)
        nodes = [one for one in left if service_of(one) in RAY_NODES]
        self.session.clear_away([one for one in left if one not in nodes], self.consent)
        return self.session.changing_over if nodes else None

    def _leads(self) -> str:
        """The service that leads on this host of several, by the lease: a busy dashboard may not answer."""
        cluster = access(self.session.stack) if self.session.stack.membership else None
        return CANDIDATE if cluster and leads(cluster) else ""

    def _roll(self, planned: Plan, spec: VerificationSpec | None, cluster: Access) -> None:
        run = Run(
            session=self.session,
            cluster=cluster,
            spec=spec,
            consent=self.consent,
            seconds=DRAIN_SECONDS if self.consent.drain is None else self.consent.drain,
            revert=self.revert,
            change=self._change,
            whole=self.whole,
        )
        self._show(planned, run)
        if any(step.there for step in planned.steps):
            wait_for_head(cluster, EARLY_SECONDS, self.session.console, "Nothing was changed")
        if planned.before:
            self.session.report(self._add(self.session.up(self.choice, self.consent, planned.first)))
            self.session.rebuild = False  # it has been done
            planned, spec = self._planned()  # images that were built now have their IDs
            # A Redis that was replaced has ended the connection to it.
            run = replace(run, spec=spec, cluster=access(self.session.stack))
        if spec:
            self._refuse_versions_of_images(planned, spec)
        nodes = [Node(run, step) for step in planned.steps]
        try:
            for number, node in enumerate(nodes, 1):
                self.session.say(f"Node {number} of {len(nodes)}: {node.name}", "bold")
                node.replace()
        except NodeError as error:
            done = ", ".join(node.name for node in nodes if node.outcome in DONE) or "none"
            raise WsError(
                f"Stopped at {node.name}, node {number} of {len(nodes)}: {error}\n"
                f"  Replaced before, and stays so: {done}. To go on: {run.again}"
            ) from error
        finally:
            self.session.console.print(table(nodes))

    def _show(self, planned: Plan, run: Run) -> None:
        """What will happen, in its order, and what the head takes with it."""
        if planned.before:
            names = ", ".join(change.name for change in planned.before)
            self.session.say(f"First, as `ws up` does it: {names}", "bold")
        for number, step in enumerate(planned.steps, 1):
            self.session.say(f"{number}. {step}", "bold")
            if step.role is Role.HEAD:
                several = MOVES if run.others_may_lead else STAYS
                self.session.say(f"   {several if run.cluster.membership else OF_ONE_HOST}", "yellow")

    # --- versions ---

    def _refuse_configured_versions(self) -> None:
        """Before anything is built: by what the stack file says, if that is enough to know it."""
        then = configured_versions(self.session.stack.platform)
        for name in self._running_nodes().values():
            self._refuse(versions.versions_in(name), {key: then[key] for key in ("ray", "python")})

    def _refuse_versions_of_images(self, planned: Plan, spec: VerificationSpec) -> None:
        """Before the first node: by what is in the images."""
        for step, name in ((step, self._running_nodes().get(step.service)) for step in planned.steps):
            if name and (image := _new_image(step)):
                self._refuse(versions.versions_in(name), versions.versions_of(image, spec))

    def _refuse(self, now: dict[str, str], then: dict[str, str]) -> None:
        versions.refuse(versions.differences(now, then), self.stack, self.session.stack.membership)

    def _running_nodes(self) -> dict[str, str]:
        """Service → container of each node that runs."""
        found = containers(self.session.identity)
        return {one.service: one.name for one in found if one.service in RAY_NODES and one.state == "running"}

    # --- results ---

    def _change(self, step: Step, guard: Guard) -> Result:
        left = [one for one in self.session.leftovers(self.choice) if service_of(one) == step.service]
        self.session.clear_away(left, self.consent)
        result = self._add(self.session.run(self.choice, lambda engine: engine.up(step.scope), guard=guard))
        # Pulumi verifies the stack after each node, though out of scope, and with the expectations of before the
        # change: it fails by that alone. The node has checks of its own, and the stack is verified again at the end.
        return replace(result, changes=[change for change in result.changes if change.name != VERIFICATION])

    def _add(self, result: Result) -> Result:
        """Adds what a part of the run did, if anything, in place of what earlier parts said of the same resource."""
        made = {change.urn for change in result.changes if change.action is not Action.SAME or change.error}
        known = {change.urn for change in self.changes} - made
        self.changes = [change for change in self.changes if change.urn in known]
        self.changes += [change for change in result.changes if change.urn not in known]
        self.outputs = result.outputs or self.outputs
        return result


def place_of(running: RunningWork, leads: str, unfinished: str) -> Place:
    """The host, as far as it decides about the order."""
    return Place(
        running={one.service for one in running.services if one.running},
        leads=leads,
        busy={work.node for work in running.works if not work.part},
        unfinished=unfinished,
    )


def _new_image(step: Step) -> str:
    """The ID of the image that a node gets, if it is another one and known."""
    change = step.change
    image = str(change.after.get("image", "")) if change and any("image" in one for one in change.reasons) else ""
    return image if image.startswith("sha256:") else ""
