"""stack/engine_state.py: the stack name in the request to the engine."""

import pulumi
import pytest

from stack.engine_state import stack_reference


@pytest.mark.parametrize(
    ("organization", "asked"),
    [
        ("organization", "dev"),  # of backends that have none
        ("", "dev"),
        (None, "dev"),
        ("team", "team/cslr/dev"),  # `pulumi up -s team/dev`, whatever the user's default organization is
    ],
)
def test_a_stack_of_an_organization_is_asked_for_by_its_full_name(monkeypatch, organization, asked):
    monkeypatch.setattr(pulumi, "get_organization", lambda: organization)
    monkeypatch.setattr(pulumi, "get_project", lambda: "cslr")
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    assert stack_reference() == asked
