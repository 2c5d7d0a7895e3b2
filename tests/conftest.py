"""Options and fixtures for tests of several folders."""

import os
import signal
from collections.abc import Iterator

import docker
import hypothesis
import pytest
import requests

pytest_plugins = ["testing.programs", "testing.skips", "testing.timeouts"]
SELECTING = {"cuda": "GLOB", "python": "GLOB", "target": "GLOB", "phase": "NUMBER"}


def pytest_configure() -> None:
    """Interrupts work, in this process and in those that tests start, also where a shell began us with `&`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A busy machine is not a failure, and no change fails by what another one brought: INPUT_EXAMPLES looks further.
    fixed = "INPUT_EXAMPLES" not in os.environ
    hypothesis.settings.register_profile("cslr", deadline=None, derandomize=fixed)
    hypothesis.settings.load_profile("cslr")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here and not beside the tests that they are for: pytest reads options only from the first conftest.py."""
    group = parser.getgroup("images", "tests in the images (tests/images)")
    for name, what in SELECTING.items():
        group.addoption(f"--image-{name}", action="append", metavar=what, help=f"as `ws matrix --{name}`; repeatable")
    group.addoption(
        "--image-all", action="store_true", help="all that these select; without it one image of each target"
    )
    group.addoption(
        "--image-repository", default="cslr/ml", metavar="NAME", help="repository of the images (default: %(default)s)"
    )
    group.addoption("--images-present", action="store_true", help="test the images that are here; build none")
    group.addoption(
        "--environment", metavar="FOLDER",
        help="run the checks without Docker, in what `python -m tests.images.environment` made in this folder",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def own_signal_handlers() -> Iterator[None]:
    """Programs that a test runs in this process leave their handlers, and the next test may be about an interrupt."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def docker_engine(request: pytest.FixtureRequest) -> None:
    """Fails tests where no Docker Engine answers. `make test` makes one answer before."""
    if request.config.getoption("--environment"):
        return
    try:
        docker.from_env(timeout=10).ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        pytest.fail(f"no Docker Engine answers; `make test` starts one: {error}", pytrace=False)
