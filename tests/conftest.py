"""Options and fixtures that tests of several folders share."""

import docker
import pytest
import requests


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here and not beside the tests that they are for: pytest reads options only from the first conftest.py."""
    group = parser.getgroup("images", "tests in the images (tests/images)")
    group.addoption(
        "--image-variant", action="append", metavar="GLOB",
        help="variants to test, by keys such as cuda12.8.1-py3.14 (repeatable); the default one if none is named",
    )  # fmt: skip
    group.addoption(
        "--image-target", action="append", metavar="GLOB", help="targets to test (repeatable); all if none is named"
    )
    group.addoption(
        "--image-repository", default="cslr/ml", metavar="NAME", help="repository of the images (default: %(default)s)"
    )
    group.addoption("--images-present", action="store_true", help="test the images that are here; build none")
    group.addoption(
        "--environment", metavar="FOLDER",
        help="run the checks without Docker, in what `python -m tests.images.environment` made in this folder",
    )  # fmt: skip


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """Skips tests where no Docker Engine answers."""
    try:
        docker.from_env(timeout=10).ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        pytest.skip(f"needs a running Docker Engine, which does not answer: {error}")
