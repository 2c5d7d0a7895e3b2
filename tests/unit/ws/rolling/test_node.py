"""One node on its way through the stages of its replacement, and the way back where one fails."""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from config.cluster import Membership
from config.cluster_file import parse
from embedded_engine.changes import CONTAINER, Action, Change, Guard, Result
from stack.identity import StackIdentity
from stack.running_work import Kind
from stack.running_work import Work as Running
from ws.cluster.ray_api import Work
from ws.consent import Command, Consent, DeclinedError
from ws.cost import Cost, End
from ws.errors import WsError
from ws.rolling import node as nodes
from ws.rolling.node import Node, NodeError, Run, table
from ws.rolling.plan import CANDIDATE, Role, Step
from ws.rolling.turn import Unfinished

IDENTITY = StackIdentity(project="cslr", stack="lab")
DRIVER = Running(kind=Kind.DRIVER, identifier="05000000", what="python train.py", node="ray-cpu")
HOSTS = {"lab": {"address": "10.0.0.1"}, "beta": {"address": "10.0.0.2"}}


class RayNode:
    name, alive, identifier, since = "lab-ray-cpu", True, "n1", 1


class World:
    """A host of several, whose parts write down what they are asked for, and fail where they shall."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.broken: dict[str, BaseException] = {}
        self.leads = False
        self.alive = True
        self.seconds = 0  # that the work of a drained node had
        self.there = False  # the former container, after it was replaced
        self.left = Work((), ())
        self.drained: set[str] = set()  # nodes that are to stay out
        self.works: tuple[Running, ...] = ()  # what the replacement would end
        self.ended_by_ray = False  # before the run would have ended the node
        self.begins_after = ""  # what was done before that work began
        self.output = io.StringIO()
        self.console = Console(file=self.output, width=200)
        self.identity = IDENTITY
        self.ray = self
        self.stack = "lab"
        cluster = parse({"name": "c", "hosts": HOSTS, "redis": {"host": "beta"}}, file="cluster.yaml", key="")
        self.membership = Membership(cluster=cluster, host="lab", file="cluster.yaml", key="")

    def do(self, what: str) -> None:
        self.did.append(what)
        if error := self.broken.get(what):
            raise error

    # Of the session and of the cluster.

    def say(self, text: str, _style: str = "") -> None:
        self.output.write(f"{text}\n")

    def cost(self, _changes: list[Change]) -> Cost:
        works = tuple(work for work in self.works if not self.begins_after or self.begins_after in self.did)
        return Cost(ends=(End(works=works, because="ray-cpu is replaced"),)) if works else Cost()

    def nodes(self) -> list[Any]:
        return [RayNode()] if self.alive else []

    @contextlib.contextmanager
    def answers(self) -> Iterator[None]:
        yield

    @property
    def lease(self) -> "World":
        return self

    def maintenance(self) -> set[str]:
        return self.drained

    def forget(self, name: str) -> None:
        self.do(f"forget {name}")

    # Of the run.

    def change(self, step: Step, _guard: Guard) -> Result:
        self.do(f"change {','.join(sorted(step.scope.only or ()))}")
        return Result(changes=[])

    def node(
        self,
        service: str = "ray-cpu",
        role: Role = Role.WORKER,
        *,
        revert: bool = True,
        seconds: float = 60,
        yes: bool = False,
        **step: Any,
    ) -> Node:
        change = Change(urn="u", type=CONTAINER, name=f"{service}-container", action=Action.REPLACE)
        run = Run(
            session=self, cluster=self, spec=object(), seconds=seconds, revert=revert, change=self.change,  # type: ignore[arg-type]
            consent=Consent(command=Command(words="ws up --rolling", stack="lab"), console=self.console, yes=yes),
        )  # fmt: skip
        return Node(run, Step(**{"service": service, "role": role, "change": change, "there": True, **step}))

    # Of the former container.

    def is_there(self, _api: object) -> bool:
        return self.there

    def restore(self, *_: object) -> None:
        self.do("restore")

    @property
    def image(self) -> str:
        return "sha256:0123456789abcdef"


@pytest.fixture
def world(monkeypatch, tmp_path) -> World:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    world = World()

    def vacate(
        _cluster: object,
        _node: object,
        seconds: int,
        say: Callable[[str], None],
        before_end: Callable[[float], None],
    ) -> Work:
        world.do("drain")
        world.seconds = seconds
        say("waiting for 1 task")
        if not world.ended_by_ray:
            before_end(0.0)
        world.do("end")
        return world.left

    def problem(*_: object) -> str:
        world.do("verify")
        return ""

    monkeypatch.setattr("ws.consent.SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(nodes, "DockerApi", lambda: None)
    monkeypatch.setattr("ws.rolling.snapshot.Snapshot.take", lambda _api, _name: world)
    monkeypatch.setattr("ws.cluster.drain.vacate", vacate)
    monkeypatch.setattr("ws.cluster.drain.let_in", lambda *_: world.do("let in"))
    monkeypatch.setattr("ws.cluster.head.move", lambda *_: world.do("move head"))
    monkeypatch.setattr("ws.cluster.head.wait_for_candidate", lambda *_: world.do("candidate"))
    monkeypatch.setattr(nodes, "problem_of", problem)
    monkeypatch.setattr(nodes, "leads", lambda _cluster: world.leads)
    return world


class TestStages:
    def test_of_a_worker(self, world):
        node = world.node()
        node.replace()
        assert world.did == ["drain", "end", "change u", "let in", "verify"]
        assert (node.name, node.outcome, list(node.seconds)) == ("lab-ray-cpu", "replaced", list(nodes.STAGES))

    def test_of_one_that_ray_does_not_know(self, world):
        world.alive = False
        world.node().replace()
        assert world.did == ["change u", "let in", "verify"]

    def test_of_one_that_an_interrupted_run_had_replaced(self, world):
        world.node(change=None).replace()
        assert world.did == ["let in", "verify"]

    def test_of_the_head_of_several_hosts(self, world):
        world.leads = True
        world.node(CANDIDATE, Role.HEAD).replace()
        assert world.did == ["move head", "change u", "candidate", "verify"]

    def test_of_a_candidate(self, world):
        world.node(CANDIDATE, Role.CANDIDATE).replace()
        assert world.did == ["change u", "candidate", "verify"]

    def test_of_a_candidate_that_was_elected_since_the_plan_was_made(self, world):
        world.leads = True
        world.node(CANDIDATE, Role.CANDIDATE).replace()
        assert world.did[0] == "move head"

    def test_of_a_head_that_no_other_host_may_follow(self, world, monkeypatch):
        world.leads = True
        monkeypatch.setattr(Run, "others_may_lead", False)
        world.node(CANDIDATE, Role.HEAD).replace()
        assert world.did == ["change u", "candidate", "verify"]

    def test_of_the_head_of_a_single_host(self, world):
        world.membership = None
        node = world.node("ray-cpu", Role.HEAD)
        node.replace()
        assert (node.name, world.did) == ("ray-cpu", ["change u", "let in", "verify"])

    def test_of_one_that_does_not_run_needs_no_head_which_it_may_be_itself(self, world, monkeypatch):
        monkeypatch.setattr(nodes, "HEAD_SECONDS", 0.0)
        world.node(there=False).replace()
        assert world.did == ["change u", "let in", "verify"]

    def test_of_one_that_runs_waits_for_a_head(self, world, monkeypatch):
        monkeypatch.setattr(nodes, "HEAD_SECONDS", 0.0)
        with pytest.raises(NodeError, match="This node was left as it is: no head of Ray answers after 0 s"):
            world.node().replace()
        assert world.did == []

    def test_of_one_that_leaves(self, world):
        change = Change(urn="u", type=CONTAINER, name="ray-cpu-container", action=Action.DELETE)
        node = world.node(change=change)
        node.replace()
        assert (world.did, node.outcome) == (["drain", "end", "change u", "forget lab-ray-cpu"], "removed")

    def test_work_that_did_not_end_by_itself_is_told(self, world):
        world.left = Work(("train",), ())
        world.node().replace()
        assert "Not ended by itself within 60 s, and ended now: 1 task, 0 actors (train)" in world.output.getvalue()

    def test_without_time_for_work_the_drain_is_still_one(self, world):
        world.node(seconds=0).replace()
        assert world.seconds == 1, "a drain of 0 s may have ended the node before it is asked again"

    def test_one_that_a_person_drained_joins_again_and_that_is_told(self, world):
        world.drained = {"lab-ray-cpu"}
        world.node().replace()
        assert "lab-ray-cpu was drained before; once replaced, it joins again" in world.output.getvalue()

    def test_one_that_an_interrupted_run_drained_is_nobody_elses(self, world):
        world.drained = {"lab-ray-cpu"}
        Unfinished(IDENTITY).write("ray-cpu")
        world.node().replace()
        assert "was drained before" not in world.output.getvalue()


class TestWayBack:
    @pytest.mark.parametrize("stage", ["change u", "let in", "verify"])
    def test_a_node_whose_replacement_fails_is_made_again_as_it_was(self, world, stage):
        world.broken = {stage: WsError("no such device")}
        node = world.node()
        if stage == "let in":  # the way back does the same
            world.restore = lambda *_: (world.do("restore"), world.broken.clear())
        with pytest.raises(NodeError, match=r"no such device\n  It runs as before again, image sha256:0123456789ab"):
            node.replace()
        assert world.did[-2:] == ["restore", "let in"]
        assert (node.outcome, Unfinished(IDENTITY).read()) == ("reverted", "")

    def test_one_that_could_not_be_drained_is_let_in_again(self, world):
        world.broken, world.there = {"drain": WsError("Ray refuses")}, True
        node = world.node()
        with pytest.raises(NodeError, match=r"Ray refuses\n  It was let in again as it was"):
            node.replace()
        assert (world.did, node.outcome) == (["drain", "restore", "let in"], "left as it was")

    def test_none_where_the_user_wants_none(self, world):
        world.broken = {"verify": WsError("no task ran")}
        with pytest.raises(NodeError, match=r"--no-revert.*ws node resume lab-ray-cpu --stack lab"):
            world.node(revert=False).replace()
        assert "restore" not in world.did
        assert Unfinished(IDENTITY).read() == "ray-cpu", "the next run goes on there"

    def test_that_fails_says_what_to_do(self, world):
        world.broken = {"change u": WsError("no such device"), "restore": WsError("it is not healthy")}
        with pytest.raises(NodeError, match=r"it is not healthy\n  Let it in .*: ws node resume lab-ray-cpu"):
            world.node().replace()
        assert Unfinished(IDENTITY).read() == "ray-cpu"

    def test_that_is_interrupted_says_how_to_go_on(self, world):
        world.broken = {"verify": WsError("no task ran"), "restore": KeyboardInterrupt()}
        node = world.node()
        with pytest.raises(KeyboardInterrupt):
            node.replace()
        assert (node.outcome, Unfinished(IDENTITY).read()) == ("interrupted", "ray-cpu")
        assert "To go on: ws up --rolling -s lab" in world.output.getvalue()

    def test_a_defect_of_this_program_is_not_hidden(self, world):
        world.broken = {"verify": KeyError("x")}
        with pytest.raises(KeyError):
            world.node().replace()


class TestWork:
    def test_without_consent_to_end_it_nothing_of_the_node_is_touched(self, world, monkeypatch):
        def declined(*_: object) -> None:
            raise DeclinedError("lab-ray-cpu was left as it is: 1 running job would end")

        monkeypatch.setattr(nodes, "wait_for_its_end", declined)
        node = world.node()
        with pytest.raises(NodeError, match="was left as it is"):
            node.replace()
        assert (world.did, node.outcome, Unfinished(IDENTITY).read()) == ([], "left as it was", "")

    def test_that_began_in_the_drain_is_not_ended_without_consent(self, world):
        world.works, world.begins_after = (DRIVER,), "drain"
        node = world.node()
        said = "lab-ray-cpu still runs, and gets no new work: 1 driver would end(.|\n)*--yes\n.*ws node resume"
        with pytest.raises(NodeError, match=said):
            node.replace()
        assert (world.did, node.outcome) == (["drain"], "draining"), "the way back would end it as well"
        assert Unfinished(IDENTITY).read() == "ray-cpu", "the next run goes on there"

    def test_that_began_in_the_drain_ends_with_consent(self, world):
        world.works, world.begins_after = (DRIVER,), "drain"
        world.node(yes=True).replace()
        assert world.did[:3] == ["drain", "end", "change u"]
        assert "1 driver would end: ray-cpu is replaced" in world.output.getvalue()

    def test_that_began_in_the_drain_and_ended_with_rays_own_end_is_told(self, world):
        world.works, world.begins_after, world.ended_by_ray = (DRIVER,), "drain", True
        world.node().replace()
        assert "and with it what began in the drain: 1 driver (" in world.output.getvalue()

    def test_that_was_agreed_to_before_the_drain_is_not_asked_about_again(self, world):
        world.works = (DRIVER,)
        node = world.node(seconds=0)
        node._consent.agreed.add((DRIVER.kind, DRIVER.identifier))
        node.replace()
        assert world.did[:2] == ["drain", "end"]

    def test_that_began_since_the_question_keeps_the_head_where_it_is(self, world, monkeypatch):
        world.leads = world.there = True
        monkeypatch.setattr(nodes, "wait_for_its_end", lambda *_: setattr(world, "works", (DRIVER,)))
        node = world.node(CANDIDATE, Role.HEAD)
        with pytest.raises(NodeError, match="lab-ray-head was left as it is: 1 driver would end"):
            node.replace()
        assert (world.did, node.outcome) == (["restore", "candidate"], "left as it was")


def test_an_interrupted_node_is_found_by_the_next_run(world):
    world.broken = {"change u": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        world.node().replace()
    assert Unfinished(IDENTITY).read() == "ray-cpu"
    assert "To go on: ws up --rolling -s lab" in world.output.getvalue()


def test_an_interrupt_that_waits_for_the_node_comes_after_it(world):
    @contextlib.contextmanager
    def whole() -> Iterator[None]:
        yield
        raise KeyboardInterrupt

    node = world.node()
    node.run = replace(node.run, whole=whole)
    with pytest.raises(KeyboardInterrupt):
        node.replace()
    assert (node.outcome, Unfinished(IDENTITY).read()) == ("replaced", "")
    assert "may be out of the cluster" not in world.output.getvalue()


def test_the_table_says_what_came_of_each(world):
    done, failed = world.node(), world.node("ray-gpu")
    done.replace()
    world.broken = {"change u": WsError("x")}
    with pytest.raises(NodeError):
        failed.replace()
    world.console.print(table([done, failed, world.node(CANDIDATE, Role.HEAD)]))
    shown = world.output.getvalue()
    assert [word in shown for word in ("replaced", "reverted", "not reached")] == [True] * 3
