"""`ws matrix --also-tag`: one more tag for each image that was built, and none that Docker would refuse."""

from types import SimpleNamespace
from typing import Any

import pytest

from config.matrix import MatrixSettings
from config.matrix_rules import select
from docker_api.api import DockerError
from images.base.recipe import PLATFORMS
from ws.errors import WsError
from ws.matrix import tags
from ws.matrix.run import Outcome

CONTENT = "registry.test/runtime:cuda13.1.1-py3.14-0123456789ab"


def planned(*names: str, push: bool = False) -> Any:
    settings = SimpleNamespace(registry="registry.test", push=push)
    return SimpleNamespace(
        args=SimpleNamespace(settings=settings),
        tags=[(SimpleNamespace(name=name, variant_key="x"), CONTENT) for name in names],
    )


@pytest.mark.parametrize("text", ["", "-x", "a b", "x" * 61, "a/b", "ä"])
def test_what_cannot_be_in_a_tag_is_refused(text):
    with pytest.raises(WsError, match="cannot be part of a tag"):
        tags.check(text)


@pytest.mark.parametrize("text", [None, "43e9059a1b2c", "v1.2.3"])
def test_a_commit_or_a_version_is_accepted(text):
    tags.check(text)


def test_images_that_failed_get_none():
    found = tags.names(planned("runtime-a", "runtime-b"), Outcome(wanted=[], failures={"runtime-b": "x"}), "43e9")
    assert found == {"runtime-a": (CONTENT, "registry.test/ml:runtime-a-43e9")}


def test_one_of_a_service_is_in_the_repository_of_that_image():
    settings = MatrixSettings(targets=(), services=("health",), platforms=PLATFORMS)
    plan: Any = SimpleNamespace(
        args=SimpleNamespace(settings=settings), tags=[(wanted, CONTENT) for wanted in select(settings)]
    )
    assert tags.names(plan, Outcome(wanted=[]), "43e9") == {
        "health": (CONTENT, "cslr/health:43e9"),
        "health-arm64": (CONTENT, "cslr/health:43e9-arm64"),
    }


@pytest.mark.parametrize("push", [False, True])
def test_tags_are_pushed_where_images_are(push, monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(tags, "DockerApi", lambda: None)
    monkeypatch.setattr(tags, "tag_image", lambda _, image, tag: done.append(f"{image} = {tag}"))
    monkeypatch.setattr(tags, "push", lambda _, tag, __: done.append(f"push {tag}"))
    tags.also(planned("runtime-a", push=push), Outcome(wanted=[]), "43e9", lambda _: None)
    further = "registry.test/ml:runtime-a-43e9"
    assert done == [f"{CONTENT} = {further}", *([f"push {further}"] if push else [])]


def test_one_that_fails_is_among_the_failures(monkeypatch):
    def fail(*_: object) -> None:
        raise DockerError("no such image")

    monkeypatch.setattr(tags, "DockerApi", lambda: None)
    monkeypatch.setattr(tags, "tag_image", fail)
    outcome = Outcome(wanted=[])
    tags.also(planned("runtime-a"), outcome, "43e9", lambda _: None)
    assert outcome.failures == {"runtime-a-43e9": "no such image"}
