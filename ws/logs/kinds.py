"""What is known of each kind of log: names of Ray's files, times and levels in lines.

Standard library only, Python 3.10 or newer.
"""

from __future__ import annotations

import calendar
import functools
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, tzinfo

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
NO_JOB = "ffffffff"  # in the name of a worker that was started before it had one


@dataclass(frozen=True)
class Kind:
    """Files whose names match, without the number of a rotated one."""

    name: re.Pattern[str]
    joined: bool  # whether a line without a time belongs to the one before it
    of_one_job: bool = False  # if there is one in its name
    rays_own: bool = False  # whether a process of Ray's writes it, and no program of a user


# In this order; the last one is for Ray's own processes.
KINDS = (
    Kind(
        re.compile(r"(?:io_)?worker-[0-9a-f]+-(?:(?P<job>[0-9a-f]{8})-)?\d+\.(?:out|err)"),
        joined=False,
        of_one_job=True,
    ),
    Kind(re.compile(r"job-driver-(?P<job>.+)\.log"), joined=False, of_one_job=True),
    Kind(re.compile(r"python-core-driver-(?P<job>[0-9a-f]{8}).*\.log"), joined=True, of_one_job=True, rays_own=True),
    Kind(re.compile(r"runtime_env_setup-(?P<job>[0-9a-f]{8})\.log"), joined=True, of_one_job=True, rays_own=True),
    Kind(re.compile(r"ray_client_server.*\.(?:out|err|log)"), joined=False),
    Kind(re.compile(r".+\.(?:out|err|log)"), joined=True, rays_own=True),
)
# What a task prints stands in its worker's file, and once more in its driver's log. There it has an address if the task
# ran at another than the driver's.
REPEATED = re.compile(r"\([^()]* pid=\d+(?:, ip=(?P<address>[^()]*))?\) ")
OWN = ""  # the address of a driver's own node
CONTAINER_KIND = Kind(re.compile(""), joined=False)
# `raylet.1.out` (C++) and `dashboard.log.1` (Python)
ROTATED = re.compile(r"(?P<stem>.+?)(?:\.\d+)?(?P<kind>\.(?:out|err|log))(?:\.\d+)?")

DATE = (
    r"(?P<date>\d{4}-\d\d-\d\d[ T]\d\d:\d\d):(?P<seconds>\d\d)(?:[.,](?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:?\d\d)?"
)
TIMES = (
    re.compile(rf"\[?{DATE}"),  # Ray, in C++ with a bracket; Python's logging; MLflow; Postgres
    re.compile(rf'\{{.*?"(?:asctime|timestamp|time)": ?"{DATE}'),  # structured logs
)
LEVEL_WORDS = {
    "debug": ("TRACE", "DEBUG", "D", "-", "."),
    "info": ("INFO", "NOTICE", "LOG", "I", "*"),
    "warning": ("WARN", "WARNING", "W", "#"),
    "error": ("ERROR", "E"),
    "critical": ("CRITICAL", "FATAL", "PANIC", "C", "F"),
}
LEVEL_OF = {word: level for level, words in LEVEL_WORDS.items() for word in words}
LEVEL_PLACES = (
    re.compile(r"\[[-\d:, .T]+ ([DIWEFC]) \d+ \d+\]"),  # Ray, in C++
    re.compile(r"\d+:[XCSM] \d+ \w+ \d{4} [\d:.]+ ([-.*#]) "),  # Redis
    re.compile(r".{0,80}?\b(TRACE|DEBUG|INFO|NOTICE|LOG|WARN(?:ING)?|ERROR|CRITICAL|FATAL|PANIC)\b"),
)


@functools.lru_cache(maxsize=4096)
def kind_of(file_name: str) -> tuple[Kind, str] | None:
    """The kind of a file and the job in its name; None for a file that is no log."""
    rotated = ROTATED.fullmatch(file_name)
    if rotated is None:
        return None
    for kind in KINDS:
        if found := kind.name.fullmatch(rotated["stem"] + rotated["kind"]):
            job = found.groupdict().get("job") or ""
            return kind, "" if job == NO_JOB else job
    return None


def is_aside(source: str, level: str, text: str, read_at: Collection[str]) -> bool:
    """Whether an entry is no output of the user's programs: what Ray says of itself, but errors; or a repetition of
    a line of a worker's file, if those at its address are read as well.
    """
    known = kind_of(source.rpartition("/")[2])
    if known and known[0].rays_own:
        return LEVELS.get(level, 0) < LEVELS["error"]
    repeated = REPEATED.match(text) if source.startswith("job-driver-") else None
    return repeated is not None and (repeated["address"] or OWN) in read_at


def time_of(text: str, local: tzinfo | None = None) -> float | None:
    """The time with which a line begins, in seconds since 1970; without a zone it is `local`, or this process's."""
    for pattern in TIMES if text[:1] == "{" else TIMES[:1]:
        if found := pattern.match(text):
            minute = _minute(found["date"].replace("T", " "), found["zone"] or "", local)
            return None if minute is None else minute + float(f"{found['seconds']}.{found['fraction'] or 0}")
    return None


@functools.lru_cache(maxsize=1024)
def _minute(date: str, zone: str, local: tzinfo | None) -> float | None:
    try:
        parts = time.strptime(date, "%Y-%m-%d %H:%M")
    except ValueError:  # the 99th of something
        return None
    if not zone:
        return datetime(*parts[:5], tzinfo=local).timestamp() if local else time.mktime(parts)
    sign, hours, minutes = (1, 0, 0) if zone == "Z" else (int(f"{zone[0]}1"), int(zone[1:3]), int(zone[-2:]))
    return calendar.timegm(parts) - sign * (hours * 3600 + minutes * 60)


def level_of(text: str) -> str:
    """The level that a line names; empty if it names none."""
    for pattern in LEVEL_PLACES:
        if found := pattern.match(text):
            return LEVEL_OF[found[1]]
    return ""
