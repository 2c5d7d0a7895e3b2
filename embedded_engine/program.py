"""Runs the Pulumi program with a mocked engine and passes each registered resource to a deployment."""

import asyncio
import contextlib
import logging
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi

from config.stack_file import StackConfig
from embedded_engine.changes import ProgramError, name_in
from embedded_engine.registration import Registration, plain, recorded
from stack.engine_state import EMBEDDED, READ_STATE
from stack.pulumi_internals import (
    FAILED,
    MockCallArgs,
    MockMonitor,
    MockResourceArgs,
    Mocks,
    RegisterResourceResponse,
    ResourceInvokeResponse,
    deserialized,
    forget_last_run,
    run_to_end,
    serialized,
    stack_outputs,
    use_monitor,
)

__all__ = ["Handler", "Monitor", "Outcome", "ProgramError", "run_program"]

# A handler's result for a resource: its ID and outputs; None if it failed or was skipped.
Outcome = tuple[str, dict[str, Any]] | None
Handler = Callable[[Registration], Outcome]

# How many resources can wait to become healthy at the same time.
WORKERS = 16


class Monitor(MockMonitor):
    """Takes registrations as the Pulumi engine would; unlike with the mocks, other resources continue if one fails."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(_NoCalls())
        self._handler = handler

    def Invoke(self, request: Any) -> ResourceInvokeResponse:  # noqa: ANN401, N802 (gRPC)
        """A function that the program calls: only one is supported, which asks for the engine's state."""
        with _event_loop():
            return super().Invoke(request)  # type: ignore[no-any-return, no-untyped-call]

    def RegisterResource(self, request: Any) -> RegisterResourceResponse:  # noqa: ANN401, N802 (gRPC)
        """One resource: returns when it exists."""
        urn = self.make_urn(request.parent, request.type, request.name)
        if not request.custom:
            return RegisterResourceResponse(urn=urn)
        with _event_loop():
            return self._made(request, urn)

    def _made(self, request: Any, urn: str) -> RegisterResourceResponse:  # noqa: ANN401 (gRPC)
        inputs = deserialized(request.object)
        inputs.pop("__defaults", None)
        outcome = self._handler(
            Registration(
                urn=urn,
                type=request.type,
                name=request.name,
                inputs=plain(inputs),
                recorded=recorded(inputs),
                dependencies=tuple(request.dependencies),
                retain_on_delete=request.retainOnDelete,
                owner=name_in(request.parent),
            )
        )
        if outcome is None:
            return RegisterResourceResponse(urn=urn, result=FAILED)
        identifier, outputs = outcome
        properties = serialized(outputs)
        return RegisterResourceResponse(urn=urn, id=identifier, object=properties)


@contextlib.contextmanager
def _event_loop() -> Iterator[None]:
    """The event loop that the SDK needs in each thread that unpacks values. The SDK's own way leaves loops to the
    garbage collector, which complains about some on stderr.
    """
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        asyncio.set_event_loop(loop)
        try:
            yield
        finally:
            asyncio.set_event_loop(None)


class _NoCalls(Mocks):
    """Refuses every provider function by name, except the one for the engine's state."""

    def call(self, args: MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        if args.token == READ_STATE:
            return {EMBEDDED: True}, []  # this engine's state is in the labels of its objects
        raise ProgramError(f"the embedded engine does not know the function {args.token}; use --engine pulumi")

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise NotImplementedError


def run_program(
    folder: Path,
    config: StackConfig,
    monitor: MockMonitor,
    *,
    preview: bool,
    on_interrupt: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Runs ``__main__.py`` of `folder` and returns the stack's outputs, without what is unknown and what is secret.

    `monitor` is told of every resource in dependency order, of independent ones at the same time; `on_interrupt` is
    called before an interrupt waits for those under way. Raises `ProgramError` for what the program itself reports.
    """
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(WORKERS))
        return runner.run(_run(folder, config, monitor, preview, on_interrupt))


async def _run(
    folder: Path, config: StackConfig, monitor: MockMonitor, preview: bool, on_interrupt: Callable[[], object]
) -> dict[str, Any]:
    before = Path.cwd()
    forget_last_run()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    # The SDK logs a failed registration with its traceback; the deployment's report has the failure.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        use_monitor(
            monitor,
            _NoCalls(),
            project=config.project,
            stack=config.stack,
            preview=preview,
            logger=logging.getLogger("cslr.program"),
        )
        pulumi.runtime.set_all_config(config.values, list(config.secret_keys))
        await run_to_end(lambda: runpy.run_path(str(folder / "__main__.py"), run_name="__main__"))
        return await _outputs(stack_outputs())
    except pulumi.RunError as error:
        raise ProgramError(str(error)) from error
    except asyncio.CancelledError:
        on_interrupt()  # before the event loop waits for the resources that are under way
        raise
    finally:
        sys.path.remove(str(folder))
        os.chdir(before)


async def _outputs(exports: dict[str, Any]) -> dict[str, Any]:
    outputs = {}
    for name, value in exports.items():
        output = pulumi.Output.from_input(value)
        if not await output.is_known():
            continue
        outputs[name] = "[secret]" if await output.is_secret() else await output.future()
    return outputs
