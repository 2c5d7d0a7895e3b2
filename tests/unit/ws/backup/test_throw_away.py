"""The Postgres in which `ws backup verify` compares databases, with a simulated Docker Engine."""

from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound

from config.services import ImageSettings, PostgresSettings
from docker_api.one_off import limits
from stack.identity import StackIdentity
from ws.backup import throw_away
from ws.backup.databases import Server
from ws.backup.throw_away import MEMORY, throw_away_server
from ws.errors import WsError

IDENTITY = StackIdentity(project="cslr", stack="dev")
NAME = "cslr-dev-backup-verify"
BUILT = [{"Id": "sha256:old", "Created": 1}, {"Id": "sha256:new", "Created": 2}]


class Engine:
    """Its containers by name, images, and what was made and removed."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.images: list[dict[str, Any]] = BUILT
        self.pulled: dict[str, str] = {}
        self.made: dict[str, Any] = {}
        self.removed: list[str] = []
        self.containers = SimpleNamespace(get=self.get, create=self.create)
        self.api = SimpleNamespace(
            attach_socket=lambda *_, **__: SimpleNamespace(close=lambda: None), start=lambda _: None
        )

    def get(self, name: str) -> Any:
        if name not in self.states:
            raise NotFound("no such container")
        return SimpleNamespace(id="c", status=self.states[name], remove=self.remover(name), start=lambda: None)

    def create(self, image: str, **options: Any) -> Any:
        self.made = {"image": image, **options}
        self.states[options["name"]] = "running"
        return self.get(options["name"])

    def remover(self, name: str) -> Any:
        def remove(*, v: bool, force: bool) -> None:
            assert v
            assert force
            self.removed.append(name)
            self.states.pop(name, None)

        return remove

    def call(self, *_: Any) -> dict[str, Any]:
        return {"DockerRootDir": "/"}

    def find(self, path: str) -> dict[str, Any] | None:
        found = self.pulled.get(path.removeprefix("/images/").removesuffix("/json"))
        return {"Id": found} if found else None

    def labelled(self, *_: Any) -> list[dict[str, Any]]:
        return self.images


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    found = Engine()
    monkeypatch.setattr("docker.from_env", lambda **_: found)
    monkeypatch.setattr(throw_away, "postgres_major", lambda image, _: 18 if image.endswith("18") else 17)
    monkeypatch.setattr(throw_away, "containers", lambda _: [])
    monkeypatch.setattr(Server, "run", lambda *_: None)
    return found


def run(engine: Any, *, largest: int = 1, image: ImageSettings | None = None) -> None:
    settings = PostgresSettings(image=image or ImageSettings())
    with throw_away_server(IDENTITY, engine, settings, owners=["mlflow"], largest=largest):
        assert engine.states == {NAME: "running"}


def test_it_has_no_network_no_rights_and_limits(engine):
    run(engine)
    made = engine.made
    assert (made["network_mode"], made["cap_drop"], made["cap_add"], made["read_only"]) == ("none", ["ALL"], [], True)
    assert {key: made[key] for key in limits(MEMORY)} == limits(MEMORY)
    assert made["user"] == "1000:1000"


def test_its_volume_has_no_name_and_goes_with_it(engine):
    run(engine)
    assert [mount["Source"] for mount in engine.made["mounts"]] == [None]
    assert (engine.made["auto_remove"], engine.removed) == (True, [NAME])


def test_it_is_removed_after_a_failure(engine):
    def fail() -> None:
        with throw_away_server(IDENTITY, engine, PostgresSettings(), owners=[], largest=1):
            raise WsError("no")

    with pytest.raises(WsError, match=r"^no$"):
        fail()
    assert engine.states == {}


def test_one_that_ends_by_itself_is_named_as_the_cause(engine):
    def end() -> None:
        with throw_away_server(IDENTITY, engine, PostgresSettings(), owners=[], largest=1):
            engine.states.clear()
            raise WsError("exit code 137")

    with pytest.raises(WsError, match=r"temporary Postgres ended too early \(exit code 137\)\. Run it again"):
        end()


def test_one_that_was_never_started_is_removed_first(engine):
    engine.states[NAME] = "created"
    run(engine)
    assert engine.removed == [NAME, NAME]


def test_one_of_another_user_stays(engine):
    engine.states[NAME] = "running"
    with pytest.raises(WsError, match=f"runs on this host, in the container {NAME}"):
        run(engine)
    assert engine.removed == []


class TestImage:
    def test_it_is_that_of_the_stack(self, engine, monkeypatch):
        deployed = SimpleNamespace(service="postgres", image_id="sha256:deployed")
        monkeypatch.setattr(throw_away, "containers", lambda _: [deployed])
        run(engine)
        assert engine.made["image"] == "sha256:deployed"

    def test_of_a_stack_that_is_down_it_is_the_newest_that_was_built(self, engine):
        run(engine)
        assert engine.made["image"] == "sha256:new"

    def test_it_is_of_the_version_that_the_stack_has(self, engine):
        engine.images = [{"Id": "sha256:of-18", "Created": 3}, *BUILT]
        run(engine)
        assert engine.made["image"] == "sha256:new"

    def test_of_a_stack_that_pulls_it_is_what_is_pulled(self, engine):
        engine.pulled = {"postgres:17": "sha256:pulled"}
        run(engine, image=ImageSettings(source="pull", reference="postgres:17"))
        assert engine.made["image"] == "sha256:pulled"

    def test_without_one_nothing_is_made(self, engine):
        engine.images = []
        with pytest.raises(WsError, match="no image of it either") as raised:
            run(engine)
        assert "ws up -s dev" in str(raised.value)
        assert engine.made == {}


def test_little_room_is_said_before_anything_is_made(engine):
    with pytest.raises(WsError, match=r"/ lacks .* for a temporary database"):
        run(engine, largest=10**15)
    assert engine.made == {}
