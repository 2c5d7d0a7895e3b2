"""Implements `ws drift`: what on the host is not as the stack was deployed. Changes nothing."""

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.keys import PREFLIGHT_KEY
from config.project import FOLDER
from contracts.facts import DRIFT, Difference, DriftFact
from embedded_engine.comparison import MISSING
from embedded_engine.drift import Observation, observe
from stack import facts
from stack.history import Record
from stack.identity import StackIdentity
from stack.kept_files import kept_files
from stack.state import stack_folder
from ws.deploy import Session
from ws.errors import WsError
from ws.history.reading import read
from ws.history.restoring import restored_texts
from ws.tables import plain_table

MOST_TOLD = 40  # differences that the health service shows
LOOKING = {PREFLIGHT_KEY: False}  # config of a run that only looks


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found, compared with which deployment."""

    stack: str
    observation: Observation
    deployed: Record | None = None  # None: no record; compared with the stack file as it is
    edited: bool = False  # whether the stack file was changed since

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "stack": self.stack,
            "compared_with": self.deployed.number if self.deployed else None,
            "drift": [vars(one) for one in self.observation.drifts],
            "stack_file_changed": self.edited,
            "pending": list(self.observation.pending),
        }


def find(session: Session) -> Report:
    """Compares the host with the last deployment of the stack. Raises `WsError` where it is not deployed."""
    if session.only_builds:
        raise WsError(f"stack {session.identity.stack} only builds images, and deploys nothing that could drift.")
    if session.maker is None:
        session.require_deployed()
    deployed = next((one for one in reversed(read(session)) if one.deployed and one.files), None)
    file, edited = session.stack.file, False
    if deployed:
        edited = kept_files(file, FOLDER)[0] != deployed.files
        with suppress(WsError):  # a secret that cannot be restored: the file as it is, which the report says
            file = file.edited(restored_texts(file, deployed)[file.name])
    return Report(
        stack=session.identity.stack,
        observation=observe(FOLDER, file.config.laid_over(LOOKING)),
        deployed=deployed,
        edited=edited,
    )


def tell(report: Report, identity: StackIdentity) -> None:
    """Lets the health service know what differs, without values: its page has no login."""
    found = report.observation.drifts
    told = DriftFact(
        time=time.time(),
        compared_with=report.deployed.number if report.deployed else None,
        differences=tuple(Difference(kind=one.kind, name=one.name, field=one.field) for one in found[:MOST_TOLD]),
        left_out=len(found[MOST_TOLD:]),
    )
    with suppress(OSError):  # the page then shows what was known before, with its time
        facts.write(stack_folder(identity), DRIFT, told)


def table(observation: Observation) -> Table:
    """One line for each difference; declared → on the host."""
    shown = plain_table(("Kind", "Name", "Field", "Declared → on the host"))
    for one in observation.drifts:
        shown.add_row(one.kind, one.name, one.field, Text(one.difference, style="yellow"))
    return shown


def show(report: Report, console: Console) -> None:
    """The table, what it is compared with, and what is not deployed yet."""
    found, stack = report.observation, report.stack
    base = f"number {report.deployed.number} of `ws history`" if report.deployed else "the stack file"
    if found.drifts:
        console.print(table(found))
        number = len(found.drifts)
        sentence = f"{number} difference{'s' if number > 1 else ''} to {base}"
        console.print(Text(f"{sentence}. Undo: {_remedy(found, stack)}", style="yellow"), soft_wrap=True)
    else:
        console.print(Text(f"No drift: the host is as {base} says", style="bold green"), soft_wrap=True)
    if report.edited or found.pending:
        names = f" ({', '.join(found.pending)})" if found.pending else ""
        sentence = f"Changes of the stack file or the project are not deployed yet{names}, and do not count as drift"
        console.print(Text(f"{sentence}. They are shown by: ws preview -s {stack}", style="dim"), soft_wrap=True)


def _remedy(observation: Observation, stack: str) -> str:
    """The command that undoes it. `ws up` makes what is missing and starts what has stopped, but compares inputs."""
    changed = {
        one.name: None
        for one in observation.drifts
        if one.kind == "container" and one.field != "state" and one.difference != MISSING
    }
    removal = f"docker rm -f {' '.join(changed)} && " if changed else ""
    return f"{removal}ws up -s {stack}"
