"""Sends a folder and a job to the queue."""

import secrets
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from build_report.units import size
from contracts.queue import JobView, Submission
from coordination.regular_file import LARGEST
from ws.errors import WsError
from ws.queue.client import QueueClient
from ws.queue.folder import TooLargeError, files_of, pack
from ws.terminal import err

COLUMNS = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
NO_PACKAGE = "0" * 64  # asks for the largest one before a folder is packed, and whether the token is right


def entrypoint(words: Sequence[str]) -> str:
    """The shell command of a command line: one word with spaces is one already."""
    return words[0] if len(words) == 1 and " " in words[0] else shlex.join(words)


def environment(options: Iterable[str], own: Mapping[str, str]) -> dict[str, str]:
    """Variables of `NAME=VALUE`, or of `NAME` with the value that it has here. Raises `WsError` where it has none."""
    found = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals and name not in own:
            raise WsError(f"--env {name}: there is no such variable here. Give its value: --env {name}=VALUE")
        found[name] = value if equals else own[name]
    return found


def requirements(options: Iterable[str], files: Iterable[Path]) -> tuple[str, ...]:
    """Requirements of options and of files, without comments. Raises `WsError` for options of pip in files."""
    found = list(options)
    for file in files:
        for line in _text(file).splitlines():
            wanted = line.partition(" #")[0].strip()
            if wanted.startswith("-"):
                raise WsError(f"{file}: {wanted!r} is an option of pip, and the queue takes only requirements")
            if wanted and not wanted.startswith("#"):
                found.append(wanted)
    return tuple(found)


def _text(file: Path) -> str:
    """The text of a file of requirements, which may be a shell's pipe. Raises `WsError` for what cannot be one."""
    with file.open("rb") as opened:
        content = opened.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise WsError(f"{file}: is larger than {LARGEST >> 20} MB, which is too large for a requirements file")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise WsError(f"{file}: is not text in UTF-8") from None


def submit(client: QueueClient, submission: Submission, folder: Path | None) -> JobView:
    """Sends the folder unless the service has it, and then the job, under one id however often that is tried."""
    largest = client.has(NO_PACKAGE)[1]
    package = _send(client, folder, largest) if folder else None
    return client.submit(replace(submission, id=submission.id or secrets.token_hex(4), package=package))


def _send(client: QueueClient, folder: Path, largest: int | None) -> str:
    files = files_of(folder)
    total = sum(path.stat().st_size for path in files.values() if path.exists())
    with (
        tempfile.TemporaryDirectory(prefix="cslr-submit-") as temporary,
        Progress(*COLUMNS, console=err, transient=True, disable=not err.is_terminal) as progress,
    ):
        packing = progress.add_task(f"packing {len(files)} files", total=total)
        try:
            package = pack(
                files, Path(temporary) / "folder.zip", largest, lambda count: progress.advance(packing, count)
            )
        except TooLargeError as error:
            most = ", ".join(f"{name} ({size(count)})" for name, count in error.largest)
            raise WsError(
                f"{folder} takes more than {size(error.limit)} as a zip file, which is the most that the queue takes "
                f"(queue.largest_package). Largest of {len(files)} files: {most}.\n"
                "  Exclude data and results in a .gitignore; for data, use a dataset: ws data list"
            ) from None
        if not client.has(package.sha256)[0]:
            sending = progress.add_task("sending", total=package.size)
            with package.file.open("rb") as file:
                client.upload(
                    package.sha256, package.size, file, lambda count: progress.update(sending, completed=count)
                )
        return package.sha256
