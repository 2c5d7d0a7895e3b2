"""Every resource of every stack keeps the rules of hardening, and nothing is exempt without need."""

from functools import cache

import pytest

from policy.check import violations
from policy.declared import Resource
from policy.rules import RULES
from testing.harness import CONTAINER
from tests.unit.policy.stacks import STACKS


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Stack by name → its resources and what its files say; each is deployed once."""
    return cache(lambda name: STACKS[name].deploy(tmp_path_factory.mktemp("state")))


@pytest.mark.parametrize("name", STACKS)
def test_every_stack_keeps_every_rule(stack, name):
    deployed, around = stack(name)
    assert bool(deployed.of_type(CONTAINER)) == (name != "image family")
    assert [violation.text for violation in violations(deployed.custom, around)] == []


def test_nothing_is_exempt_that_no_stack_needs(stack):
    exempt = {
        (rule.name, exemption.found, service)
        for rule in RULES
        for exemption in rule.exemptions
        for service in exemption.services
    }
    needed = set()
    for deployed, around in map(stack, STACKS):
        for resource in map(Resource.of, deployed.of_type(CONTAINER).values()):
            needed |= {(rule.name, found, resource.service) for rule in RULES for found in rule.look(resource, around)}
    assert exempt - needed == set()
