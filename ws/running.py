"""Runs a command, and ends it as people expect: one clear message, an exit code, no traceback."""

import os
import signal
import stat
import sys
from types import FrameType
from typing import NoReturn

import typer
from rich.text import Text

from ws.errors import message
from ws.paths import stand_where_called
from ws.terminal import FAILED, err

DONE, INTERRUPTED = 0, 130


def run(app: typer.Typer, arguments: list[str]) -> int:
    """Runs one command. Returns the exit code: 0 success, 1 failure, 2 usage error, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _hang_up)
    stand_where_called()
    try:
        app(arguments, prog_name="ws")
    except SystemExit as end:
        if end.code == INTERRUPTED:
            err.print("\ninterrupted; run it again to continue", style="yellow")
        return end.code if isinstance(end.code, int) else DONE
    except BrokenPipeError:
        # The reader is gone; what Python flushes at exit must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        text = message(error)
        if text is None:
            raise
        err.print(Text(text, style="red"), soft_wrap=True)
        return FAILED
    return DONE


def _hang_up(number: int, frame: FrameType | None) -> NoReturn:
    """The terminal is gone, and what is written to it would fail: the command ends as after any interrupt."""
    # The shell and the kernel each say so: the second time would interrupt what the first one has it put in order.
    signal.signal(number, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (sys.stdout.fileno(), sys.stderr.fileno()):
        if stat.S_ISCHR(os.fstat(output).st_mode):
            os.dup2(nowhere, output)
    _interrupt(number, frame)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
