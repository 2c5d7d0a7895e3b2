"""Private interfaces of Pulumi's SDK that this project uses; no other module may use them.

Written for the version `PINNED` (requirements.in). Each function has a test of its own, so that an upgrade of the SDK
fails in tests/unit/stack/test_pulumi_internals.py and nowhere else.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pulumi
from pulumi.output import UNKNOWN as UNKNOWN_TEXT
from pulumi.output import Unknown
from pulumi.runtime import config, mocks, rpc, settings, stack, sync_await
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.proto.resource_pb2 import RegisterResourceResponse, ResourceInvokeResponse, Result

__all__ = [
    "FAILED", "PINNED", "UNKNOWN_TEXT", "MockCallArgs", "MockMonitor", "MockResourceArgs", "Mocks",
    "RegisterResourceResponse", "Registered", "ResourceInvokeResponse", "Unknown", "deserialized", "forget_last_run",
    "is_secret", "plain", "program_config", "register_stack_outputs", "run_to_end", "secret_keys", "serialized",
    "stack_outputs", "unwrapped", "use_monitor", "watch_registrations",
]  # fmt: skip

PINNED = "3.272.0"
FAILED = Result.FAIL
T = TypeVar("T")


# --- in the program ---


def program_config() -> dict[str, str]:
    """All config that the program was given, by full keys; `pulumi.Config` tells of keys that are known only."""
    return {**config.get_config_env(), **config.CONFIG.get()}


def secret_keys() -> frozenset[str]:
    """The keys of it that hold a secret value somewhere."""
    return frozenset(filter(config.is_config_secret, program_config()))


def register_stack_outputs(outputs: Mapping[str, Any]) -> None:
    """Gives the stack outputs at once, instead of at the end of the program, which a failure keeps from coming."""
    cast(pulumi.ComponentResource, settings.get_root_resource()).register_outputs(dict(outputs))


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A resource that the program registers, as its engine is told of it."""

    type: str
    name: str
    inputs: dict[str, Any]  # secrets unwrapped, unknown values as `Unknown`


def watch_registrations(look: Callable[[Registered], None], at_end: Callable[[], None]) -> None:
    """Shows each resource to `look` before the engine of this run has it, and calls `at_end` after the last one.

    `look` is called from several threads, and what it raises keeps the engine from being told. Whatever either raises
    is the program's own error.
    """
    monitor = cast(Any, settings.get_monitor())
    register, end = monitor.RegisterResource, monitor.SignalAndWaitForShutdown

    def watched(request: Any) -> Any:  # noqa: ANN401 (gRPC)
        if request.custom:
            inputs = plain(deserialized(request.object))
            inputs.pop("__defaults", None)
            look(Registered(type=request.type, name=request.name, inputs=inputs))
        return register(request)

    def ended(request: Any) -> Any:  # noqa: ANN401 (gRPC)
        at_end()
        return end(request)

    monitor.RegisterResource, monitor.SignalAndWaitForShutdown = watched, ended


# --- around the program: the embedded engine ---


def forget_last_run() -> None:
    """Drops what an earlier run in this process left, which may have been aborted: its root, and its tasks."""
    settings.set_root_resource(None)  # type: ignore[arg-type]
    settings.SETTINGS.outputs.clear()


def use_monitor(
    monitor: MockMonitor, calls: Mocks, *, project: str, stack: str, preview: bool, logger: logging.Logger
) -> None:
    """Has the program register its resources with `monitor`, and call functions of `calls`."""
    mocks.set_mocks(calls, project=project, stack=stack, preview=preview, monitor=monitor, logger=logger)


async def run_to_end(program: Callable[[], object]) -> None:
    """Runs a program, and waits for what it registered."""
    await stack.run_pulumi_func(program)  # type: ignore[arg-type]


def stack_outputs() -> dict[str, Any]:
    """The outputs that the program exported."""
    root = settings.get_root_resource()
    return root.outputs if isinstance(root, stack.Stack) else {}


def serialized(outputs: Mapping[str, Any]) -> Any:  # noqa: ANN401 (a message of protobuf)
    """Outputs of a resource as the program takes them. Runs the event loop of this thread meanwhile."""
    return wait(rpc.serialize_properties(dict(outputs), {}))


def deserialized(properties: Any) -> dict[str, Any]:  # noqa: ANN401 (a message of protobuf)
    """Inputs as the program gives them: secrets stay wrapped, unknown values are `Unknown`."""
    return dict(rpc.deserialize_properties(properties, keep_unknowns=True))


def is_secret(value: object) -> bool:
    """Whether a value of these inputs is a wrapped secret."""
    return rpc.is_rpc_secret(value)


def unwrapped(value: object) -> Any:  # noqa: ANN401 (a property of a resource is any JSON value)
    """The value of a wrapped secret."""
    return rpc.unwrap_rpc_secret(value)


def plain(value: Any) -> Any:  # noqa: ANN401
    """The value itself, without the wrapping of secrets."""
    if is_secret(value):
        return plain(unwrapped(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def wait(awaitable: Awaitable[T]) -> T:
    """The result of an awaitable, from code that is not a coroutine."""
    return sync_await._sync_await(awaitable)
