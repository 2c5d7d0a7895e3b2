"""Follows a job to its end, and prints what it prints."""

import time
from collections.abc import Callable, Iterator

from contracts.queue import Attempt, JobView, Log
from ws.queue.client import QueueClient, RefusalError, UnreachableError

PAUSE, LONGEST_PAUSE = 0.5, 3.0  # seconds between looks; longer while nothing happens
PATIENCE = 3600.0  # seconds for which the service may be away, such as while it is replaced
NO_LOG = ("log_gone", "no_such_attempt")

Write = Callable[[str], None]


class Follower:
    """What of a job was printed already."""

    def __init__(self, client: QueueClient, name: str, write: Write, note: Write, *, first: int | None = None) -> None:
        self._client = client
        self._name = name
        self._write = write
        self._note = note  # for lines that are not the job's own
        self._attempt = first or 0  # the last one of which something was printed, or that was begun
        self._position = 0
        self._missed = 0  # the last attempt of which was said that there is no log

    def logs_of(self, job: JobView) -> bool:
        """Prints what is new of a job's attempts. Returns whether there was anything."""
        found = False
        for attempt in job.attempts:
            if attempt.number < self._attempt:
                continue
            if attempt.number > self._attempt:
                self._attempt, self._position = attempt.number, 0
                if attempt.number > 1:
                    self._note(f"attempt {attempt.number} on {', '.join(attempt.nodes)}")
            found |= self._rest_of(attempt)
        return found

    def _rest_of(self, attempt: Attempt) -> bool:
        begin = self._position
        while part := self._part(attempt):
            self._position = part.start + len(part.text)
            self._write(part.text)
            if part.complete or not part.text:
                break
        return self._position > begin

    def _part(self, attempt: Attempt) -> Log | None:
        try:
            return self._client.log(self._name, attempt.number, self._position)
        except RefusalError as error:
            if error.code not in NO_LOG:
                raise
            if self._position == 0 and self._missed != attempt.number:
                self._note(str(error).partition("\n")[0])
                self._missed = attempt.number
            return None


def wait_for(client: QueueClient, name: str, say: Write, logs: Follower | None = None) -> JobView:
    """The job once it has ended; `say` is told meanwhile what is waited for.

    The service may go away meanwhile. Raises `WsError` where it stays away.
    """
    pause, away_since = PAUSE, None
    while True:
        try:
            job = client.job(name)  # before its logs, so that those of a job that has ended are all there is
            found = logs.logs_of(job) if logs else False
        except UnreachableError as error:
            now = time.monotonic()
            away_since = away_since or now
            if now - away_since > PATIENCE:
                raise
            say(f"{str(error).partition(chr(10))[0]} Waiting for it.")
            found = False
        else:
            away_since = None
            if job.state == "ended":
                return job
            say(in_words(job))
        pause = PAUSE if found else min(pause * 1.3, LONGEST_PAUSE)
        time.sleep(pause)


def in_words(job: JobView) -> str:
    """What a job does at the moment."""
    if job.state == "waiting":
        return f"job {job.id} waits: {job.why or 'its turn has not come.'}"
    nodes = job.attempts[-1].nodes if job.attempts else ()
    why = f": {job.why}" if job.why else ""
    return f"job {job.id} is {job.state}{' on ' + ', '.join(nodes) if nodes else ''}{why}"


def whole_log(client: QueueClient, name: str, attempt: int | None) -> Iterator[str]:
    """What an attempt has printed so far, in parts."""
    position = 0
    while True:
        part = client.log(name, attempt, position)
        if not part.text:
            return
        yield part.text
        attempt, position = part.attempt, part.start + len(part.text)


def last_lines(client: QueueClient, name: str, attempt: int | None, count: int, most: int) -> str:
    """The last lines of an attempt, from its last `most` characters."""
    lines = client.log(name, attempt, -most).text.splitlines(keepends=True)
    return "".join(lines[len(lines) - min(count, len(lines)) :])
