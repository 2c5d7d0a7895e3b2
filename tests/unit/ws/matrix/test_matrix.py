"""`ws matrix` on an engine with planned failures: all other images are built, and each failure has a reason."""

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from build_report.records import BuildRecord, Subject
from build_report.store import record_build
from components.image_family import ImageFamilyArgs
from config.matrix import KEY, MatrixSettings
from config.matrix_rules import select
from config.problems import SettingsError
from embedded_engine.changes import IMAGE
from embedded_engine.deployment import Action, Change
from embedded_engine.run import Result
from preflight.build_host import BuildHost
from stack.sources import Sources
from testing.stack_files import configured
from ws.deploy import Session
from ws.engine_names import EngineName
from ws.engines import Choice
from ws.errors import WsError
from ws.matrix import run as matrix_run
from ws.matrix.plan import WHOLE, Plan, in_words, plan, selected, table
from ws.matrix.run import LONGEST_PAUSE, Outcome, build, pause_before
from ws.stack_settings import StackSettings

NETWORK, COMPILER = "dial tcp: i/o timeout", "main.cu:1: error: no"
EMBEDDED = Choice(name=EngineName.EMBEDDED)
PLATFORMS: Any = ("linux/amd64", "linux/arm64")
NAMES = [wanted.name for wanted in select(MatrixSettings())]


def planned(host: BuildHost | None = None, **settings: Any) -> Plan:
    matrix = MatrixSettings.model_validate(settings)
    args = ImageFamilyArgs(
        settings=matrix, sources=Sources(bases="registry", torch="cuda"), wanted=select(matrix), python="python"
    )
    return Plan(args=args, tags=[(one, f"cslr/{one.name}:1") for one in args.wanted], host=host or BuildHost())


class FailingEngine:
    """A session whose engine fails as a table says: resource → its error on each try; from then on it succeeds."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        self.console = Console(file=io.StringIO())
        self.errors = {name: list(texts) for name, texts in errors.items()}
        self.tried: Counter[str] = Counter()
        self.built: set[str] = set()
        self.rounds = 0

    def say(self, text: str) -> None:
        self.console.print(text)

    def prepare_host(self) -> None:
        self.looked_after = True

    def run(self, _: Choice, __: Callable[..., Result], overrides: Mapping[str, Any]) -> Result:
        self.rounds += 1
        settings = MatrixSettings.model_validate(overrides[KEY])
        done: dict[str, Change] = {}
        for wanted in select(settings):
            before = [done[a.name] for a in wanted.ancestors if a.name in done]
            before += [done[name] for name in list(done)[-settings.parallel_builds :][:1]]
            change = Change(urn=wanted.name, type=IMAGE, name=wanted.name, action=Action.CREATE, owner=wanted.name)
            change.skipped = any(one.error or one.skipped for one in before)
            if not change.skipped and wanted.name not in self.built:
                self._try(change)
            done[wanted.name] = change
        reports = [self._report(name) for name in done if name in self.built]
        return Result(changes=[*done.values(), *reports])

    def _try(self, change: Change) -> None:
        self.tried[change.name] += 1
        texts = self.errors.get(change.name)
        if texts:
            change.error = texts.pop(0)
        else:
            self.built.add(change.name)

    def _report(self, name: str) -> Change:
        texts = self.errors.get(f"{name}-report")
        change = Change(urn=f"{name}-report", type="command", name=f"{name}-report", action=Action.CREATE, owner=name)
        change.error = texts[0] if texts else None
        return change


def run(engine: FailingEngine, retries: int = 2, **settings: Any) -> Outcome:
    return build(cast(Session, engine), EMBEDDED, planned(**settings), retries, pause=lambda _: None)


class TestBuild:
    def test_without_failures_is_one_run(self):
        engine = FailingEngine({})
        assert run(engine).failures == {}
        assert (engine.rounds, len(engine.built)) == (1, 18)

    def test_an_image_that_fails_takes_only_what_is_built_on_it(self):
        engine = FailingEngine({NAMES[0]: [COMPILER] * 9})
        failures = run(engine).failures
        family = {one.name for one in select(MatrixSettings()) if NAMES[0] in {a.name for a in one.ancestors}}
        assert set(failures) == {NAMES[0], *family}
        assert failures[NAMES[0]] == COMPILER
        assert all(NAMES[0] in failures[name] for name in family)
        assert engine.built == set(NAMES) - set(failures)

    def test_a_compiler_is_asked_once_and_the_network_again(self):
        engine = FailingEngine({NAMES[0]: [COMPILER] * 9, NAMES[1]: [NETWORK], NAMES[2]: [NETWORK] * 9})
        failures = run(engine, retries=3).failures
        assert engine.tried[NAMES[0]] == 1
        assert engine.tried[NAMES[1]] == 2
        assert engine.tried[NAMES[2]] == 4
        assert NAMES[1] not in failures
        assert engine.looked_after
        assert failures[NAMES[2]] == NETWORK

    def test_without_retries_the_network_has_one_chance(self):
        engine = FailingEngine({NAMES[0]: [NETWORK]})
        assert NAMES[0] in run(engine, retries=0).failures
        assert engine.tried[NAMES[0]] == 1

    def test_an_image_over_its_budget_is_reported_and_keeps_nothing_from_being_built(self):
        engine = FailingEngine({f"{NAMES[0]}-report": ["image.runtime: 5 GB over its 4 GB"]})
        assert set(run(engine).failures) == {f"{NAMES[0]}-report"}
        assert engine.built == set(NAMES)

    @given(
        st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from([NETWORK, COMPILER]), min_size=1, max_size=4)),
        st.integers(0, 3),
    )
    def test_whatever_fails_it_ends_with_each_image_built_or_named(self, errors, retries):
        engine = FailingEngine(errors)
        outcome = run(engine, retries=retries)
        assert set(outcome.failures) == set(NAMES) - engine.built
        assert all(count <= retries + 1 for count in engine.tried.values())
        assert (
            not set(outcome.failures)
            - set(errors)
            - {one.name for one in select(MatrixSettings()) if {a.name for a in one.ancestors} & set(errors)}
        )

    def test_a_base_that_cannot_be_made_ends_it(self):
        class NoBase(FailingEngine):
            def run(self, *_: Any) -> Result:
                self.rounds += 1
                base = Change(
                    urn="b",
                    type="command",
                    name="base-forky",
                    action=Action.CREATE,
                    owner="base-forky",
                    error="no debootstrap",
                )
                return Result(changes=[base])

        engine = NoBase({})
        assert run(engine).failures == {"base-forky": "no debootstrap"}
        assert engine.rounds == 1


class TestGivingUp:
    def two_platforms(self) -> Outcome:
        return Outcome(wanted=select(MatrixSettings(targets=("runtime",), minimal=True, platforms=PLATFORMS)))

    def test_of_an_index_leaves_out_its_images_alone(self):
        outcome = self.two_platforms()
        family = outcome.wanted[0].family_name
        index = Change(
            urn="i", type="command", name=f"{family}-index", action=Action.CREATE, owner=f"{family}-index", error="no"
        )
        outcome.give_up(index)
        assert outcome.failures == {f"{family}-index": "no"}
        assert outcome.settled == {one.name for one in outcome.wanted if one.family_name == family}

    def test_of_an_image_leaves_out_none_whose_name_begins_like_its_own(self):
        outcome = self.two_platforms()
        first, second = outcome.wanted[:2]
        assert second.name.startswith(first.name)
        outcome.give_up(
            Change(urn="i", type=IMAGE, name=first.name, action=Action.CREATE, owner=first.name, error="no")
        )
        assert outcome.settled == {first.name}


class TestPause:
    def test_doubles_within_bounds_and_is_never_the_same(self):
        for tried in range(20):
            pauses = {pause_before(tried) for _ in range(20)}
            usual = min(5 * 2**tried, LONGEST_PAUSE)
            assert all(usual / 2 <= pause <= usual * 1.5 for pause in pauses)
            assert len(pauses) > 1


class TestPlan:
    HERE = BuildHost(docker_root="/var/lib/docker", free=100 * 10**9, tags=frozenset({f"cslr/{NAMES[0]}:1"}))

    def test_says_what_is_here_and_what_is_to_be_built(self):
        assert in_words(planned(self.HERE)).startswith("17 of 18 images are to be built, about ")
        assert "100 GB are free, of which 10 GB must stay" in in_words(planned(self.HERE))

    def test_of_what_is_all_here_says_so(self):
        tags = frozenset(f"cslr/{name}:1" for name in NAMES)
        assert in_words(planned(replace(self.HERE, tags=tags))) == "All 18 images are here"

    def test_lists_every_image_with_its_tag(self):
        console = Console(file=io.StringIO(), width=200)
        console.print(table(planned(self.HERE), console.width))
        said = cast(io.StringIO, console.file).getvalue()
        assert all(f"cslr/{name}:1" in said for name in NAMES)
        assert said.count(" yes") == 1

    def test_lists_every_image_on_a_narrow_terminal_in_a_line(self):
        console = Console(file=io.StringIO(), width=60)
        console.print(table(planned(self.HERE), console.width))
        lines = cast(io.StringIO, console.file).getvalue().splitlines()
        assert [line.split()[0] for line in lines] == ["Image", *NAMES]
        assert sum(line.endswith(" yes") for line in lines) == 1

    def test_of_a_run_that_goes_on_leaves_out_what_is_settled(self):
        config = planned(targets=["runtime"]).without([NAMES[0]])
        names = [one.name for one in select(MatrixSettings.model_validate(config[KEY]))]
        assert names == [name for name in NAMES if name.startswith("runtime")][1:]

    def test_all_is_the_whole_family_whatever_the_stack_file_says(self):
        file = {"targets": ["runtime"], "phases": [1], "minimal": True, "without": ["*-py3.13"], "cuda": ["13.*"]}
        assert len(select(MatrixSettings.model_validate({**file, **WHOLE}))) == 18


class TestServices:
    def test_are_listed_without_a_variant_and_with_their_size(self):
        console = Console(file=io.StringIO(), width=200)
        console.print(table(planned(TestPlan.HERE, targets=[], services=["mlflow"]), console.width))
        line = cast(io.StringIO, console.file).getvalue().splitlines()[-1]
        assert line.split() == ["mlflow", "-", "-", "linux/amd64", "base", "cslr/mlflow:1", "+", "0.9", "GB"]

    def test_are_built_beside_the_family_and_one_that_fails_takes_nothing_with_it(self):
        engine = FailingEngine({"mlflow": [COMPILER] * 9, "redis": [NETWORK]})
        assert run(engine, targets=["runtime"], services=["*"]).failures == {"mlflow": COMPILER}
        assert {"redis", "health", NAMES[0]} <= engine.built
        assert engine.tried["redis"] == 2

    @pytest.mark.parametrize(
        ("named", "services", "whole", "keys"),
        [
            ({"targets": None}, [], False, {}),
            ({"targets": ["devel"], "cuda": None}, [], False, {"targets": ["devel"], "services": []}),
            ({"targets": None}, ["health"], False, {"targets": [], "services": ["health"]}),
            ({"phases": [1]}, ["health"], False, {"phases": [1], "services": ["health"]}),
            ({"cuda": ["12.*"]}, [], False, {"cuda": ["12.*"], "services": []}),
            ({"cuda": ["12.*"]}, ["*-cuda"], False, {"targets": [], "cuda": ["12.*"], "services": ["*-cuda"]}),
            ({}, [], True, {**WHOLE, "services": []}),
            ({"targets": ["devel"]}, ["*"], True, {**WHOLE, "targets": ["devel"], "services": ["*"]}),
        ],
    )
    def test_are_selected_by_their_option_alone(self, named, services, whole, keys):
        assert selected(named, services, whole=whole) == keys


class TestStackFile:
    @pytest.fixture
    def session(self, monkeypatch):
        """Gives a session on a stack whose file has this value of ``cslr:matrix``."""
        monkeypatch.setattr("ws.matrix.plan.BuildHost.probe", BuildHost)

        def prepare(value: object) -> Session:
            config = {} if value is None else {"cslr:matrix": value}
            found = Session(configured(yaml.safe_dump({"config": config}), "matrix"), Console())
            found.sources = lambda *_, **__: Sources(bases="registry", torch="cuda")  # type: ignore[method-assign]
            return found

        return prepare

    @pytest.fixture
    def config(self, monkeypatch, tmp_path):
        """Gives a stack whose file has this config."""
        monkeypatch.setattr("ws.stack_settings.FOLDER", tmp_path)
        (tmp_path / "Pulumi.yaml").write_text("name: cslr")

        def prepare(text: str) -> StackSettings:
            (tmp_path / "Pulumi.mine.yaml").write_text(f"config:\n  {text}\n")
            return StackSettings.read("mine", {})

        return prepare

    def test_is_overridden_by_options_key_by_key(self, session):
        found = plan(session({"targets": ["runtime"], "parallel_builds": 3}), {"targets": ["devel"], "minimal": True})
        assert [one.image.name for one in found.args.wanted] == ["devel"]
        assert found.args.settings.parallel_builds == 3

    def test_of_a_stack_that_deploys_is_refused(self, session):
        with pytest.raises(WsError, match=r"has no cslr:matrix.*\n.*--stack matrix"):
            plan(session(None), {})

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"targets": ["runtme"]}, "ws matrix --target: 'runtme' selects nothing.\n  Did you mean runtime?"),
            ({"push": True}, "--push: is true, but no registry is named that takes the images.\n"
             "  Name one, or keep the images here:\n"
             "    --registry registry.example.org:5000/cslr\n    leave --push out"),
            ({"cuda": ["13.1.1"], "python": ["3.13"]}, "    --cuda 13.1.1\n    --python 3.14"),
            ({"platforms": ["amd64"]}, "ws matrix --platform: 'amd64' must be"),
            ({"targets": ["devel"], "phases": [1]}, "    --phase 4\n    leave --phase out"),
            ({"targets": [], "services": ["exporter"]}, "ws matrix --service: 'exporter' selects nothing"),
        ],
    )  # fmt: skip
    def test_is_not_blamed_for_what_an_option_says(self, session, options, said):
        with pytest.raises(WsError) as caught:
            plan(session({}), options)
        assert said in str(caught.value)
        assert "Pulumi.matrix.yaml" not in str(caught.value)

    def test_is_blamed_for_what_it_says_whatever_the_options(self, session):
        with pytest.raises(SettingsError, match=r"Pulumi\.matrix\.yaml: cslr:matrix\.cuda\[0\]: '14' selects nothing"):
            plan(session({"cuda": ["14"]}), {"targets": ["devel"]})

    def test_with_a_matrix_of_no_value_is_one_of_all_defaults(self, config):
        assert config("cslr:matrix:").matrix == {}

    def test_that_would_also_deploy_is_refused(self, config):
        with pytest.raises(SettingsError, match=r"cslr:platform: is in this file beside cslr:matrix"):
            _ = config("cslr:matrix: {}\n  cslr:platform: {redis: {port: 1}}").matrix

    def test_that_deploys_has_no_matrix(self, config):
        assert config("cslr:platform: {}").matrix is None


class TestNotification:
    @pytest.fixture(autouse=True)
    def _nothing_built(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setenv("CSLR_RUN", "20261122T100000Z-1")

    def test_goes_to_the_webhooks_of_environment_and_stack_file(self, monkeypatch):
        sent: dict[str, Any] = {}
        monkeypatch.setattr("build_report.summary.summary", lambda _, failures: f"18 images, but {failures}")
        monkeypatch.setattr(
            "build_report.notify.notify", lambda text, **keys: sent.update(keys, text=text) or ["Slack was not told"]
        )
        console = Console(file=io.StringIO())
        stack = configured(environment={"CSLR_SLACK_WEBHOOK": "https://slack.example.org/x"})
        matrix_run.notify(stack, Outcome(wanted=[], failures={"a": "b"}), console)
        assert sent == {
            "text": "18 images, but {'a': 'b'}",
            "ok": False,
            "slack": "https://slack.example.org/x",
            "discord": None,
        }
        assert "Slack was not told" in cast(io.StringIO, console.file).getvalue()

    def test_names_what_the_build_report_does_not(self):
        told, child = select(MatrixSettings(targets=("runtime", "devel"), minimal=True))
        subject = Subject(image=told.image.name, variant=told.variant.key, platform=told.platform)
        record_build(BuildRecord(tag="x", subject=subject, engine="embedded", started=1, ended=2, result="failed"))
        failures = {told.name: COMPILER, child.name: "is built on it", "base-forky": "no debootstrap"}
        outcome = Outcome(wanted=[told, child], failures=failures)
        assert matrix_run._beside_builds(outcome).keys() == {child.name, "base-forky"}

    def test_does_not_name_an_image_of_a_service_twice(self):
        (wanted,) = select(MatrixSettings(targets=(), services=("health",)))
        subject = Subject(image="health", variant=None, platform=wanted.platform)
        record_build(BuildRecord(tag="x", subject=subject, engine="embedded", started=1, ended=2, result="failed"))
        assert matrix_run._beside_builds(Outcome(wanted=[wanted], failures={"health": COMPILER})) == {}

    def test_goes_out_when_the_store_of_the_report_is_broken(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        (tmp_path / "cslr").mkdir()
        (tmp_path / "cslr" / "builds.sqlite").write_text("no database, but long enough to be read as one")
        sent: list[str] = []

        def tell(text: str, **_: object) -> list[str]:
            sent.append(text)
            return []

        monkeypatch.setattr("build_report.notify.notify", tell)
        console = Console(file=io.StringIO(), width=200)
        outcome = Outcome(wanted=[], failures={"runtime": "no room:\nnone"})
        matrix_run.show_outcome(outcome, console, console)
        stack = configured(environment={"CSLR_DISCORD_WEBHOOK": "https://discord.example.org/x"})
        matrix_run.notify(stack, outcome, console)
        said = cast(io.StringIO, console.file).getvalue()
        assert "builds.sqlite: file is not a database" in said
        assert "✗ runtime: no room\n" in said
        assert "no room" in sent[0]

    def test_without_webhooks_tells_nobody(self, monkeypatch):
        monkeypatch.setattr("build_report.notify.notify", lambda *_, **__: pytest.fail("told"))
        matrix_run.notify(configured(), Outcome(wanted=[]), Console(file=io.StringIO()))
