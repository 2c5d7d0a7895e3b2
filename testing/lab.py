"""The settings of a three-host cluster, and each host's settings that follow from them."""

import copy
import json
from typing import Any

from config.cluster import Membership
from config.cluster_file import find_membership
from config.load import load
from config.platform import PlatformSettings

LAB: dict[str, Any] = {
    "name": "lab",
    "hosts": {"alpha": {"address": "10.88.0.1"}, "beta": {"address": "10.88.0.2"}, "gamma": {"address": "10.88.0.3"}},
    "head_whitelist": ["beta", "alpha"],
    "redis": {"host": "gamma", "replica": "beta"},
    "mlflow": {"host": "gamma"},
}


def changed(**keys: Any) -> dict[str, Any]:
    """The block with other values of some keys at its top; None removes one."""
    block = copy.deepcopy(LAB) | keys
    return {key: value for key, value in block.items() if value is not None}


def membership_in(block: object, stack: str = "alpha", **config: str) -> Membership | None:
    """The membership that a stack finds, with the block in its own file."""
    text = block if isinstance(block, str) else json.dumps(block)
    return find_membership({"cluster": text, **config}.get, stack=stack, stack_file=f"Pulumi.{stack}.yaml")


def membership_of(host: str, block: object = None) -> Membership:
    membership = membership_in(block or LAB, host)
    assert membership
    return membership


def at(host: str, raw: object = None, block: object = None) -> PlatformSettings:
    """The settings of a host's stack."""
    return load(raw, stack_file=f"Pulumi.{host}.yaml", membership=membership_of(host, block))
