"""`ws history`, `drift`, `rollback`. Implementations are imported when called, so that help appears at once."""

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ws import completion
from ws.errors import WsError
from ws.terminal import AsJson, Drain, Stack, Yes, err, out

if TYPE_CHECKING:
    from stack.history import Record
    from ws.deploy import Session

DRIFTED = 3  # exit code; 2 is a wrong call

Number = Annotated[
    int | None,
    typer.Argument(metavar="N", min=1, help="A number of the history.", autocompletion=completion.history),
]


def add_commands(app: typer.Typer) -> None:
    """Adds them to `ws`."""
    app.command()(history)
    app.command()(drift)
    app.command()(rollback)


def history(
    number: Number = None,
    stack: Stack = "dev",
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="Lines to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the stack's runs of up, down and rollback: who, when, what changed, how it ended. With N, one in full."""
    from ws.history import view

    records = _records(_session(stack))
    if number is not None:
        record = next((one for one in records if one.number == number), None)
        if record is None:
            raise WsError(f"the history of stack {stack} has no number {number}. What it has: ws history -s {stack}")
        if as_json:
            print(json.dumps(view.as_json(records, record, files=True), indent=2))
        else:
            view.show(records, record, out)
        return
    shown = records[-last:]
    if as_json:
        print(json.dumps([view.as_json(records, record, files=False) for record in shown], indent=2))
    elif not shown:
        out.print(f"Stack {stack} has no history yet. It begins with: ws up --stack {stack}")
    else:
        out.print(view.table(records, shown))


def drift(stack: Stack = "dev", as_json: AsJson = False) -> None:
    """Show, field by field, how this host differs from the last deployment. Changes nothing; the home page shows what
    it found.

    Exit code: 0 no drift, 3 drift, 1 failure.
    """
    from ws import drift as comparison

    session = _session(stack)
    with session.program_speaks():
        report = comparison.find(session)
    comparison.tell(report, session.identity)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        comparison.show(report, out)
    if report.observation.drifts:
        raise typer.Exit(DRIFTED)


def rollback(
    number: Number = None,
    stack: Stack = "dev",
    yes: Yes = False,
    drain: Drain = None,
    present_images: Annotated[
        bool,
        typer.Option(
            "--present-images", help="Return only to the stack file, with the images that this checkout builds from it."
        ),
    ] = False,
) -> None:
    """Deploy an earlier successful state again: its stack file, packages and images. Without N, the one before.

    Shows what changes, and asks; without a terminal it changes nothing unless --yes is given. If running jobs, drivers
    or notebooks would end, lists them and asks, as `ws up` does. The stack file that it replaces is kept.
    """
    from ws.consent import Command, Consent
    from ws.deploy import Session
    from ws.drain_option import parse_duration
    from ws.history.rollback import roll_back
    from ws.stack_settings import open_stack
    from ws.turn import turn

    session = Session(open_stack(stack), out)
    session.refuse_half_restored()
    words = ["ws rollback", *([str(number)] if number else []), *(["--present-images"] if present_images else [])]
    command = Command(words=" ".join(words), stack=stack)
    consent = Consent(command=command, console=out, yes=yes, drain=None if drain is None else parse_duration(drain))
    began = time.monotonic()
    with turn(session.identity, command.words):
        earlier, result = roll_back(session, number, consent, yes=yes, present_images=present_images)
    earlier.show_end(result, time.monotonic() - began)


def _session(stack: str) -> "Session":
    from ws.deploy import Session
    from ws.stack_settings import open_stack

    return Session(open_stack(stack), err)


def _records(session: "Session") -> "list[Record]":
    """All records; Pulumi is asked how its plain runs ended, where its CLI is here."""
    from config.project import FOLDER
    from stack.history import MOST_RECORDS, Outcome
    from ws.history.reading import read

    records = read(session)
    if any(record.outcome is Outcome.UNKNOWN for record in records):
        from ws.pulumi import cli
        from ws.pulumi.updates import completed, updates

        if found := cli.find():
            return completed(records, updates(found, FOLDER, session.identity.stack, MOST_RECORDS))
    return records
