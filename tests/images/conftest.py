"""Selects the images to test and their checks, and builds the images as for users."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import docker
import pytest

from config.matrix import parse
from config.matrix_rules import check, select
from config.problems import SettingsError
from images.family import BuildTarget
from testing.harness import PROJECT
from tests.images.places import BASE, Environment, ImageContainer, Place
from tests.images.programs import Check, checks_for

BUILD_SECONDS = 2400.0  # a bare machine downloads and installs everything
HERE = Path(__file__).parent
SELECTED_BY = {"cuda": "cuda", "python": "python", "target": "targets", "phase": "phases"}  # option → key of the stack


def selection(config: pytest.Config) -> dict[str, list[str]]:
    """The options that select: what `ws matrix` calls them → their values."""
    return {name: config.getoption(f"--image-{name}") or [] for name in SELECTED_BY}


def subjects(config: pytest.Config) -> tuple[BuildTarget, ...]:
    """What the options select, as `ws matrix` does. Raises UsageError."""
    chosen = {SELECTED_BY[name]: values for name, values in selection(config).items() if values}
    try:
        settings = parse({**chosen, "minimal": not config.getoption("--image-all")}, stack_file="the options")
        check(settings, "the options")
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None
    found = select(settings)
    # An environment is one place; it holds what the last of the images holds.
    return found[-1:] if config.getoption("--environment") else found


def layers_of(config: pytest.Config, subject: BuildTarget) -> tuple[str, ...]:
    """The layers whose checks apply, from the lowest on."""
    return subject.image.layers if config.getoption("--environment") else (BASE, *subject.image.layers)


def layers_to_check(config: pytest.Config, subject: BuildTarget, chosen: tuple[BuildTarget, ...]) -> tuple[str, ...]:
    """Those whose checks run in it. Where another of the images is built on it, which checks all, these are the layers
    that it adds itself: what a layer needs and lacks shows where nothing is above. `--image-all` checks all in each.
    """
    layers = layers_of(config, subject)
    if config.getoption("--image-all") or not any(subject in above.ancestors for above in chosen):
        return layers
    parent = next(subject.ancestors, None)
    below = {BASE, *(parent.image.layers if parent in chosen else ())}
    return tuple(layer for layer in layers if layer not in below)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each image, and for each check that applies to it."""
    if "place" not in metafunc.fixturenames:
        return
    chosen = subjects(metafunc.config)
    if "check" in metafunc.fixturenames:
        pairs = [
            (subject, check)
            for subject in chosen
            for check in checks_for(layers_to_check(metafunc.config, subject, chosen))
        ]
        ids = [f"{subject.name}:{check}" for subject, check in pairs]
        metafunc.parametrize(("place", "check"), pairs, indirect=["place"], ids=ids, scope="session")
    else:
        metafunc.parametrize("place", chosen, indirect=True, ids=[subject.name for subject in chosen], scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of an image after each other, so that it has one container."""
    own = [index for index, item in enumerate(items) if item.path.is_relative_to(HERE) and _subject(item)]
    order = list(dict.fromkeys(_subject(items[index]) for index in own))
    ordered = sorted((items[index] for index in own), key=lambda item: order.index(_subject(item)))
    for index, item in zip(own, ordered, strict=True):
        items[index] = item


def _subject(item: pytest.Item) -> BuildTarget | None:
    return cast("BuildTarget | None", _parameters(item).get("place"))


def _parameters(item: pytest.Item) -> dict[str, object]:
    return dict(item.callspec.params) if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


@pytest.fixture(scope="session")
def family(docker_engine: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The images under test, on the engine. What is there already is not built again. An environment needs none."""
    if request.config.getoption("--images-present") or request.config.getoption("--environment"):
        return
    words = [word for name, values in selection(request.config).items() for v in values for word in (f"--{name}", v)]
    extent = "--all" if request.config.getoption("--image-all") else "--minimal"
    done = subprocess.run(
        [sys.executable, "-m", "ws", "matrix", "--engine", "embedded", "--yes", extent, *words],
        cwd=PROJECT, env={**os.environ, "XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=BUILD_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def place(family: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The image or environment under test, with the programs of the chosen tests already at work."""
    subject, layers = request.param, layers_of(request.config, request.param)
    place: Place
    if folder := request.config.getoption("--environment"):
        scratch = tmp_path_factory.mktemp("scratch")
        place = Environment(subject=subject, layers=layers, folder=Path(folder).absolute(), scratch=scratch)
    else:
        tag = f"{request.config.getoption('--image-repository')}:{subject.name}"
        place = ImageContainer(subject=subject, layers=layers, engine=docker.from_env(timeout=600), tag=tag)
    chosen = [_parameters(item) for item in request.session.items if _subject(item) == subject]
    place.begin(check.program for parameters in chosen if isinstance(check := parameters.get("check"), Check))
    try:
        yield place
    finally:
        place.close()


@pytest.fixture
def image(place: Place) -> ImageContainer:
    """The image under test; in an environment there is none."""
    if not isinstance(place, ImageContainer):
        pytest.skip("is about an image, and an environment is tested")
    return place
