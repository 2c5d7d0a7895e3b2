"""Hook into Ray: reads job logs, which the janitor may have shortened and which outlive their node's container.

Ray reads a whole log into memory, does not report a missing one, and would read the part that was released to the disk
as zeros. Standard library only, Python 3.10 or newer; stands alone (registry.py).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

SHOWN = 16 * 10**6  # bytes at the end of a log; the Jobs API holds several copies of them in memory for an answer
LINES, CHARACTERS = 10, 20_000  # of one message to a follower of a log, as in Ray
POLL_SECONDS = 1.0


def read_log(path: str) -> str:
    """Return the end of a log, with a line about what is left out, or why there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (this runs in Ray's own processes, which have no need of pathlib)
            size = os.fstat(file.fileno()).st_size
            begin = max(first_data(file.fileno()), size - SHOWN)
            file.seek(begin)
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return "[the log of this job is no longer on its node]\n"
    if begin == 0:
        return text
    return f"[the first {begin / 1e6:.0f} MB of {size / 1e6:.0f} MB are left out]\n{text.partition(chr(10))[2]}"


def first_data(descriptor: int) -> int:
    """Return the offset of the first byte that was not released to the disk."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EINVAL):  # an empty file; a file system that cannot tell
            return 0
        raise


async def follow(path: str) -> AsyncIterator[list[str] | None]:
    """Yield new lines, several at a time, and None if there are none; never ends."""
    while not os.path.exists(path):  # noqa: PTH110
        yield None
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        file.seek(first_data(file.fileno()))
        while True:
            lines: list[str] = []
            while len(lines) < LINES and sum(map(len, lines)) <= CHARACTERS and (line := file.readline()):
                lines.append(line)
            yield lines or None
            if not lines:
                await asyncio.sleep(POLL_SECONDS)


def read_shortened_logs(module: ModuleType) -> None:
    """Change ``ray.dashboard.modules.job.job_log_storage_client``."""
    client: Any = module.JobLogStorageClient

    def get_logs(self: Any, job_id: str) -> str:  # noqa: ANN401
        return read_log(self.get_log_file_path(job_id))

    client.get_logs = get_logs
    module.file_tail_iterator = follow  # type: ignore[attr-defined]
