"""`--policy-pack` is refused, with the remedy, where no policy pack can be asked."""

import pytest

from ws.engine_names import EngineName
from ws.errors import WsError
from ws.pulumi import policy_pack


def test_the_embedded_engine_needs_none():
    with pytest.raises(WsError, match=r"asks the same rules without it\. Nothing was changed\.\n.*--engine pulumi"):
        policy_pack.check(EngineName.EMBEDDED)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(policy_pack, "find_spec", lambda _: None)
    with pytest.raises(WsError, match=r"pulumi-policy, which is not installed(.|\n)*make \.venv/ready-policy"):
        policy_pack.check(EngineName.PULUMI)


def test_pulumi_with_the_package_can_be_asked(monkeypatch):
    monkeypatch.setattr(policy_pack, "find_spec", lambda name: name)
    policy_pack.check(EngineName.PULUMI)
