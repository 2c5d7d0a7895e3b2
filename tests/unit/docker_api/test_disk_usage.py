"""`docker_api/disk_usage.py`: an Engine that measures for somebody else is asked again."""

from typing import Any

import pytest

from docker_api import disk_usage as module
from docker_api.api import DockerError
from docker_api.disk_usage import BUSY, disk_usage


class Engine:
    """Refuses some calls, then answers."""

    def __init__(self, *refusals: str) -> None:
        self.refusals = list(refusals)
        self.asked: list[tuple[Any, ...]] = []

    def call(self, method: str, path: str, *, query: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((method, path, query))
        if self.refusals:
            raise DockerError(f"Docker refused GET /system/df: {self.refusals.pop(0)}", 500)
        return {"Images": []}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)


def test_an_engine_that_measures_for_somebody_else_is_asked_again():
    engine: Any = Engine(BUSY, BUSY)
    assert disk_usage(engine, "image", "build-cache") == {"Images": []}
    assert engine.asked == [("GET", "/system/df", {"type": ("image", "build-cache")})] * 3


def test_any_other_refusal_is_raised_at_once():
    engine: Any = Engine("no space left on device", BUSY)
    with pytest.raises(DockerError, match="no space left"):
        disk_usage(engine, "image")
    assert len(engine.asked) == 1


def test_an_engine_that_never_ends_is_not_asked_for_ever(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", -1.0)
    with pytest.raises(DockerError, match=BUSY):
        disk_usage(Engine(BUSY, BUSY), "volume")  # type: ignore[arg-type]
