"""Finds the run that a command of an engine belongs to: named by `ws`, or else by the ancestor process."""

import calendar
import time

import psutil

from build_report.runs import RUN_TIME, named_run, new_run

OUTER = "pulumi"  # name of the processes of a run without `ws`


def outer_run() -> tuple[str, float]:
    """The run's name and when it began, in seconds since the epoch."""
    if named := named_run():
        return named, _began(named)
    # The outermost: plugins, which start the commands, have that name too.
    found = [process for process in psutil.Process().parents() if process.name().startswith(OUTER)]
    process = found[-1] if found else psutil.Process()
    return new_run(process.create_time(), process.pid), process.create_time()


def _began(run: str) -> float:
    """When a run began, by its name; now, if its name has another form."""
    try:
        return calendar.timegm(time.strptime(run.partition("-")[0], RUN_TIME))
    except ValueError:
        return time.time()
