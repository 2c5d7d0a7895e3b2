"""The storage path that Ray Train and Tune have by default."""

from types import ModuleType
from typing import Any

import pytest

from contracts import checkpoints
from entrypoints.hooks import storage_path

RAYS_OWN = "/home/cslr/ray_results"


def default() -> Any:
    module: Any = ModuleType("ray.train.constants")
    module.DEFAULT_STORAGE_PATH = RAYS_OWN
    storage_path.hook_constants(module)
    return module.DEFAULT_STORAGE_PATH


@pytest.mark.parametrize("place", ["/checkpoints", "s3://bucket/lab?region=eu-central-1"])
def test_is_what_the_settings_say(monkeypatch, place):
    monkeypatch.setenv(checkpoints.VARIABLE, place)
    assert default() == place


def test_is_rays_own_where_they_say_nothing(monkeypatch):
    monkeypatch.delenv(checkpoints.VARIABLE, raising=False)
    assert default() == RAYS_OWN


def test_of_a_ray_without_the_constant_is_refused():
    with pytest.raises(AttributeError, match="DEFAULT_STORAGE_PATH"):
        storage_path.hook_constants(ModuleType("ray.train.constants"))
