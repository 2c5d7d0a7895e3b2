"""The policy pack: the rules of hardening, asked by Pulumi's engine: `pulumi preview --policy-pack policy`."""

import sys
from functools import cache
from pathlib import Path

import pulumi

try:
    from pulumi_policy import PolicyPack
except ModuleNotFoundError:
    sys.exit("The policy pack needs the package pulumi-policy: make .venv/ready-policy")

sys.path.insert(0, str(Path(__file__).parents[1]))  # Pulumi starts it as if this folder were no package

from policy import surroundings
from policy.declared import Surroundings
from policy.pack import policies
from stack.identity import StackIdentity
from stack.stack import Stack


@cache
def around() -> Surroundings:
    """What the stack's files say about it. Changes none of them."""
    identity = StackIdentity(project=pulumi.get_project(), stack=pulumi.get_stack())
    config = pulumi.Config().get
    return surroundings.read(Stack(identity=identity, config=config, dry_run=True, python=sys.executable))


PolicyPack("hardening", [*policies(around)])
