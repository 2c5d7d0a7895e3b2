"""Questions and actions of `ws up`, with a made-up engine and stack."""

import io
from collections.abc import Callable, Mapping

import pytest
from rich.console import Console

import program
from contracts.document import SETTINGS_VARIABLE
from docker_api.api import DockerError
from embedded_engine.changes import EVERYTHING, Scope
from embedded_engine.deployment import Action, Change
from embedded_engine.run import Result
from stack import running_work
from stack.identity import ASKS, StackIdentity
from stack.running_work import Deployed, Kind, RunningWork, Work
from stack.stack import Stack
from testing.stack_files import configured
from ws import cli
from ws.consent import Command, Consent, DeclinedError
from ws.deploy import Session
from ws.engine_names import EngineName
from ws.engines import Choice
from ws.errors import WsError

JOB = Work(kind=Kind.JOB, identifier="raysubmit_x", what="python train.py", node="ray-cpu")
LATER = Work(kind=Kind.JOB, identifier="raysubmit_y", what="python eval.py", node="ray-cpu")
HEAD = Deployed(service="ray-cpu", name="cslr-lab-ray-cpu", running=True, healthy=True)
NAME = "docker:index/container:Container"
WRONG_CALL = 2


def change(action: Action = Action.REPLACE) -> Change:
    return Change(urn="u", type=NAME, name="ray-cpu-container", action=action, reasons=["cpus: 1.0 → 2.0"])


class World:
    """A session on a made-up engine."""

    def __init__(self) -> None:
        self.works: tuple[Work, ...] = ()
        self.planned = [change()]
        self.left: list[Change] = []  # by an interrupted run
        self.did: list[str] = []
        self.objections: list[str] = []
        self.output = io.StringIO()
        self.session = Session(configured(stack="lab"), Console(file=self.output, width=200))

    def look(self, *_: object) -> RunningWork:
        return RunningWork(works=self.works, head="ray-cpu", services=(HEAD,))

    def up(self, *, yes: bool = False) -> Result:
        consent = Consent(command=Command(words="ws up", stack="lab"), console=self.session.console, yes=yes)
        return self.session.up(Choice(name=EngineName.EMBEDDED), consent)


class Engine:
    def __init__(self, world: World, guard: Callable[[Change], str]) -> None:
        self.world, self.guard = world, guard

    def leftovers(self) -> Result:
        return Result(changes=self.world.left)

    def remove(self, left: list[Change]) -> Result:
        self.world.did.append("remove")
        return Result(changes=left)

    def preview(self) -> Result:
        self.world.did.append("preview")
        return Result(changes=self.world.planned)

    def up(self, scope: Scope = EVERYTHING) -> Result:
        self.world.did.append("up" if scope.whole else "part")
        self.world.works = (*self.world.works, LATER)
        self.world.objections = [self.guard(change) for change in self.world.planned]
        return Result(changes=self.world.planned)


@pytest.fixture
def world(monkeypatch, tmp_path) -> World:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    world = World()
    monkeypatch.setattr(running_work, "look", world.look)
    monkeypatch.setattr(world.session, "check_config", lambda: None)
    monkeypatch.setattr(world.session, "_engine", lambda _choice, _display, _overrides, guard: Engine(world, guard))
    monkeypatch.setattr("ws.consent.SETTLE_SECONDS", 0.0)
    return world


class TestUp:
    def test_with_nothing_running_is_not_previewed_first(self, world):
        world.up()
        assert world.did == ["up"]

    def test_that_would_end_a_job_does_not_begin(self, world):
        world.works = (JOB,)
        with pytest.raises(DeclinedError, match="Nothing was changed: 1 running job would end"):
            world.up()
        assert world.did == ["preview"]
        assert "raysubmit_x: python train.py" in world.output.getvalue()

    def test_that_changes_nothing_is_known_after_the_preview(self, world):
        world.works, world.planned = (JOB,), [change(Action.SAME)]
        assert world.up().unchanged
        assert world.did == ["preview"]

    @pytest.mark.parametrize("works", [(JOB,), ()])
    @pytest.mark.parametrize(("action", "renewed"), [(Action.SAME, 1), (Action.UPDATE, 0)])
    def test_with_tls_renews_the_certificate_if_nothing_is_deployed(self, world, monkeypatch, works, action, renewed):
        """Otherwise the program does, in the deployment."""
        did: list[str] = []
        monkeypatch.setattr("ws.certificates.renew", lambda configured: did.append(configured.identity.stack))
        world.session.stack = configured("config:\n  cslr:platform: {tls: {source: generated}}\n", stack="lab")
        world.works, world.planned = works, [change(action)]
        world.up()
        assert did == ["lab"] * renewed

    def test_that_ends_nothing_goes_on(self, world):
        world.works, world.planned = (JOB,), [change(Action.UPDATE)]
        world.up()
        assert world.did == ["preview", "up"]

    def test_a_failed_preview_is_the_result(self, world):
        world.works, world.planned[0].error = (JOB,), "broken"
        assert world.up().failed
        assert world.did == ["preview"]

    def test_a_job_that_began_since_keeps_its_container(self, world):
        world.up()
        assert "1 running job began meanwhile" in world.objections[0]

    def test_what_an_interrupted_run_left_is_removed_first(self, world):
        world.left = [change(Action.DELETE)]
        world.up()
        assert world.did == ["remove", "up"]

    def test_in_what_was_left_a_job_may_run(self, world):
        world.left, world.works = [change(Action.DELETE)], (JOB,)
        with pytest.raises(DeclinedError, match="1 running job would end"):
            world.up()
        assert world.did == []

    def test_with_yes_nothing_does(self, world):
        world.works = (JOB,)
        world.up(yes=True)
        assert world.objections == [""]

    def test_what_ends_nothing_is_not_even_asked_for(self, world, monkeypatch):
        world.planned = [change(Action.UPDATE)]
        looks = []

        def look(*_: object) -> RunningWork:
            looks.append(1)
            return RunningWork()

        monkeypatch.setattr(running_work, "look", look)
        world.up()
        assert len(looks) == 1


class TestPairOfRedis:
    """Of two servers the one that is replaced leads no more when it comes to that."""

    GATEWAY = Deployed(
        service="ray-gateway", name="cslr-lab-ray-gateway", running=True, healthy=True, several_hosts=True,
        env={SETTINGS_VARIABLE: '{"own_redis": "10.88.0.3:6381"}'},
    )  # fmt: skip
    REDIS = Deployed(service="redis", name="cslr-lab-redis", running=True, healthy=True)

    @pytest.fixture
    def given_away(self, world, monkeypatch) -> list[str]:
        given: list[str] = []
        services = (self.GATEWAY, self.REDIS)
        monkeypatch.setattr(running_work, "look", lambda *_: RunningWork(services=services))
        monkeypatch.setattr("ws.cluster.access.access", lambda stack: stack.identity.stack)
        monkeypatch.setattr("ws.cluster.failover.leads_here", lambda _: True)

        def give_away(stack: str, _console: Console) -> None:
            given.append(stack)
            world.did.append("give away")

        monkeypatch.setattr("ws.cluster.failover.give_away", give_away)
        return given

    def test_is_handed_over_before_the_primary_is_replaced(self, world, given_away):
        world.planned = [Change(urn="r", type=NAME, name="redis-container", action=Action.REPLACE)]
        world.up()
        assert given_away == ["lab"]
        assert world.did == ["preview", "give away", "up"]

    def test_is_handed_over_before_all_of_it_goes(self, world, given_away):
        world.session.give_redis_away()
        assert given_away == ["lab"]

    def test_alone_it_is_no_matter(self, world, given_away, monkeypatch):
        monkeypatch.setattr(running_work, "look", lambda *_: RunningWork(services=(self.REDIS,)))
        world.session.give_redis_away()
        assert given_away == []

    def test_stays_where_it_is_for_any_other_change(self, world, given_away):
        world.planned = [Change(urn="h", type=NAME, name="health-container", action=Action.REPLACE)]
        world.up()
        assert given_away == []


class TestWarningOfTheProgram:
    """Bare `pulumi` cannot ask."""

    @pytest.fixture
    def warned(self, monkeypatch) -> Callable[..., list[str]]:
        def run(found: RunningWork | Exception, environment: Mapping[str, str] | None = None) -> list[str]:
            said: list[str] = []

            def look(_identity: StackIdentity) -> RunningWork:
                if isinstance(found, Exception):
                    raise found
                return found

            monkeypatch.setattr(program, "look", look)
            monkeypatch.setattr(program.pulumi, "warn", said.append)  # type: ignore[attr-defined]
            identity = StackIdentity(project="cslr", stack="lab")
            program.warn_of_running_work(
                Stack(
                    identity=identity,
                    config=lambda _: None,
                    dry_run=True,
                    python="py",
                    environment=environment or {},
                )
            )
            return said

        return run

    def test_names_what_runs(self, warned):
        (said,) = warned(RunningWork(works=(JOB,)))
        assert said.startswith("1 running job on this stack at this moment:\n    raysubmit_x: python train.py")

    def test_is_silent_where_nothing_runs(self, warned):
        assert warned(RunningWork()) == []

    def test_is_silent_where_ws_asks(self, warned):
        assert warned(RunningWork(works=(JOB,)), {ASKS: "1"}) == []

    def test_fails_nothing(self, warned):
        assert warned(DockerError("Docker does not answer")) == []


class TestBuildOption:
    def test_up_builds_what_exists_only_where_it_is_asked(self, monkeypatch):
        asked: list[bool] = []
        monkeypatch.setattr("ws.deploy.Session.__init__", lambda *_, rebuild=False, **__: asked.append(rebuild))
        monkeypatch.setattr(
            "ws.deploy.Session.refuse_half_restored", lambda _: (_ for _ in ()).throw(WsError("enough"))
        )
        for options in ([], ["--build"], ["-d"], ["-d", "--build"]):
            assert cli.main(["up", *options]) == 1
        assert asked == [False, True, False, True]


class TestRollingOption:
    def test_the_way_back_is_of_a_rolling_replacement_alone(self, capsys):
        assert cli.main(["up", "--no-revert"]) == WRONG_CALL
        assert "--no-revert: it has a meaning only with --rolling" in " ".join(capsys.readouterr().err.split())
