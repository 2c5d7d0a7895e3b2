"""A good container, which tests change for the worse."""

from typing import Any

import pytest

from tests.unit.policy.broken import mount
from tests.unit.policy.stacks import STACKS


@pytest.fixture(scope="module")
def redis(tmp_path_factory) -> dict[str, Any]:
    deployed, _ = STACKS["dev"].deploy(tmp_path_factory.mktemp("state"))
    return deployed.containers["redis"].inputs | mount("/state/dev/secrets/0/password", "/run/secrets/redis-password")
