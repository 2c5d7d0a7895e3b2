"""The two names of a job: its submission ID, in the driver's log, and Ray's ID, in those of workers."""

from dataclasses import dataclass

from ws.cluster.access import access
from ws.cluster.ray_api import JobEntry, NoHeadError
from ws.errors import WsError
from ws.stack_settings import StackSettings


@dataclass(frozen=True, kw_only=True)
class JobNames:
    """The names of one job, as far as they are known."""

    names: tuple[str, ...]
    hint: str = ""  # why there may be more of it than what is found
    driver: JobEntry | None = None  # as Ray lists it, if it does


def job_names(configured: StackSettings, job: str) -> JobNames:
    """Asks Ray for both names of a job, of which one is given. A head that does not answer knows only that one."""
    try:
        jobs = access(configured).ray.jobs()
    except NoHeadError as error:
        return JobNames(names=(job,), hint=f"{error} So only what names {job} itself is shown.")
    except (WsError, OSError) as error:
        return JobNames(names=(job,), hint=f"Ray was not asked for the other name of {job}: {error}")
    for found in jobs:
        if job in (found.submission, found.identifier):
            return JobNames(
                names=tuple(name for name in (found.submission, found.identifier) if name),
                driver=found,
            )
    return JobNames(names=(job,), hint=f"Ray knows no job {job}; what is left of it in logs is shown.")
