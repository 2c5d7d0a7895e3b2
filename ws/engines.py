"""Which engine deploys a stack: Pulumi, or the embedded engine where there is no Pulumi CLI."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from embedded_engine.changes import EVERYTHING, Result, Scope
from ws.engine_names import EngineName, EngineOption
from ws.errors import WsError
from ws.pulumi.cli import Availability


class DeploymentEngine(Protocol):
    """The operations of both engines on one stack."""

    def preview(self) -> Result:
        """Returns the changes that `up` would make; changes nothing."""

    def up(self, scope: Scope = EVERYTHING) -> Result:
        """Brings the host, or what is in `scope`, to the state that the program declares."""

    def destroy(self, *, volumes: bool = False) -> Result:
        """Removes what `up` made; data only with `volumes`."""

    def leftovers(self) -> Result:
        """Leftovers of an interrupted run that `up` cannot continue from, to be removed first."""

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An engine, why it is this one (a clause; empty where it was asked for), and the CLI that it needs."""

    name: EngineName
    reason: str = ""
    cli: Path | None = None


def choose(
    asked: EngineOption,
    made_by: EngineName | None,
    look: Callable[[], Availability],
    stack: str,
    command: Callable[[], str] = lambda: "up",
) -> Choice:
    """The engine for a stack that `made_by` made, if it is deployed. Looks for Pulumi only if necessary.

    A stack stays with the engine that made it until a person changes it. Raises `WsError` if that is impossible.
    """
    if asked is EngineOption.EMBEDDED:
        return Choice(name=EngineName.EMBEDDED)
    if asked is EngineOption.AUTO and made_by is EngineName.EMBEDDED:
        # A CLI installed meanwhile does not justify restarting containers.
        return Choice(name=EngineName.EMBEDDED, reason="it made this stack")
    found = look()
    if found.cli:
        return Choice(name=EngineName.PULUMI, cli=found.cli)
    if asked is EngineOption.PULUMI:
        raise WsError(
            f"--engine pulumi: {found.reason}.\n"
            "  Install the Pulumi CLI, or leave --engine out: the embedded engine makes the same containers without it."
        )
    if made_by is EngineName.PULUMI:
        raise WsError(
            f"stack {stack} was made by Pulumi, and {found.reason}. Nothing was changed.\n"
            "  Put the Pulumi CLI on PATH, and run this again.\n"
            "  To change over to the embedded engine, which recreates containers and keeps all data:\n"
            f"    ws {command()} --stack {stack} --engine embedded"
        )
    return Choice(name=EngineName.EMBEDDED, reason=found.reason)
