"""Runs: all processes of one deployment, whose builds belong together. `ws` names its run in the environment."""

import os
import time

RUN = "CSLR_RUN"  # the variable that names it
RUN_TIME = "%Y%m%dT%H%M%SZ"  # what names of runs begin with


def named_run() -> str:
    """The run that the environment names; empty where it names none."""
    return os.environ.get(RUN, "")


def new_run(began: float | None = None, process: int | None = None) -> str:
    """A name for a run, by default one that this process begins now. Names are in the order of time."""
    return f"{time.strftime(RUN_TIME, time.gmtime(began))}-{process or os.getpid()}"


OF_THIS_PROCESS = new_run()


def current_run() -> str:
    """The run that this process belongs to; one that nothing named is a run of its own."""
    return named_run() or OF_THIS_PROCESS
