"""Runs: all processes of one deployment, whose builds belong together. `ws` names its run in the environment."""

import calendar
import os
import time

import psutil

RUN = "CSLR_RUN"  # the variable that names it
RUN_TIME = "%Y%m%dT%H%M%SZ"  # what names of runs begin with
OUTER = "pulumi"  # what the programs are called that carry out a run without `ws`


def new_run(began: float | None = None, process: int | None = None) -> str:
    """A name for a run, by default one that this process begins now. Names are in the order of time."""
    return f"{time.strftime(RUN_TIME, time.gmtime(began))}-{process or os.getpid()}"


def current_run() -> str:
    """The run that this process belongs to; one that nothing named is a run of its own."""
    return os.environ.get(RUN) or new_run(psutil.Process().create_time())


def outer_run() -> tuple[str, float]:
    """The run that an engine started this process for, and when it began, in seconds since the epoch."""
    if named := os.environ.get(RUN):
        return named, _began(named)
    # The outermost ancestor: plugins, which start the commands, bear the name too.
    found = [process for process in psutil.Process().parents() if process.name().startswith(OUTER)]
    process = found[-1] if found else psutil.Process()
    return new_run(process.create_time(), process.pid), process.create_time()


def _began(run: str) -> float:
    """When a run began, by its name; now, where somebody else named it."""
    try:
        return calendar.timegm(time.strptime(run.partition("-")[0], RUN_TIME))
    except ValueError:
        return time.time()
