"""Stacks that tests of several components compare with."""

import pytest

from testing.harness import Deployed, deploy
from tests.unit.everything import SECRETS, SINGLE


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The state folder of a module's stacks."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def off(home) -> Deployed:
    """The stack with everything on one host, without what is off by default."""
    return deploy(SINGLE, state_home=home, secrets=SECRETS)
