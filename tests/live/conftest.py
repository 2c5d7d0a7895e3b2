"""The stacks that several live test modules share, each deployed once: their tests are one group, in order of files.

The whole platform: its life, its security, and last how it is taken down. A small stack: interruptions and the keeper.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images.base.bootstrap import make_base
from images.base.recipe import PLATFORM, base_tag
from testing.live import groups
from testing.live.deployment import FULL, SMALL, LiveStack
from testing.live.pulumi_stack import PulumiStack, inspected

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests in the order of their groups, and refuses groups that would meet."""
    own = [item for item in items if item.path.is_relative_to(HERE)]
    modules = {(groups.group_of(item.nodeid), item.module) for item in own if isinstance(item, pytest.Function)}
    if found := [*groups.strangers(own), *groups.collisions(modules)]:
        raise pytest.UsageError("live tests that run side by side would meet: " + "; ".join(found))
    others = [item for item in items if not item.path.is_relative_to(HERE)]
    items[:] = [*others, *groups.ordered(own)]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> groups.GroupScheduling:
    """In a run in parallel a group has one worker."""
    return groups.GroupScheduling(config, log)


@pytest.fixture(scope="session")
def base(docker_engine: None) -> str:
    """The tag of the base image of services, made if it is not here."""
    tag = base_tag("trixie", "bootstrap")
    make_base("trixie", "bootstrap", tag, None, PLATFORM)
    return tag


@pytest.fixture(scope="session")
def undeployed(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """The whole platform without GPU, not deployed yet; nothing is left of it in the end."""
    yield from _stack("live", FULL, tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="session")
def platform(undeployed: LiveStack) -> LiveStack:
    """The whole platform, deployed as people do it. A test leaves it complete and healthy."""
    done = undeployed.ws("up", "--engine", "embedded")
    assert done.returncode == 0, done.stdout
    return undeployed


@pytest.fixture(scope="session")
def small(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """Redis and the health service alone, deployed."""
    for stack in _stack("live-small", SMALL, tmp_path_factory.mktemp("small")):
        done = stack.ws("up", "--engine", "embedded")
        assert done.returncode == 0, done.stdout
        yield stack


@pytest.fixture(scope="module")
def left_by_embedded(live: LiveStack) -> dict[str, Any]:
    """What the embedded engine leaves of a test file's stack `live`, and finds nothing more to do on; then down."""
    assert live.up().ok
    assert live.preview().unchanged
    left = inspected(live)
    assert live.down().ok
    return left


@pytest.fixture(scope="module")
def pulumi(live: LiveStack, left_by_embedded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> PulumiStack:
    """The same stack, deployed by the genuine engine."""
    return PulumiStack.deployed(live, tmp_path_factory.mktemp("backend"))


def _stack(name: str, settings: dict[str, object], folder: Path) -> Iterator[LiveStack]:
    stack = LiveStack.make(name, settings, folder)
    stack.remove()  # what a killed run of these tests left
    try:
        yield stack
    finally:
        stack.remove()
