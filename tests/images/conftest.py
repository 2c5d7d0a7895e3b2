"""Which images are tested, and by which checks; and the images, built by the program that builds them for users."""

import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

import docker
import pytest

from components.variants import DEFAULT_VARIANT, VARIANTS
from images.catalog import CATALOG, FAMILY
from tests.harness import PROJECT
from tests.images.places import BASE, Environment, ImageContainer, Place, Subject
from tests.images.programs import Check, checks_for

BUILD_SECONDS = 2400.0  # a bare machine downloads and installs everything
HERE = Path(__file__).parent


def layers_of(config: pytest.Config, subject: Subject) -> tuple[str, ...]:
    """The layers whose checks apply, from the lowest on."""
    layers = tuple(layer for layer in subject.image.layers if layer != BASE)
    return layers if config.getoption("--environment") else (BASE, *layers)


def subjects(config: pytest.Config) -> list[Subject]:
    """What the options choose, parents before their children."""
    variants = config.getoption("--image-variant") or [DEFAULT_VARIANT.key]
    targets = config.getoption("--image-target") or ["*"]
    chosen = [
        Subject(image=CATALOG[target], variant=variant)
        for variant in VARIANTS if any(fnmatchcase(variant.key, glob) for glob in variants)
        for target in FAMILY if any(fnmatchcase(target, glob) for glob in targets)
    ]  # fmt: skip
    if not chosen:
        raise pytest.UsageError(
            f"No image has a variant like {', '.join(variants)} and a target like {', '.join(targets)}. "
            f"Variants are {', '.join(variant.key for variant in VARIANTS)}, targets {', '.join(FAMILY)}."
        )
    # An environment is one place; it holds what the last of the targets holds.
    return chosen[-1:] if config.getoption("--environment") else chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each image, and for each check that applies to it."""
    if "place" not in metafunc.fixturenames:
        return
    chosen = subjects(metafunc.config)
    if "check" in metafunc.fixturenames:
        pairs = [(subject, check) for subject in chosen for check in checks_for(layers_of(metafunc.config, subject))]
        ids = [f"{subject}:{check}" for subject, check in pairs]
        metafunc.parametrize(("place", "check"), pairs, indirect=["place"], ids=ids, scope="session")
    else:
        metafunc.parametrize("place", chosen, indirect=True, ids=str, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of an image after each other, so that it has one container."""
    own = [index for index, item in enumerate(items) if item.path.is_relative_to(HERE) and _subject(item)]
    ordered = sorted((items[index] for index in own), key=lambda item: _order(_subject(item)))
    for index, item in zip(own, ordered, strict=True):
        items[index] = item


def _subject(item: pytest.Item) -> Subject | None:
    return cast("Subject | None", _parameters(item).get("place"))


def _parameters(item: pytest.Item) -> dict[str, object]:
    return dict(item.callspec.params) if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


def _order(subject: Subject | None) -> tuple[int, int]:
    assert subject
    return VARIANTS.index(subject.variant), FAMILY.index(subject.image.name)


@pytest.fixture(scope="session")
def family(docker_engine: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The images under test, on the engine. What is there already is not built again."""
    if request.config.getoption("--images-present"):
        return
    chosen = subjects(request.config)
    state = tmp_path_factory.mktemp("state")
    for variant in dict.fromkeys(subject.variant for subject in chosen):
        targets = [subject.image.name for subject in chosen if subject.variant == variant]
        words = [word for target in targets for word in ("--target", target)]
        command = [sys.executable, "-m", "ws", "matrix", "--engine", "embedded", "--yes"]
        command += ["--cuda", variant.cuda, "--python", variant.python, *words]
        done = subprocess.run(
            command, cwd=PROJECT, env={**os.environ, "XDG_STATE_HOME": str(state)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The image or environment under test, with the programs of the chosen tests already at work."""
    subject, layers = request.param, layers_of(request.config, request.param)
    place: Place
    if folder := request.config.getoption("--environment"):
        scratch = tmp_path_factory.mktemp("scratch")
        place = Environment(subject=subject, layers=layers, folder=Path(folder).absolute(), scratch=scratch)
    else:
        request.getfixturevalue("family")
        tag = f"{request.config.getoption('--image-repository')}:{subject}"
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
