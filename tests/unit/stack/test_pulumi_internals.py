"""The private interfaces of Pulumi's SDK behave as this project needs.

What fails here after an upgrade is put right in stack/pulumi_internals.py, and then the pin there is raised.
"""

import asyncio
import json
import logging
from importlib.metadata import version
from typing import Any

import pulumi
import pytest

from stack import pulumi_internals as internals

WRAPPED = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "hunter2"}


@pytest.fixture(autouse=True)
def pinned():
    assert version("pulumi") == internals.PINNED, "written for another version: see the module's docstring"


class NoCalls(internals.Mocks):
    def call(self, args: internals.MockCallArgs) -> Any:
        raise NotImplementedError

    def new_resource(self, args: internals.MockResourceArgs) -> Any:
        raise NotImplementedError


class Monitor(internals.MockMonitor):
    """Notes what is registered."""

    def __init__(self) -> None:
        super().__init__(NoCalls())
        self.registered: list[tuple[str, dict[str, Any]]] = []
        self.outputs: list[dict[str, Any]] = []

    def RegisterResource(self, request: Any) -> internals.RegisterResourceResponse:  # noqa: N802 (gRPC)
        self.registered.append((request.name, internals.deserialized(request.object)))
        urn = self.make_urn(request.parent, request.type, request.name)
        return internals.RegisterResourceResponse(urn=urn)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 (gRPC)
        self.outputs.append(internals.deserialized(request.outputs))
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def run(program, *, preview: bool = False) -> tuple[Monitor, dict[str, Any]]:
    """What a program registers and exports."""
    monitor = Monitor()

    async def whole() -> dict[str, Any]:
        internals.forget_last_run()
        internals.use_monitor(
            monitor, NoCalls(), project="cslr", stack="dev", preview=preview, logger=logging.getLogger("test")
        )
        await internals.run_to_end(program)
        return internals.stack_outputs()

    return monitor, asyncio.run(whole())


class Thing(pulumi.CustomResource):
    def __init__(self, name: str, **inputs: Any) -> None:
        super().__init__("test:index:Thing", name, inputs)


def test_program_config_has_keys_that_nobody_asks_for():
    pulumi.runtime.set_all_config({"cslr:xyzzy": "1"})
    assert internals.program_config()["cslr:xyzzy"] == "1"


def test_secret_keys_are_those_with_a_secret_value():
    pulumi.runtime.set_all_config({"cslr:a": "1", "cslr:b": "2"}, ["cslr:b"])
    assert internals.secret_keys() == {"cslr:b"}


def test_register_stack_outputs_is_at_once():
    def program() -> None:
        internals.register_stack_outputs({"verification": "not done"})

    monitor, _ = run(program)
    assert {"verification": "not done"} in monitor.outputs


def test_use_monitor_has_every_registration_and_run_to_end_waits_for_it():
    monitor, _ = run(lambda: Thing("one", size=3))
    assert ("one", {"size": 3}) in monitor.registered


def test_use_monitor_tells_a_preview():
    seen: list[bool] = []
    run(lambda: seen.append(pulumi.runtime.is_dry_run()), preview=True)
    assert seen == [True]


def test_run_to_end_hands_on_what_the_program_raises():
    def program() -> None:
        raise pulumi.RunError("no such key")

    with pytest.raises(pulumi.RunError, match="no such key"):
        run(program)


def test_stack_outputs_are_those_of_this_run():
    assert run(lambda: pulumi.export("a", 1))[1] == {"a": 1}
    assert run(lambda: pulumi.export("b", 2))[1] == {"b": 2}  # forget_last_run


def test_serialized_outputs_come_back_as_they_were():
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        try:
            message = internals.serialized({"a": [1, {"b": "c"}]})
        finally:
            asyncio.set_event_loop(None)
    assert internals.deserialized(message) == {"a": [1, {"b": "c"}]}


def test_deserialized_keeps_what_is_not_known_and_what_is_secret():
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        try:
            message = internals.serialized({"later": internals.UNKNOWN_TEXT, "secret": WRAPPED})
        finally:
            asyncio.set_event_loop(None)
    found = internals.deserialized(message)
    assert isinstance(found["later"], internals.Unknown)
    assert internals.is_secret(found["secret"])


def test_unwrapped_is_the_value_of_a_secret():
    assert internals.is_secret(WRAPPED)
    assert not internals.is_secret({"value": "hunter2"})
    assert internals.unwrapped(WRAPPED) == "hunter2"


def test_wait_ends_in_a_thread_without_a_running_loop():
    async def answer() -> int:
        return 42

    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        try:
            assert internals.wait(answer()) == 42
        finally:
            asyncio.set_event_loop(None)


def test_config_that_comes_from_the_environment_is_there(monkeypatch):
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"cslr:b": "2"}))
    assert internals.program_config()["cslr:b"] == "2"
