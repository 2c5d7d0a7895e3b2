"""Jobs of the cluster, by Ray's API on the head. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

API_SECONDS = 5.0
NOT_FOUND = 404
WAKE_SECONDS = 2.0  # between two attempts, while the head's dashboard starts


@dataclass(frozen=True)
class Job:
    """A job of the cluster as Ray's API lists it."""

    identifier: str  # Ray's, in hexadecimal; empty until its driver has connected
    submission: str  # empty for a job that was not submitted, but connected
    running: bool
    process: int | None  # of its driver
    address: str  # of its driver's node


class Jobs:
    """Lists and stops jobs through Ray's API on the head's dashboard. Raises OSError or ValueError."""

    def __init__(self, dashboard: Callable[[], str], token: str) -> None:
        self._dashboard = dashboard
        self._token = token

    def all(self) -> list[Job]:
        """Return every job that Ray knows."""
        found = []
        for entry in self._call("GET", "/api/jobs/"):
            driver = entry.get("driver_info") or {}
            number = str(driver.get("pid") or "")
            found.append(
                Job(
                    identifier=entry.get("job_id") or "",
                    submission=entry.get("submission_id") or "",
                    running=entry["status"] in ("PENDING", "RUNNING"),
                    process=int(number) if number.isdigit() else None,
                    address=driver.get("node_ip_address") or "",
                )
            )
        return found

    def with_actors(self) -> set[str]:
        """Return the IDs of jobs with living actors: detached actors and their objects outlive their job."""
        path = "/api/v0/actors?limit=10000&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
        return {str(entry["job_id"]) for entry in self._call("GET", path)["data"]["result"]["result"]}

    def stop(self, job: Job) -> None:
        """Stop a submitted job."""
        self._call("POST", f"/api/jobs/{job.submission}/stop")

    def wake_watch(self, agent_port: int) -> None:
        """Make the head's agent begin its watch of jobs, by a question for the log of a job that does not exist."""
        try:
            self._open("GET", f"http://127.0.0.1:{agent_port}/api/job_agent/jobs/none/logs")
        except urllib.error.HTTPError as error:
            if error.code != NOT_FOUND:
                raise

    def _call(self, method: str, path: str) -> Any:  # noqa: ANN401 (JSON)
        return json.loads(self._open(method, f"http://{self._dashboard()}{path}"))

    def _open(self, method: str, url: str) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 (http, Ray's own)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=API_SECONDS) as answer:
                content: bytes = answer.read()
                return content
        except http.client.HTTPException as error:  # such as an answer that broke off
            raise OSError(f"{url} does not answer in full: {error!r}") from error


def end_lost_jobs(jobs: Jobs, agent_port: int, ended: threading.Event) -> None:
    """Make Ray fail the jobs that ended with an earlier head, once this head answers; give up when that has `ended`.

    The watch that does it, the JobManager of Ray 2.60, begins in the head's agent with the first submission or question
    for a log. Until then a job whose process is long gone is RUNNING to whoever asks.
    """
    while not ended.wait(WAKE_SECONDS):
        with contextlib.suppress(OSError, ValueError, LookupError):
            if any(job.submission and job.running for job in jobs.all()):
                jobs.wake_watch(agent_port)
            return
