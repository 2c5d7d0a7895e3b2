"""The way back: its target, what refuses it before anything is changed, and what is put back."""

import io
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from embedded_engine.changes import Action, Change, Result
from embedded_engine.drift import Observation
from embedded_engine.lock import LockedError
from stack import new_record
from stack.history import History, Record
from testing.stack_files import configured
from ws import deploy
from ws.config import editing, values
from ws.consent import Command, Consent, DeclinedError
from ws.cost import Cost
from ws.deploy import Session
from ws.engine_names import EngineName, EngineOption
from ws.engines import Choice
from ws.errors import WsError
from ws.history import recording, rollback
from ws.history.rollback import roll_back, target

OLD = "config:\n  # as it was\n  cslr:platform:\n    redis: {memory: 512m}\n"
NEW = "config:\n  # as it is\n  cslr:platform:\n    redis: {memory: 1g}\n"
NAME = "cslr/redis:1"
REPLACED = Change(urn="u", type="docker:index/container:Container", name="redis-container", action=Action.REPLACE)


def record(number: int, text: str = OLD, image: str = "sha256:one", **more: Any) -> Record:
    return Record.model_validate(
        {
            "number": number, "operation": "up", "engine": "embedded", "who": "anna", "started": float(number),
            "version": "0.2.0", "commit": "abc", "outcome": "done", "files": {"Pulumi.dev.yaml": text},
            "images": {"redis": {"identifier": image, "tags": [NAME]}}, **more,
        }
    )  # fmt: skip


DOWN = record(9, operation="down", files={}, images={})


class TestTarget:
    def test_is_the_one_before_the_present(self):
        assert target([record(1), record(2, NEW)], None, "dev").number == 1

    def test_passes_over_runs_that_changed_nothing_failed_or_took_it_down(self):
        failed = record(3, NEW, outcome="failed")
        records = [record(1), record(2), failed, record(4, NEW), record(5, NEW), record(6, NEW)]
        assert target(records, None, "dev").number == 2

    def test_after_a_rollback_is_where_it_came_from(self):
        back = record(3, operation="rollback", returned_to=1)
        assert target([record(1), record(2, NEW), back], None, "dev").number == 2

    def test_after_a_failure_or_a_down_is_the_last_success(self):
        assert target([record(1), record(2, NEW, outcome="failed")], None, "dev").number == 1
        assert target([record(1), DOWN], None, "dev").number == 1

    def test_of_an_image_built_again_counts_as_another_state(self):
        assert target([record(1), record(2, image="sha256:two")], None, "dev").number == 1

    def test_of_an_image_that_somebody_gave_another_name_is_no_other_state(self):
        renamed = {"redis": {"identifier": "sha256:two", "tags": [NAME, "my/redis:kept"]}}
        records = [record(1), record(2, image="sha256:two"), record(3, images=renamed)]
        assert target(records, None, "dev").number == 1

    def test_by_number(self):
        assert target([record(1), record(2, NEW)], 2, "dev").number == 2

    @pytest.mark.parametrize(
        ("records", "number", "why"),
        [
            ([], None, "no earlier successful"),
            ([record(1)], None, "no earlier successful"),
            ([record(1)], 7, "has no number 7"),
            ([record(1, outcome="failed")], 1, "is no successful `up`"),
            ([DOWN], 9, "is no successful `up`"),
        ],
    )
    def test_that_is_none_is_said(self, records, number, why):
        with pytest.raises(WsError, match=why):
            target(records, number, "dev")


class Docker:
    """An Engine that knows images by their IDs, and what was named."""

    def __init__(self) -> None:
        self.images = {"sha256:one", "sha256:two"}
        self.named: list[tuple[str, str]] = []

    def find(self, path: str) -> dict[str, Any] | None:
        return {} if path.removeprefix("/images/").removesuffix("/json") in self.images else None

    def call(self, _method: str, path: str, *, query: dict[str, str]) -> None:
        self.named.append((path.split("/")[2], f"{query['repo']}:{query['tag']}"))


class World:
    """A stack with two deployments, of which the second is the present."""

    def __init__(self, folder: Path) -> None:
        self.docker = Docker()
        self.file = folder / "Pulumi.dev.yaml"
        self.file.write_text(NEW)
        self.observed = Observation(drifts=(), images={NAME: "sha256:one"})
        self.planned = Result(changes=[REPLACED])
        self.done = Result(changes=[REPLACED])
        self.error: BaseException | None = None
        self.engine = EngineName.EMBEDDED
        self.output = io.StringIO()
        self.session = Session(configured(NEW), Console(file=self.output, width=200))
        self.history = History(self.session.identity)
        self.deployed = ""
        for one in (record(1), record(2, NEW)):
            self.history.begin(one)

    def back(self, number: int | None = None, **options: bool) -> Result:
        consent = Consent(command=Command(words="ws rollback", stack="dev"), console=self.session.console, yes=True)
        return roll_back(self.session, number, consent, **{"yes": True, "present_images": False, **options})[1]

    def up(self, *_: object) -> Result:
        self.deployed = self.file.read_text()
        if self.error:
            raise self.error
        return self.done

    @property
    def said(self) -> str:
        return self.output.getvalue()

    def is_untouched(self) -> bool:
        return self.file.read_text() == NEW and not self.deployed


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("ws.stack_settings.FOLDER", tmp_path)
    for module in (rollback, new_record, editing):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    world = World(tmp_path)
    monkeypatch.setattr(rollback, "DockerApi", lambda: world.docker)
    monkeypatch.setattr(rollback, "observe", lambda *_: world.observed)
    monkeypatch.setattr(new_record, "commit", lambda: "abc")
    monkeypatch.setattr(recording, "running_images", lambda _: {})
    monkeypatch.setattr(deploy.Session, "choose", lambda *_: Choice(name=world.engine))
    monkeypatch.setattr(deploy.Session, "maker", EngineName.EMBEDDED)
    monkeypatch.setattr(deploy.Session, "run", lambda *_: world.planned)
    monkeypatch.setattr(deploy.Session, "cost", lambda *_: Cost())
    monkeypatch.setattr(deploy.Session, "up", lambda *_: world.up())
    return world


class TestRollback:
    def test_deploys_the_earlier_file_to_the_letter_and_is_a_record_itself(self, world):
        world.back()
        assert world.file.read_text() == world.deployed == OLD
        last = world.history.records()[-1]
        assert (last.operation, last.returned_to, last.outcome) == ("rollback", 1, "done")
        assert last.files == {"Pulumi.dev.yaml": OLD}

    def test_keeps_the_file_that_it_replaces(self, world):
        world.back()
        (backup,) = (world.history.folder / rollback.REPLACED).iterdir()
        assert backup.read_text() == NEW
        assert str(backup) in world.said

    def test_shows_first_where_it_goes_and_what_changes(self, world):
        world.back()
        assert "Returning to number 1: up of " in world.said
        assert "cslr:platform.redis.memory: 1g → 512m" in world.said
        assert "1 to replace" in world.said

    def test_puts_the_lock_of_packages_back_as_well(self, world):
        world.history.begin(record(3, files={"Pulumi.dev.yaml": OLD, "Pulumi.dev.packages.txt": "locked"}))
        world.back(3)
        assert world.file.with_name("Pulumi.dev.packages.txt").read_text() == "locked"

    def test_without_a_terminal_changes_nothing_unless_that_is_said(self, world):
        world.observed = Observation(drifts=(), images={NAME: "sha256:two"})
        with pytest.raises(WsError, match=r"(?s)Nothing was changed: Stack dev returns to .* ws rollback -s dev --yes"):
            world.back(yes=False)
        assert world.is_untouched()
        assert world.docker.named == [("sha256:one", NAME), ("sha256:two", NAME)], "the name that the preview needed"
        assert len(world.history.records()) == 2

    def test_that_fails_leaves_the_earlier_file_for_the_next_up(self, world):
        world.done = Result(changes=[Change(**{**vars(REPLACED), "error": "no space"})])
        with pytest.raises(WsError, match="1 failed"):
            world.back()
        assert world.file.read_text() == OLD
        assert world.history.records()[-1].outcome == "failed"

    def test_of_a_stack_that_is_down_takes_the_engine_that_it_had(self, world, monkeypatch):
        asked: list[object] = []

        def choose(_session: Session, option: object) -> Choice:
            asked.append(option)
            return Choice(name=world.engine)

        monkeypatch.setattr(deploy.Session, "choose", choose)
        world.back()
        monkeypatch.setattr(deploy.Session, "maker", None)
        world.back(2)
        assert asked == [EngineOption.AUTO, EngineOption.EMBEDDED]


class TestImages:
    def test_that_were_built_again_get_their_names_back(self, world):
        world.observed = Observation(drifts=(), images={NAME: "sha256:two"})
        world.back()
        assert world.docker.named == [("sha256:one", NAME)]
        assert f"image {NAME}: two → one" in world.said

    def test_that_pulumi_built_again_are_refused(self, world):
        world.observed = Observation(drifts=(), images={NAME: "sha256:two"})
        world.engine = EngineName.PULUMI
        with pytest.raises(WsError, match="--present-images"):
            world.back()
        assert world.is_untouched()

    def test_that_this_checkout_does_not_make_are_refused_with_the_commit_that_does(self, world):
        world.observed = Observation(drifts=(), images={"cslr/redis:2": "sha256:two"})
        with pytest.raises(WsError, match="git checkout abc && ws rollback 1"):
            world.back()
        assert world.is_untouched()

    def test_of_now_are_taken_where_that_is_asked_for(self, world):
        world.observed = Observation(drifts=(), images={"cslr/redis:2": "sha256:two"})
        world.back(present_images=True)
        assert world.deployed == OLD
        assert world.docker.named == []

    def test_that_are_gone_and_are_built_again_are_told(self, world):
        world.observed = Observation(drifts=(), images={NAME: None})
        world.docker.images = set()
        world.back()
        assert f"redis: its image is gone and will be built again: {NAME}" in world.said

    def test_by_the_full_name_of_a_registry_are_the_same(self, world):
        world.observed = Observation(drifts=(), images={f"docker.io/{NAME}": "sha256:two"})
        world.back()
        assert world.docker.named == [("sha256:one", f"docker.io/{NAME}")]


class TestRefused:
    def test_a_file_that_this_version_does_not_take(self, world):
        world.history.begin(record(3, "config:\n  cslr:platform: {redis: {flavour: sweet}}\n", version="9.0.0"))
        with pytest.raises(WsError, match=r"(?s)nothing was changed.*9\.0\.0.*flavour"):
            world.back(3)
        assert world.is_untouched()

    def test_secrets_of_another_passphrase(self, world):
        text = (
            "encryptionsalt: v1:jq8eYvmWw/c=:v1:AAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
            "config:\n  cslr:redisPassword: {secure: 'v1:AAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'}\n"
        )
        world.history.begin(record(3, text))
        with pytest.raises(WsError, match=r"(?s)nothing was changed.*cannot be decrypted with this passphrase"):
            world.back(3)
        assert world.is_untouched()

    def test_a_file_that_only_builds(self, world):
        world.history.begin(record(3, "config:\n  cslr:matrix: {}\n"))
        with pytest.raises(WsError, match="another kind of stack file"):
            world.back(3)
        assert world.is_untouched()

    def test_a_preview_that_fails(self, world):
        world.planned = Result(changes=[Change(**{**vars(REPLACED), "error": "is not this stack's"})])
        with pytest.raises(WsError, match="Nothing was changed"):
            world.back()
        assert world.is_untouched()
        assert len(world.history.records()) == 2


class TestDeclined:
    def test_images_have_their_names_again(self, world, monkeypatch):
        world.observed = Observation(drifts=(), images={NAME: "sha256:two"})
        world.planned = Result(changes=[Change(**{**vars(REPLACED), "error": "is not this stack's"})])
        with pytest.raises(WsError):
            world.back()
        assert world.docker.named == [("sha256:one", NAME), ("sha256:two", NAME)]

    def test_before_the_deployment_leaves_everything(self, world, monkeypatch):
        def decline(*_: object, **__: object) -> None:
            raise typer.Exit(1)

        world.history.begin(record(3, files={"Pulumi.dev.yaml": OLD, "Pulumi.dev.packages.txt": "locked"}))
        monkeypatch.setattr(rollback, "confirm", decline)
        with pytest.raises(typer.Exit):
            world.back(3)
        assert world.is_untouched()
        assert not world.file.with_name("Pulumi.dev.packages.txt").exists()

    def test_once_more_for_work_that_began_meanwhile_puts_everything_back(self, world):
        world.observed = Observation(drifts=(), images={NAME: "sha256:two"})
        world.error = DeclinedError("Nothing was changed.")
        with pytest.raises(DeclinedError):
            world.back()
        assert world.file.read_text() == NEW
        assert world.docker.named == [("sha256:one", NAME), ("sha256:two", NAME)]
        assert len(world.history.records()) == 2

    def test_what_somebody_set_meanwhile_stays(self, world, monkeypatch):
        world.file.with_name("Pulumi.yaml").write_text("name: cslr\nruntime: python\n")

        def edited() -> Result:
            values.set_values("dev", {"redis.memory": "2g"})
            raise LockedError("another run works on stack dev")

        monkeypatch.setattr(deploy.Session, "up", lambda *_: edited())
        with pytest.raises(LockedError):
            world.back()
        assert "2g" in world.file.read_text()

    def test_an_interrupted_deployment_keeps_the_file_that_it_deploys(self, world):
        world.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            world.back()
        assert world.file.read_text() == OLD
        assert world.history.records()[-1].outcome == "interrupted"
