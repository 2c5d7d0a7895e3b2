"""Asks Ray for what lifecycle.py says of an attempt: to start it, to stop it, or to take its id from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from entrypoints.queue import entry, gang, tracking
from entrypoints.queue.ray_jobs import FaultError, NotTakenError, RayCluster
from entrypoints.queue.stored import Job
from scheduling.lifecycle import Act

PATIENCE = 120.0  # seconds that a further attempt waits for MLflow; then it starts a run of its own


class PostponedError(Exception):
    """A job cannot be started right now, which hinders no other. The message is a sentence for people."""


class Starter:
    """Asks Ray. Methods raise RayAwayError and PostponedError, after which they are called again, and NotTakenError."""

    def __init__(
        self,
        ray: RayCluster,
        *,
        checkpoints: str,
        tracking_uri: str | None,
        package: Callable[[str], Path | None],
        clock: Callable[[], float],
    ) -> None:
        """package: where one is kept, by its SHA-256."""
        self._ray = ray
        self._checkpoints, self._tracking_uri = checkpoints, tracking_uri
        self._package, self._clock = package, clock
        self._giving = threading.Lock()

    def act(self, act: Act, job: Job, nodes: Mapping[str, str]) -> None:
        """Ask for it. nodes: name → id of those that are up."""
        submission = job.record.submission
        if act is Act.STOP:
            self._ray.stop(submission)
        elif act is Act.CLAIM:
            self._ray.claim(submission)
        else:
            self._submit(job, nodes)

    def _submit(self, job: Job, nodes: Mapping[str, str]) -> None:
        missing = [name for name in job.nodes if name not in nodes]
        if missing:
            raise PostponedError(f"The node {missing[0]} went down before job {job.id} began there.")
        body = entry.request(
            job,
            [nodes[name] for name in job.nodes],
            checkpoints=self._checkpoints,
            package=self._given(job.submission.package),
            program=self._program() if entry.is_gang(job) else None,
            run=self._run(job),
        )
        try:
            self._ray.submit(body)
        except FaultError as error:  # it has just told of its nodes: others' jobs need not wait for this one
            raise PostponedError(f"Job {job.id} cannot be submitted, and is tried again. {error}") from None

    def _given(self, package: str | None) -> str | None:
        if package is None:
            return None
        path = self._package(package)
        if path is None:
            raise NotTakenError("Its folder is no longer kept by the queue. Submit it again: `ws submit`.")
        with self._giving, path.open("rb") as file:  # many jobs of one folder start together: it is sent once
            return self._ray.give(package, file)

    def _program(self) -> str:
        package = gang.package()
        with self._giving:
            return self._ray.give(package.name, package.content)

    def _run(self, job: Job) -> str | None:
        if self._tracking_uri is None or job.record.attempt == 1:
            return None
        try:
            return tracking.run_of(job.id, self._tracking_uri)
        except tracking.MlflowAwayError as error:
            if job.started is not None and self._clock() > job.started + PATIENCE:
                return None
            raise PostponedError(f"Job {job.id} continues a run of MLflow, which does not answer: {error}") from None
