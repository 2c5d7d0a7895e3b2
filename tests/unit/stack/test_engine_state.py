"""stack/engine_state.py: the stack name in the request to the engine, and a state that is being written."""

from types import SimpleNamespace

import pulumi
import pytest

from stack import engine_state
from stack.engine_state import known, stack_reference


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


class TestState:
    @pytest.fixture
    def answers(self, monkeypatch) -> list[object]:
        """What the engine answers, one after the other."""
        answers: list[object] = []

        def invoke(*_: object) -> SimpleNamespace:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return SimpleNamespace(value=answer)

        monkeypatch.setattr(pulumi.runtime, "invoke", invoke)
        monkeypatch.setattr(engine_state, "stack_reference", lambda: "dev")
        monkeypatch.setattr(engine_state, "PAUSE_SECONDS", 0)
        return answers

    def test_that_is_being_written_is_read_again(self, answers):
        answers += [Exception("invoke failed: failed to load checkpoint: EOF"), {"embedded": True}]
        assert known().engine == "embedded"

    def test_that_cannot_be_read_fails(self, answers):
        answers += [Exception("failed to load checkpoint: EOF")] * engine_state.ATTEMPTS
        with pytest.raises(Exception, match="EOF"):
            known()

    def test_another_failure_is_not_repeated(self, answers):
        answers += [Exception("no stack named 'dev' found"), {"embedded": True}]
        with pytest.raises(Exception, match="no stack"):
            known()
