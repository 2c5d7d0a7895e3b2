"""The queue of Ray jobs: those that run, those that wait, and the last that ended."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from contracts.health import WatchedService
from contracts.status import Reason
from entrypoints.health.asker import Asker
from entrypoints.health.failure import FailureError

JOBS_PATH = "/api/jobs/"
ENDED_SHOWN = 5
LARGEST_LIST = 16 * 2**20  # bytes; 5,500 jobs are kept (entrypoints/hooks/package_hooks.py), each of about 1 kB here
COMMAND = re.compile(r"-[a-zA-Z]*c")  # an option after which a command follows: -c, -lc
SCRIPT = re.compile(r"[^-\s=][^\s=]*\.(py|sh)")
ORDER = {"RUNNING": 0, "PENDING": 1}  # statuses that a job leaves; the others are its end


@dataclass(frozen=True, kw_only=True)
class Job:
    """A Ray job. Times in seconds since 1970, None where Ray does not say."""

    name: str
    program: str
    status: str
    started: float | None
    ended: float | None


async def ask_jobs(dashboard: WatchedService, asker: Asker) -> tuple[Job, ...]:
    """The jobs that run, then those that wait, then the last that ended; raises FailureError."""
    text = await asker.in_time(asker.get(dashboard, JOBS_PATH, asker.secrets["ray-token"], largest=LARGEST_LIST))
    return jobs_in(text, f"{dashboard.host}:{dashboard.port}")


def jobs_in(text: str, address: str) -> tuple[Job, ...]:
    """The jobs of an answer; raises FailureError."""
    try:
        found = sorted(json.loads(text), key=_rank)
        live = sum(str(one["status"]) in ORDER for one in found)
        # Of thousands that ended, only those that are shown are read any further.
        return tuple(map(_job, found[: live + ENDED_SHOWN]))
    except (LookupError, TypeError, ValueError, AttributeError):
        raise FailureError(Reason.WRONG_ANSWER, f"{address} does not list jobs as Ray does") from None


def _rank(entry: Mapping[str, Any]) -> tuple[int, float]:
    """Those that run first, then those that wait, then the last that ended."""
    last = _seconds(entry.get("end_time")) or _seconds(entry.get("start_time")) or 0
    return ORDER.get(str(entry["status"]), len(ORDER)), -last


def _job(entry: Mapping[str, Any]) -> Job:
    return Job(
        name=str(entry.get("submission_id") or entry["job_id"]),
        program=program_of(str(entry.get("entrypoint") or "")),
        status=str(entry["status"]),
        started=_seconds(entry.get("start_time")),
        ended=_seconds(entry.get("end_time")),
    )


def program_of(entrypoint: str) -> str:
    """The program of a command line, without its arguments and variables: these may hold secrets.

    A script that stands in the command line itself, as of ``python -c`` or ``bash -lc``, is an argument too.
    """
    try:
        words = shlex.split(entrypoint)
    except ValueError:
        words = entrypoint.split()[:1]
    while words and "=" in words[0]:
        words = words[1:]
    of_python = False  # whether Python itself reads the next word
    for before, word in zip(["", *words], words, strict=False):
        if before == "-m" and of_python:
            return word
        if COMMAND.fullmatch(before):
            break
        if SCRIPT.fullmatch(word):
            return PurePath(word).name
        of_python = PurePath(word).name.startswith("python") or (of_python and word.startswith("-"))
    return PurePath(words[0].split()[0]).name if words and words[0].strip() else ""


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) and milliseconds else None
