"""The exporter's end of the helper process: one question, one answer, within a deadline."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from contracts.document import DocumentError, load
from entrypoints.exporter.readings import Readings

COMMAND = (sys.executable, "-m", "entrypoints.exporter.nvml")
GIVEN_UP_SECONDS = 2.0  # for a process that was killed
CHUNK = 65536


class HelperError(Exception):
    """The helper did not answer: one sentence."""


class Helper:
    """Starts the helper process when it is needed, and ends one that does not answer.

    A process can hang in the kernel where no signal reaches it. Then none is started beside it until it has gone.
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._stuck: subprocess.Popen[bytes] | None = None

    def collect(self, deadline: float) -> Readings:
        """Ask once; raises HelperError after so many seconds."""
        if self._stuck is not None and self._stuck.poll() is None:
            raise HelperError(f"the process that asked NVML (PID {self._stuck.pid}) hangs in the kernel")
        self._stuck = None
        process = self._running()
        try:
            assert process.stdin is not None  # noqa: S101 (it was started with a pipe)
            process.stdin.write(b"\n")
            process.stdin.flush()
            return load(Readings, _line(process, time.monotonic() + deadline))
        except (OSError, HelperError, DocumentError) as error:
            self.end()
            raise HelperError(str(error)) from error

    def end(self) -> None:
        """End the process, so that the next question starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        try:
            process.wait(GIVEN_UP_SECONDS)
        except subprocess.TimeoutExpired:
            self._stuck = process
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._process


def _line(process: subprocess.Popen[bytes], until: float) -> str:
    """The next line of the process; raises HelperError when it is not there in time."""
    assert process.stdout is not None  # noqa: S101 (it was started with a pipe)
    pipe, text = process.stdout.fileno(), b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise HelperError("NVML did not answer in time: a GPU may be lost")
        chunk = os.read(pipe, CHUNK)
        if not chunk:
            raise HelperError(f"the process that asks NVML ended with status {process.wait(GIVEN_UP_SECONDS)}")
        text += chunk
    return text.decode(errors="replace")
