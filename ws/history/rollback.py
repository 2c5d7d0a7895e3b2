"""Implements `ws rollback`: deploys the files and images of an earlier `up` again.

Everything that can refuse it comes first: the record, its stack file, its secrets, its images. Then a preview, consent,
and only then is the stack file written. What the preview needs, the lock of packages and names of images, is put back
if the deployment does not begin.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

from config.keys import PREFLIGHT_KEY
from config.packages import lock_name
from config.problems import ConfigError, SettingsError
from config.project import FOLDER, version
from config.stack_file import stack_file
from docker_api.api import DockerApi
from embedded_engine.changes import Result
from embedded_engine.drift import Observation, observe
from embedded_engine.lock import LockedError, stack_lock
from stack.history import History, Operation, Record
from stack.identity import StackIdentity
from stack.kept_files import kept_files
from stack.secrets import SecretError
from stack.state import stack_folder, write_atomically
from ws import changes
from ws.config.editing import alone, put
from ws.consent import Consent, DeclinedError
from ws.containers import short
from ws.deploy import Session
from ws.engine_names import EngineName, EngineOption
from ws.engines import Choice
from ws.errors import WsError
from ws.history.reading import read
from ws.history.recording import recorded
from ws.history.restoring import restored_texts
from ws.history.view import config_diff, what, when
from ws.stack_settings import StackSettings
from ws.terminal import confirm

REPLACED = "replaced"  # folder in the history, with the files that rollbacks replaced
MOST_REPLACED = 20
ANYWAY = "--present-images"


@dataclass(frozen=True, kw_only=True)
class Renaming:
    """An image that gets its name back, which another one has now."""

    name: str
    identifier: str
    instead_of: str | None

    def __str__(self) -> str:
        return f"{self.name}: {short(self.instead_of or 'none')} → {short(self.identifier)}"


@dataclass(kw_only=True)
class Undo:
    """The files and names that were changed before the deployment, to be put back if it does not begin."""

    identity: StackIdentity
    history: History
    api: DockerApi
    files: dict[Path, tuple[bytes | None, bytes]] = field(default_factory=dict)  # before, and as written
    renamed: list[Renaming] = field(default_factory=list)
    deploys: bool = False  # whether the deployment has begun

    def write(self, path: Path, text: str) -> Path | None:
        """Writes a file, if it is another one; returns the backup of the one that was there."""
        with alone(self.identity):
            return self._written(path.resolve(), text)  # what a link names

    def _written(self, path: Path, text: str) -> Path | None:
        former = path.read_bytes() if path.is_file() else None
        if former == text.encode():
            return None
        backup = self._kept(path.name, former) if former is not None else None
        self.files[path] = (former, text.encode())
        put(path, text.encode())
        return backup

    def name(self, renaming: Renaming) -> None:
        """Gives an image its name."""
        _tag(self.api, renaming.identifier, renaming.name)
        self.renamed.append(renaming)

    def all(self) -> None:
        """Puts everything back, but for a file that somebody has changed since."""
        for renaming in self.renamed:
            if renaming.instead_of:
                _tag(self.api, renaming.instead_of, renaming.name)
        with alone(self.identity):
            for path, (former, written) in self.files.items():
                if path.is_file() and path.read_bytes() == written:
                    if former is None:
                        path.unlink()
                    else:
                        put(path, former)

    def _kept(self, name: str, content: bytes) -> Path:
        folder = self.history.folder / REPLACED
        backup = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
        write_atomically(backup, content, 0o600)
        for old in sorted(folder.iterdir())[:-MOST_REPLACED]:
            old.unlink(missing_ok=True)
        return backup


def target(records: Sequence[Record], number: int | None, stack: str) -> Record:
    """The record to return to: that of the number, else the last successful one with another state than the present.

    Raises:
        WsError: there is none, or it is not a successful deployment.
    """
    if number is None:
        present = records[-1] if records else None
        found = next(
            (one for one in reversed(records[:-1]) if one.deployed and one.files and not _same(one, present)), None
        )
        if found is None:
            raise WsError(
                f"stack {stack} has no earlier successful `up` to return to. What it has: ws history -s {stack}"
            )
        return found
    record = next((one for one in records if one.number == number), None)
    if record is None:
        raise WsError(f"the history of stack {stack} has no number {number}. What it has: ws history -s {stack}")
    if not record.deployed:
        raise WsError(
            f"number {number} of the history is no successful `up` ({what(record)}, {record.outcome}), so that there "
            f"is nothing to return to. Choose one with the outcome done: ws history -s {stack}"
        )
    return record


def _same(one: Record, present: Record | None) -> bool:
    return present is not None and present.deployed and one.state == present.state


def roll_back(
    session: Session, number: int | None, consent: Consent, *, yes: bool, present_images: bool
) -> tuple[Session, Result]:
    """Deploys an earlier state. Returns the session of that state, and its result.

    Raises:
        WsError: it is not possible, and nothing was changed; or the deployment failed.
        LockedError: another run works on the stack; nothing was changed.
        DeclinedError: the user declined; nothing was changed.
    """
    with stack_lock(stack_folder(session.identity), session.identity.stack):
        pass  # else the preview would be of a state in the middle of another run
    history = History(session.identity)
    records = read(session)
    record = target(records, number, session.identity.stack)
    texts = restored_texts(session.stack.file, record)
    earlier = Session(_settings(session, texts, record), session.console)
    # A stack that is taken down has no engine that it must stay with.
    choice = session.choose(EngineOption.AUTO if session.maker else EngineOption(record.engine))
    now = record.model_copy(update={"files": kept_files(session.stack.file, FOLDER)[0]})
    differences = config_diff(now, record)
    api = DockerApi()
    undo = Undo(identity=session.identity, history=history, api=api)
    with _undone_unless_deployed(undo):
        # Read from the project's folder by the program, for the preview too.
        for name in texts.keys() & {lock_name(session.stack.file.name)}:
            undo.write(FOLDER / name, texts[name])
        renamings = _renamings(earlier, record, choice, api, present_images=present_images)
        _show(session, record, [*differences, *(f"image {one}" for one in renamings)])
        for renaming in renamings:  # so that the preview tells of them, too
            undo.name(renaming)
        planned = _previewed(earlier, choice)
        consent.obtain(lambda: earlier.cost(planned.changes))
        confirm(
            f"Stack {session.identity.stack} returns to number {record.number}.",
            yes=yes,
            confirmed=consent.command.with_option("--yes"),
        )
        with recorded(earlier, Operation.ROLLBACK, choice.name, returned_to=record.number) as recording:
            backup = undo.write(stack_file(FOLDER, session.identity.stack), texts[session.stack.file.name])
            if backup:
                session.say(f"The stack file that this replaces is kept in {backup}")
            undo.deploys = True
            recording.result = earlier.up(choice, consent)
            earlier.report(recording.result)
    return earlier, recording.result


@contextmanager
def _undone_unless_deployed(undo: Undo) -> Iterator[None]:
    """Puts everything back if the block ends before the deployment: it was refused, declined or interrupted."""
    try:
        yield
    except (DeclinedError, LockedError):  # work, or another run, that began meanwhile
        undo.all()
        raise
    except BaseException:
        if not undo.deploys:
            undo.all()
        raise


def _settings(session: Session, texts: Mapping[str, str], record: Record) -> StackSettings:
    """The stack as it was configured, checked as far as that is possible without the host."""
    now = session.stack
    settings = StackSettings(file=now.file.edited(texts[now.file.name]), environment=now.environment)
    try:
        if (settings.matrix is not None) != session.only_builds:
            raise WsError(
                f"number {record.number} of the history is of another kind of stack file: one deploys a platform, the "
                "other builds images. Nothing was changed."
            )
        if settings.matrix is None:
            _ = settings.platform, settings.previewed.preflight
            if settings.membership is None:
                settings.previewed.secrets(None)
    except (ConfigError, SettingsError, SecretError) as error:
        made = f"{record.version} ({record.commit})" if record.commit else record.version
        raise WsError(
            f"number {record.number} of the history cannot be returned to; nothing was changed. It was deployed by "
            f"version {made}, this is {version()}, and its stack file does not work here:\n{error}"
        ) from error
    return settings


def _renamings(
    earlier: Session, record: Record, choice: Choice, api: DockerApi, *, present_images: bool
) -> list[Renaming]:
    """The images that need their names back. Raises `WsError` where an image is gone and cannot be built."""
    if present_images:
        return []
    config = earlier.stack.file.config.laid_over({PREFLIGHT_KEY: False})
    observation = observe(FOLDER, config)
    found: dict[str, Renaming] = {}
    for service, image in sorted(record.images.items()):
        if image.identifier in observation.images.values():
            continue
        plain = set(map(_plain_name, image.tags))
        name = next((one for one in observation.images if _plain_name(one) in plain), None)
        if name is None:
            raise WsError(_not_made_here(service, image.tags or (image.identifier,), record))
        if api.find(f"/images/{image.identifier}/json") is None:
            _gone(earlier, service, name, observation)
            continue
        found[name] = Renaming(name=name, identifier=image.identifier, instead_of=observation.images[name])
    if found and choice.name is EngineName.PULUMI:
        raise WsError(
            f"these images were built again since number {record.number} of the history, and Pulumi keeps those that "
            f"it built last: {', '.join(found)}. Nothing was changed.\n"
            f"  Return to its config, with the images of now: {_anyway(record, earlier.identity.stack)}"
        )
    return list(found.values())


def _plain_name(reference: str) -> str:
    """A reference as Docker lists it."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def _gone(session: Session, service: str, name: str, observation: Observation) -> None:
    """Says what comes instead of an image that is gone: another one of the same recipe, or of the same name."""
    if observation.images[name]:
        session.say(f"{service}: the image that it ran is gone; it gets what has its name now: {name}", "yellow")
    else:
        verb = "pulled" if name in observation.pulled else "built"
        session.say(f"{service}: its image is gone and will be {verb} again: {name}", "yellow")


def _not_made_here(service: str, names: Sequence[str], record: Record) -> str:
    checkout = f"git checkout {record.commit.partition(',')[0]}" if record.commit else "check that version out"
    return (
        f"{service} ran {', '.join(map(short, names))} in number {record.number} of the history, which this checkout "
        f"neither builds nor pulls: the project, or the edition of its base images, is another one now. Nothing was "
        f"changed.\n"
        f"  With its images:          {checkout} && ws rollback {record.number}\n"
        f"  With the images of now:   ws rollback {record.number} {ANYWAY}"
    )


def _anyway(record: Record, stack: str) -> str:
    return f"ws rollback {record.number} -s {stack} {ANYWAY}"


def _show(session: Session, record: Record, differences: Sequence[str]) -> None:
    """Where it goes, and what of the files and images is otherwise there."""
    of_then = f"{what(record)} of {when(record)} by {record.who}"
    session.console.print(Text(f"Returning to number {record.number}: {of_then}", style="bold"))
    for line in differences:
        session.console.print(Text(f"    {line}", style="yellow"), soft_wrap=True)


def _previewed(earlier: Session, choice: Choice) -> Result:
    planned = earlier.run(choice, lambda engine: engine.preview())
    changes.show_preview(planned, earlier.console)
    if planned.failed:
        changes.show_failures(planned, earlier.console)
        raise WsError("The preview failed. Nothing was changed.")
    return planned


def _tag(api: DockerApi, identifier: str, name: str) -> None:
    repository, _, tag = name.rpartition(":")
    api.call("POST", f"/images/{identifier}/tag", query={"repo": repository, "tag": tag})
