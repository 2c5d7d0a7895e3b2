"""Records a command's run on a stack in its history."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from docker_api.api import DockerApi, DockerError
from embedded_engine.changes import Action, Result
from stack.history import MOST_CHANGES, Changed, History, Operation, Outcome, Record, RunImage, first_line
from stack.identity import StackIdentity
from stack.new_record import new_record
from ws.changes import kind
from ws.consent import DeclinedError
from ws.containers import containers

if TYPE_CHECKING:
    from ws.deploy import Session


@dataclass
class Recording:
    """One run that is being recorded. The command says what came of it."""

    result: Result | None = None


@contextmanager
def recorded(
    session: "Session", operation: Operation, engine: str, *, returned_to: int | None = None
) -> Iterator[Recording]:
    """Records what happens in the block. A run that the user declines leaves no record: it changes nothing."""
    recording, history = Recording(), History(session.identity)
    try:
        record = history.begin(
            new_record(
                operation,
                engine,
                session.stack.environment,
                lambda: session.stack.file,
                returned_to=returned_to,
                process=os.getpid(),
            )
        )
    except OSError as error:  # a gap in the history is no reason to stop a deployment
        session.say(f"This run is not in the history: {history.folder}: {error.strerror}", "yellow")
        yield recording
        return
    ended: Record | None = None
    try:
        yield recording
        ended = _ended(session, record, recording.result)
    except (DeclinedError, typer.Exit, typer.Abort):
        history.remove(record)
        raise
    except KeyboardInterrupt:
        ended = record.ended(Outcome.INTERRUPTED, **_changes(Result(changes=session.begun)))
        raise
    except Exception as error:
        ended = _ended(session, record, recording.result, error)
        raise
    finally:
        if ended:
            with suppress(OSError):
                history.write(ended)


def _ended(session: "Session", record: Record, result: Result | None, error: Exception | None = None) -> Record:
    values = _changes(result or Result(changes=session.begun))
    failed = result.failed if result else []
    if failed:
        values["error"] = f"{failed[0].name}: {first_line(failed[0].error)}"
    elif error:
        values["error"] = first_line(error)
    values["verification"] = _verification(session, result)
    done = error is None and (result is None or result.ok)
    if done and record.operation is not Operation.DOWN:
        values["images"] = running_images(session.identity)
    return record.ended(Outcome.DONE if done else Outcome.FAILED, **values)


def _changes(result: Result) -> dict[str, Any]:
    changed = [one for one in result.changes if one.error or (one.action is not Action.SAME and not one.skipped)]
    return {
        "changed": tuple(
            Changed(name=one.name, kind=kind(one), action=one.action.value, failed=bool(one.error))
            for one in changed[:MOST_CHANGES]
        ),
        "counts": dict(Counter(one.action.value for one in result.changes if not (one.error or one.skipped))),
    }


def _verification(session: "Session", result: Result | None) -> str:
    """The result of the verification, if this run did one."""
    from ws.deploy import VERIFICATION

    changes = result.changes if result else []
    if not any(one.name == VERIFICATION and one.action is not Action.SAME for one in changes):
        return ""
    last = session.last_verification
    return last.report.in_words if last and last.report else ""


def running_images(identity: StackIdentity) -> dict[str, RunImage]:
    """Service → the image of its container; none where Docker does not answer."""
    try:
        api = DockerApi()
        return {one.service: _image(api, one.image_id) for one in containers(identity)}
    except DockerError:
        return {}


def _image(api: DockerApi, identifier: str) -> RunImage:
    found = api.find(f"/images/{identifier}/json") or {}
    return RunImage(identifier=identifier, tags=tuple(found.get("RepoTags") or ()))
