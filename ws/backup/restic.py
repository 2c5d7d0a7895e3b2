"""restic, which keeps the backups: starts it, reads what it says, and explains its errors.

The location of the repository, the path of the password's file and that of the credentials of S3 are environment
variables; no secret is one, nor an argument.
"""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ws.backup import ssh
from ws.children import ends_with_parent
from ws.environment import inherited
from ws.errors import WsError
from ws.setup import apt
from ws.setup.programs import Program, advice, missing

RESTIC = Program(name="restic", packages=("restic",))
SSH = Program(name="ssh", packages=("openssh-client",))
SFTP, S3 = "sftp:", "s3:"
OF_RESTIC = re.compile("RESTIC_|AWS_")  # variables that it reads
# Of all snapshots, whose tags say whose they are: then a new host goes on from the snapshots of the former.
HOST = "cslr"
SOME_FILES_UNREAD = 3  # exit code: there is a snapshot, without files that vanished or may not be read
PART = 2**20  # bytes
Json = dict[str, Any]
Heard = Callable[[Json], None]
Answer = TypeVar("Answer")

LOCKED = "already locked"  # not `unable to create lock`, for which a connection or a disk may be the reason
WRONG_PASSWORD = "wrong password or no key found"  # noqa: S105  (restic's words)
EMPTY = "snapshot is empty"
VANISHED = re.compile("(?i): no such file or directory$")  # removed since its folder was listed
AGAIN = re.compile(r"returned error, retrying after [^:]+: (.+)")
NO_SESSION = "unable to start the sftp session"
BROKEN = '(?i)ssh command exited|closed by remote host|connection reset by peer|broken pipe|": (unexpected )?EOF'
QUESTION = "Is there a repository at the following location"
ABSENT = rf"{QUESTION}|repository does not exist|specified (bucket|key) does not exist"
# How restic and ssh say what went wrong → what it means, with the remedy. The first that matches counts.
FAILURES = (
    (
        WRONG_PASSWORD,
        "the password in {password} is not that of the repository {repository}.\n"
        "  Name the file with its password: backup.password_file, or --password-file",
    ),
    (
        LOCKED,
        "another run uses the repository {repository}: {said}\n"
        "  Wait until it has ended. Locks of runs that were killed on this host are removed automatically; one of a "
        "lost host: restic unlock --remove-all",
    ),
    (
        "(?i)no space left on device|disk quota exceeded",
        "the disk is full: {said}\n  Make room, and run it again: what is stored already stays.",
    ),
    (
        "Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host key of {repository} is not known to this user, usually root. Verify and accept it: log in once with "
        "ssh",
    ),
    (
        r"Permission denied \((publickey|password|keyboard)",
        "{repository} does not accept the SSH key of this user, usually root: copy that key to it with ssh-copy-id",
    ),
    (
        BROKEN,
        "the connection to {repository} broke: {said}\n  Run it again: what is stored already stays.",
    ),
    (
        "(?i)Could not resolve hostname|no such host|Connection (refused|timed out)|No route to host|unreachable"
        "|i/o timeout|handshake timeout|deadline exceeded|service unavailable|internal (server )?error|slow ?down"
        "|x509:",
        "{repository} does not answer: {said}\n  Run it again once it does: what is stored already stays.",
    ),
    (
        "(?i)access ?denied|InvalidAccessKeyId|access key id you provided|SignatureDoesNotMatch|signature we calculated"
        "|expired ?token|token .*(expired|invalid)|403 Forbidden",
        "{repository} refuses {credentials}: {said}\n"
        "  Correct the file with them, or name another: backup.s3_credentials, or --s3-credentials",
    ),
    (
        "(?i)ciphertext verification failed|invalid data returned|is damaged|does not match id"
        "|not found in (repository|index)|blob .* not found",
        "the repository {repository} is damaged: {said}\n"
        "  `restic check --read-data` shows what. Make a new one beside it, and a backup there at once",
    ),
    ("(?i)permission denied", "a file cannot be read or written: {said}"),
    # Last: restic asks the same where it may not look, or nothing answers.
    (ABSENT, "there is no repository at {repository}. Is its disk mounted, and its address right?"),
)


def _pattern(said: str) -> str:
    """Of the first of `FAILURES` that restic's words are about; empty if there is none."""
    return next((pattern for pattern, _ in FAILURES if re.search(pattern, said)), "")


class ResticError(WsError):
    """restic failed. The message says why, with a remedy."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.absent = _pattern(said) == ABSENT
        self.locked = bool(re.search(LOCKED, said))
        self.empty = EMPTY in said
        self.wrong_password = WRONG_PASSWORD in said


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Where backups are kept, and the files with its secrets."""

    location: str
    password_file: Path
    s3_credentials: Path | None = None
    password_is_new: bool = False  # made just now, so that no repository can have it yet
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)  # tells people what it waits for

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which restic finds it."""
        more = {"AWS_SHARED_CREDENTIALS_FILE": str(self.s3_credentials)} if self.s3_credentials else {}
        return {"RESTIC_REPOSITORY": self.location, "RESTIC_PASSWORD_FILE": str(self.password_file), **more}

    @property
    def surroundings(self) -> dict[str, str]:
        """The environment of restic, without what the caller's says of other repositories."""
        whole = inherited(**self.environment)
        return {name: value for name, value in whole.items() if name in self.environment or not OF_RESTIC.match(name)}

    def refuse_missing_programs(self) -> None:
        """Raises `WsError` with what to install."""
        if lacking := missing((RESTIC, SSH) if self.location.startswith(SFTP) else (RESTIC,)):
            raise WsError(advice(lacking, debian=apt.is_debian()))

    def refuse_missing_files(self) -> None:
        """Raises `WsError` where a file with a secret cannot be read."""
        for file in filter(None, (self.password_file, self.s3_credentials)):
            try:
                with file.open("rb"):
                    pass
            except OSError as error:
                raise WsError(
                    f"{file} cannot be read: {error.strerror}. It must hold the secret of the backup."
                ) from None

    def exists(self) -> bool:
        """Whether there is one. Raises `ResticError`."""
        try:
            self.run("cat", "config")
        except ResticError as error:
            if error.absent:
                return False
            raise
        return True

    def make(self) -> None:
        """Makes one."""
        self.run("init")

    def json(self, *arguments: str) -> Any:  # noqa: ANN401
        """The answer of a command, as one document."""
        return json.loads(self.run(*arguments, "--json") or "null")

    def lines(self, *arguments: str) -> list[Json]:
        """The answer of a command, as one document a line."""
        # Not `splitlines`, which also ends lines at characters that names of files have.
        return [json.loads(line) for line in self.run(*arguments, "--json").split("\n") if line]

    def run(self, *arguments: str, folder: Path | None = None) -> str:
        """Runs a command to its end and returns what it said. Raises `ResticError`."""
        return self._unlocked(lambda: self._listen(arguments, folder, None, lambda _: None)[0])

    def backup(
        self,
        arguments: Sequence[str],
        heard: Heard,
        *,
        folder: Path | None = None,
        source: Iterator[bytes] | None = None,
    ) -> Json:
        """`restic backup` of a folder, or of what `source` yields; `heard` gets its progress. Returns its summary.

        A source that fails ends restic before the end of its input: what it has read becomes no snapshot.
        """
        command = ("backup", "--json", "--host", HOST, *arguments)
        if source is None:
            said, code, complaints = self._unlocked(lambda: self._listen(command, folder, None, heard))
        else:  # once: restic may have read a part of it before it found the lock, which a second run would lack
            said, code, complaints = self._listen(command, folder, source, heard)
        summaries = [one for one in map(_document, said.splitlines()) if one.get("message_type") == "summary"]
        if not summaries:
            raise self._error("restic backup ended without a summary")
        unread = complaints.split("\n") if code == SOME_FILES_UNREAD else []
        told = [text for line in unread if (text := _complaint(line)) and not VANISHED.search(text)]
        return {**summaries[-1], "unread": told}

    def read(self, snapshot: str, file: str) -> Iterator[bytes]:
        """The content of a file of a snapshot, in parts. Raises `ResticError`, at its end as well."""
        with self._started(("dump", snapshot, file), None) as process, self._overheard(process) as complaints:
            assert process.stdout  # noqa: S101
            try:
                yield from iter(lambda: process.stdout.read(PART), b"")  # type: ignore[union-attr]
            finally:
                process.stdout.close()  # else it would not end where nobody reads on
            code = process.wait()
        if code:
            raise self._error("".join(complaints))

    def _unlocked(self, call: Callable[[], Answer]) -> Answer:
        """The call, once more if only a lock of a run that was killed is in its way."""
        try:
            return call()
        except ResticError as error:
            if not error.locked:
                raise
        self._listen(("unlock",), None, None, lambda _: None)  # only locks whose process is gone, or that are old
        return call()

    def _listen(
        self, arguments: Sequence[str], folder: Path | None, source: Iterator[bytes] | None, heard: Heard
    ) -> tuple[str, int, str]:
        said: list[str] = []
        with (
            self._started(arguments, folder, gives=source is not None) as process,
            self._overheard(process) as complaints,
        ):
            # Read meanwhile: restic stops reading its input while nobody reads its progress, which fills the pipe.
            listener = threading.Thread(target=_hear, args=(process, said, heard))
            listener.start()
            try:
                if source is not None:
                    _feed(process, source)
            finally:
                listener.join()
            code = process.wait()
        errors = "".join(complaints).strip()
        if code and not (code == SOME_FILES_UNREAD and arguments[0] == "backup"):
            raise self._error(errors or "".join(said) or f"exit code {code}")
        return "".join(said), code, errors

    @contextmanager
    def _overheard(self, process: subprocess.Popen[bytes]) -> Iterator[list[str]]:
        """Yields the lines of its standard error, all of them after the block. That it waits is told at once."""
        complaints: list[str] = []
        listener = threading.Thread(target=_overhear, args=(process, complaints, self._waits))
        listener.start()
        try:
            yield complaints
        finally:
            listener.join()

    def _waits(self, why: str) -> None:
        self.say(f"{self.location}: restic tries again for some minutes: {why}")

    def _started(
        self, arguments: Sequence[str], folder: Path | None, *, gives: bool = False
    ) -> subprocess.Popen[bytes]:
        self.refuse_missing_programs()
        return subprocess.Popen(
            ["restic", *arguments],
            cwd=folder,
            env=self.surroundings,
            stdin=subprocess.PIPE if gives else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=ends_with_parent(signal.SIGINT),  # two of them would work on one folder
        )

    def _error(self, text: str) -> ResticError:
        if NO_SESSION in text:
            text = f"{text}\n{ssh.complaint(self.location)}"
        lines = [line.removeprefix("Fatal: ") for line in text.partition(QUESTION)[0].splitlines() if line.strip()]
        said = " / ".join(lines[-3:])
        words = {
            "repository": self.location,
            "password": self.password_file,
            "credentials": f"the credentials in {self.s3_credentials}"
            if self.s3_credentials
            else "access without credentials",
            "said": said,
        }
        sentence = dict(FAILURES).get(_pattern(text), "restic failed: {said}")
        return ResticError(sentence.format_map(words), text)


def moment(time: str) -> datetime:
    """A time as restic writes it, RFC 3339 with nanoseconds in any zone, to the second and in UTC."""
    return datetime.fromisoformat(re.sub(r"\.\d+", "", time)).astimezone(UTC)


def _hear(process: subprocess.Popen[bytes], said: list[str], heard: Heard) -> None:
    """Reads what a process says until its end: progress, which is shown, and all else, which is kept."""
    assert process.stdout  # noqa: S101
    for line in process.stdout:
        text = line.decode(errors="replace")
        document = _document(text)
        if document.get("message_type") == "status":
            heard(document)
        else:
            said.append(text)


def _overhear(process: subprocess.Popen[bytes], complaints: list[str], waits: Callable[[str], None]) -> None:
    """Reads what a process complains of until its end. That it tries something again is told once, and is none."""
    assert process.stderr  # noqa: S101
    told = False
    for line in process.stderr:
        text = line.decode(errors="replace")
        if not (again := AGAIN.search(text)):
            complaints.append(text)
        elif not told:
            told = True
            waits(again[1].rpartition('": ')[2])


def _feed(process: subprocess.Popen[bytes], source: Iterator[bytes]) -> None:
    """Gives a process its input. It is killed if the input breaks off, since an end would look like all of it."""
    assert process.stdin  # noqa: S101
    try:
        for part in source:
            process.stdin.write(part)
        process.stdin.close()
    except BrokenPipeError:
        return  # it ended before; its own words say why
    except BaseException:
        process.kill()
        raise


def _document(line: str) -> Json:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _complaint(line: str) -> str:
    """What a line of errors says of a file; empty for restic's last word."""
    document = _document(line)
    if document:
        error = document.get("error") or {}
        # Before 0.16, the parts of an error in place of its text.
        said = error.get("message") or (os.strerror(error["Err"]) if isinstance(error.get("Err"), int) else str(error))
        return f"{document.get('item', '')}: {said}"
    return "" if line.startswith("Warning: at least one") else line.strip()
