"""A rolling replacement of a host as a whole: its parts in order, what is refused, and where it stopped."""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from embedded_engine.changes import CONTAINER, EVERYTHING, IMAGE, Action, Change, Result, Scope, unguarded
from stack import running_work
from stack.running_work import Deployed, Kind, RunningWork, Work
from testing.stack_files import configured
from ws.cluster.ray_api import NoHeadError
from ws.consent import Command, Consent, DeclinedError
from ws.containers import ContainerState
from ws.deploy import Session
from ws.engine_names import EngineName
from ws.engines import Choice
from ws.errors import WsError
from ws.history.recording import Recording
from ws.rolling import run as runs
from ws.rolling.node import NodeError
from ws.rolling.run import Rolling, place_of


def change(name: str, action: Action = Action.REPLACE, kind: str = CONTAINER, **fields: Any) -> Change:
    return Change(urn=f"urn::{name}", type=kind, name=name, action=action, **fields)


NODE = change("ray-gpu-container")
IMAGE_CHANGE = change("ray-gpu-image", Action.CREATE, IMAGE)


class World:
    """A session whose engine previews what it is told, and writes down what is run."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.previews: list[list[Change]] = [[NODE]]
        self.broken = ""  # the service whose node fails
        self.no_head = False
        self.left: list[Change] = []  # containers that the engine's state does not know
        self.overrides: list[object] = []  # of the config, for each run of the engine
        self.declines = False  # whether the user declines what comes after the nodes
        self.now = {"ray": "2.60.0", "python": "3.14.1"}
        self.then = dict(self.now)
        self.images = dict(self.now)
        self.clusters: list[Any] = []  # access to the cluster, as it was made, and with which a node was replaced
        self.output = io.StringIO()
        self.session = Session(configured(stack="lab"), Console(file=self.output, width=200))
        self.consent = Consent(command=Command(words="ws up --rolling", stack="lab"), console=self.session.console)

    def run(self) -> Recording:
        recording = Recording()
        choice = Choice(name=EngineName.EMBEDDED)
        try:
            Rolling(session=self.session, choice=choice, consent=self.consent).run(recording)
        finally:
            self.recorded = recording.result
        return recording

    # Of the session.

    def up(self, _choice: Choice, consent: Consent, scope: Scope = EVERYTHING) -> Result:
        if self.declines:
            raise DeclinedError(f"{consent.unchanged}.")
        self.did.append("whole" if scope.whole else f"without {','.join(sorted(scope.without))}")
        return Result(changes=[change("verification", Action.UPDATE)], outputs={"urls": {}})

    def engine(self, _choice: Choice, action: Callable[[Any], Result], overrides: object = None, **_: object) -> Result:
        self.overrides.append(overrides)
        return action(Engine(self))

    def clear_away(self, left: list[Change], _consent: Consent) -> None:
        self.did += [f"removed {one.name}" for one in left]
        self.left = [one for one in self.left if one not in left]

    # Of the cluster.

    def nodes(self) -> list[Any]:
        if self.no_head:
            raise NoHeadError("The dashboard at http://127.0.0.1:8265 does not answer.")
        return []

    # Of the nodes.

    def replace(self, node: Any) -> None:
        self.did.append(f"node {node.name}")
        self.clusters.append(node.run.cluster)
        if node.name == self.broken:
            raise NodeError("no such device\n  It runs as before again.")
        node.outcome = "replaced"


class Engine:
    """What the engine of a session finds and does."""

    def __init__(self, world: World) -> None:
        self._world = world

    def leftovers(self) -> Result:
        return Result(changes=list(self._world.left))

    def preview(self) -> Result:
        previews = self._world.previews
        return Result(changes=previews.pop(0) if len(previews) > 1 else previews[0])

    def up(self, _scope: Scope) -> Result:
        return Result(changes=[NODE, change("verification", error="exit status 1")])


def container(service: str) -> ContainerState:
    return ContainerState(
        service=service, name=f"cslr-lab-{service}", identifier="1", state="running", health="healthy", status="Up",
        image="x", ports=(), engine=EngineName.EMBEDDED,
    )  # fmt: skip


@pytest.fixture
def world(monkeypatch, tmp_path) -> World:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    world = World()

    @contextlib.contextmanager
    def turn(cluster: object) -> Iterator[None]:
        world.clusters.append(cluster)
        yield

    class Cluster:
        membership, stack = None, "lab"

        @property
        def ray(self) -> World:
            return world

    deployed = tuple(Deployed(service=one, name=one, running=True, healthy=True) for one in ("ray-cpu", "ray-gpu"))
    monkeypatch.setattr(running_work, "look", lambda *_: RunningWork(head="ray-cpu", services=deployed))
    monkeypatch.setattr(runs, "access", lambda _stack: Cluster())
    monkeypatch.setattr(runs, "turn_in_cluster", turn)
    monkeypatch.setattr(runs, "containers", lambda _identity: [container("ray-cpu"), container("ray-gpu")])
    monkeypatch.setattr(runs, "configured_versions", lambda _settings: world.then)
    monkeypatch.setattr("ws.rolling.versions.versions_in", lambda _name: world.now)
    monkeypatch.setattr("ws.rolling.versions.versions_of", lambda _image, _spec: world.images)
    monkeypatch.setattr(runs, "planned_spec", lambda *_: object())
    monkeypatch.setattr("ws.rolling.node.Node.replace", lambda node: world.replace(node))
    monkeypatch.setattr(world.session, "up", world.up)
    monkeypatch.setattr(world.session, "run", world.engine)
    monkeypatch.setattr(world.session, "clear_away", world.clear_away)
    monkeypatch.setattr("ws.deploy.Session.maker", EngineName.EMBEDDED)
    return world


class TestParts:
    def test_nodes_alone_need_no_other_part_before(self, world):
        world.run()
        assert world.did == ["node ray-gpu", "whole"]

    def test_what_is_no_node_comes_first_and_the_nodes_are_planned_again(self, world):
        world.previews = [[IMAGE_CHANGE, NODE], [NODE, change("ray-cpu-container")]]
        world.run()
        assert world.did == ["without urn::ray-gpu-container", "node ray-gpu", "node ray-cpu", "whole"]

    def test_a_connection_from_before_is_not_used_after(self, world):
        world.previews = [[IMAGE_CHANGE, NODE], [NODE]]
        world.run()
        turn, node = world.clusters
        assert node is not turn, "Redis may have been replaced, and with it the connection"

    def test_without_changed_nodes_it_is_a_plain_up(self, world):
        world.previews = [[IMAGE_CHANGE]]
        world.run()
        assert world.did == ["whole"]

    def test_of_a_single_host_it_says_what_ends_with_its_head(self, world):
        world.previews = [[change("ray-cpu-container")]]
        world.run()
        assert "It leads this single host, so all of Ray restarts with it: jobs, drivers" in world.output.getvalue()

    def test_all_of_it_is_one_run_of_the_history(self, world):
        world.run()
        assert [one.name for one in world.recorded.changes] == ["verification"]


class TestStop:
    def test_at_the_first_node_that_fails_and_it_says_where_and_how_to_go_on(self, world):
        world.previews, world.broken = [[NODE, change("ray-cpu-container")]], "ray-cpu"
        with pytest.raises(WsError) as stopped:
            world.run()
        assert str(stopped.value) == (
            "Stopped at ray-cpu, node 2 of 2: no such device\n  It runs as before again.\n"
            "  Replaced before, and stays so: ray-gpu. To go on: ws up --rolling -s lab"
        )
        assert world.did == ["node ray-gpu", "node ray-cpu"]

    def test_a_refusal_after_the_nodes_is_no_run_that_changed_nothing(self, world):
        world.declines = True
        with pytest.raises(WsError, match="replaced, but not the rest: Nothing more was changed") as stopped:
            world.run()
        assert not isinstance(stopped.value, DeclinedError)

    def test_nodes_after_it_are_not_reached(self, world):
        world.previews, world.broken = [[NODE, change("ray-cpu-container")]], "ray-gpu"
        with pytest.raises(WsError, match="Replaced before, and stays so: none"):
            world.run()
        assert world.did == ["node ray-gpu"]
        assert "not reached" in world.output.getvalue()

    def test_without_a_head_before_anything_is_changed_it_says_what_helps(self, world, monkeypatch):
        monkeypatch.setattr(runs, "EARLY_SECONDS", 0.1)
        monkeypatch.setattr("ws.progress.time.sleep", lambda _: None)
        world.no_head, world.previews = True, [[IMAGE_CHANGE, NODE]]
        with pytest.raises(WsError) as stopped:
            world.run()
        assert world.did == []
        said = str(stopped.value)
        assert said.startswith("Nothing was changed: no head of Ray answers after 0 s")
        assert [word in said for word in ("does not answer", "ws doctor -s lab", "ws logs -s lab")] == [True] * 3
        assert "ws up -s lab (replaces this host's nodes at once)" in said

    def test_a_failed_preview_changes_nothing(self, world):
        world.previews = [[change("ray-gpu-container", error="no such key")]]
        with pytest.raises(WsError, match="The preview failed"):
            world.run()
        assert world.did == []


class TestLeftovers:
    """Containers that the state of Pulumi does not know."""

    def test_a_node_that_runs_as_before_again_is_replaced_in_its_turn(self, world):
        world.left = [change("cslr-lab-ray-gpu", Action.DELETE)]
        world.run()
        assert world.session.changing_over in world.overrides, "the preview is refused otherwise"
        assert world.did == ["node ray-gpu", "whole"]

    def test_others_are_removed_first(self, world):
        world.left = [change("cslr-lab-marimo", Action.DELETE)]
        world.run()
        assert world.session.changing_over not in world.overrides
        assert world.did == ["removed cslr-lab-marimo", "node ray-gpu", "whole"]


def test_the_stacks_verification_after_a_node_takes_no_node_back(world, monkeypatch):
    """Pulumi runs it with whatever it follows; it comes again at the end."""
    changed: list[Result] = []
    monkeypatch.setattr(world, "replace", lambda node: changed.append(node.run.change(node.step, unguarded)))
    world.run()
    assert [result.ok for result in changed] == [True]


class TestVersions:
    def test_of_the_stack_file_are_compared_before_anything_is_built(self, world):
        world.then = {"ray": "2.60.0", "python": "3.13"}
        with pytest.raises(WsError, match=r"Python 3\.14\.1 → 3\.13"):
            world.run()
        assert world.did == []

    def test_of_an_image_are_compared_before_the_first_node(self, world):
        node = change("ray-gpu-container", reasons=["image: a → b"], after={"image": "sha256:b"})
        world.images, world.previews = {"ray": "2.61.0"}, [[IMAGE_CHANGE, node]]
        with pytest.raises(WsError, match=r"Ray 2\.60\.0 → 2\.61\.0"):
            world.run()
        assert world.did == ["without urn::ray-gpu-container"]

    def test_of_the_image_that_stays_are_not_asked_for(self, world):
        node = change("ray-gpu-container", reasons=["memory: 1 → 2"], after={"image": "sha256:b"})
        world.images, world.previews = {"ray": "2.61.0"}, [[node]]
        world.run()


def test_another_engine_is_refused_since_it_recreates_everything(world, monkeypatch):
    monkeypatch.setattr("ws.deploy.Session.maker", EngineName.PULUMI)
    with pytest.raises(WsError, match=r"Nothing was changed.\n.*--engine pulumi"):
        world.run()
    assert world.did == []


def test_what_cannot_be_retried_makes_a_node_busy():
    works = (
        Work(kind=Kind.JOB, identifier="j", node="ray-cpu"),
        Work(kind=Kind.TASK, identifier="t", node="ray-gpu", part=True),
    )
    assert place_of(RunningWork(works=works), "", "").busy == {"ray-cpu"}
