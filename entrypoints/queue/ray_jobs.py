"""Ray as the queue sees it: its jobs, its nodes and what is taken on them, by the head's REST API.

Nothing here decides. While Ray does not answer as it should, RayAwayError is raised and nothing follows from it: that a
job is not known is only concluded from the head's own words.
"""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import IO, Any
from urllib.parse import urlencode

import httpx

from contracts.ray_nodes import NODES_PATH, AnswerError, RayNode, nodes_in
from scheduling.lifecycle import Seen

TIMEOUT = httpx.Timeout(20.0, connect=3.0)
ASK_TO_SUBMIT = 60.0  # seconds: the head starts what looks after jobs with the first one
CLAIM_TAG = "cslr.queue.claim"  # in the metadata of the empty job
NODES_TAG = "cslr.queue.nodes"  # in a job's metadata: the ids of its nodes, with commas
NO_ACTOR_AFTER = 60.0  # seconds: what has no actor by then, nor as long afterwards, never gets one
ACTOR = "_ray_internal_job_actor_{}"  # the name of what looks after a job, and begins it (Ray 2.60)
LONGEST_MESSAGE = 2000
LONGEST_READ = 120  # seconds, of a log
NO_AGENT = "Agent for node id"  # what Ray says of a log on a node that is gone
TAKEN = "already exists"  # what Ray says of an id that has a job
# What ended because of the cluster and not of its program (JobErrorType of Ray 2.60).
LOST_TYPES = (
    "JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE", "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
)  # fmt: skip
LOST_WORDS = {
    # It ran when a former head ended; a start that fails by its runtime environment has the same type.
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": "failed to get job supervisor",
    # Ray drops a package once no job uses it, also if one is about to.
    "RUNTIME_ENV_SETUP_FAILURE": "may have prematurely been deleted from the GCS",
}
ENDED = {"SUCCEEDED": Seen.SUCCEEDED, "STOPPED": Seen.STOPPED}


class RayAwayError(Exception):
    """Ray does not answer, or not as it should. The message is a sentence for people."""


class FaultError(RayAwayError):
    """Ray answers a request with an error of its own, so it is not away."""


class _GoneError(Exception):
    """The node that has a log is gone."""


class NotTakenError(Exception):
    """Ray refuses a job, and will every time. The message is Ray's."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What Ray says of an attempt."""

    seen: Seen
    runs: bool = False  # it holds its resources
    nodes: frozenset[str] = frozenset()  # the ids of those that it was pinned to
    ended: float | None = None
    message: str | None = None


@dataclass(frozen=True, kw_only=True)
class SeenNode:
    """A node, and what is taken on it by whatever work."""

    name: str
    identifier: str
    up: bool
    head: bool
    capacity: Mapping[str, float] = field(default_factory=dict)
    taken: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LogPart:
    """A part of what a job printed."""

    start: int
    text: str
    more: bool  # that was there and is not in this part


class RayCluster:
    """The head's REST API. Methods raise RayAwayError; they may be called from several threads."""

    def __init__(self, dashboards: tuple[str, ...], token: str) -> None:
        self._dashboards = dashboards  # the one that answered last is the first to be asked
        self._without_actor: dict[str, float] = {}  # submission → when that was first seen, by this host's clock
        self._client = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT, trust_env=False)

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def nodes(self) -> tuple[SeenNode, ...]:
        """The nodes that are up, and those that were and whose name no other has since."""
        try:
            listed = nodes_in(self._json("GET", NODES_PATH))
        except AnswerError as error:
            raise RayAwayError(f"The Ray cluster's list of nodes cannot be read: {error}") from None
        status = self._json("GET", "/api/cluster_status")
        try:
            usage = status["data"]["clusterStatus"]["loadMetricsReport"]["usageByNode"]
            taken = {
                str(node): {_plain(name): float(pair[0]) for name, pair in of.items()} for node, of in usage.items()
            }
        except (LookupError, TypeError, ValueError, AttributeError):
            raise RayAwayError("The Ray cluster does not say what is taken on its nodes.") from None
        return _nodes(listed, taken)

    def look(self, submission: str) -> Sight:
        """How it is with an attempt."""
        answer = self._ask("GET", f"/api/jobs/{submission}")
        if answer.status_code == httpx.codes.NOT_FOUND and "does not exist" in answer.text:
            return Sight(seen=Seen.UNKNOWN)
        job = _decoded(_good(answer))
        sight = _sight(job)
        if self._never_begins(submission, job):
            # Of a head that ended while it took the job; the next one waits for its actor 15 minutes (Ray 2.60).
            return replace(sight, seen=Seen.LOST, message="The head of the cluster ended before it began the job.")
        return sight

    def _never_begins(self, submission: str, job: Mapping[str, Any]) -> bool:
        """Whether it had no actor for long enough: the head makes it a moment after it notes the job."""
        since = job.get("start_time") if job.get("status") == "PENDING" else None
        if not since or time.time() - since / 1000 < NO_ACTOR_AFTER or not self._has_no_actor(submission):
            self._without_actor.pop(submission, None)
            return False
        now = time.monotonic()
        return now - self._without_actor.setdefault(submission, now) >= NO_ACTOR_AFTER

    def _has_no_actor(self, submission: str) -> bool:
        """Whether nothing looks after a job, as far as Ray is certain."""
        question = {"filter_keys": "name", "filter_predicates": "=", "filter_values": ACTOR.format(submission)}
        answer = self._ask("GET", f"/api/v0/actors?{urlencode(question)}")
        try:
            found = _decoded(_good(answer))["data"]["result"]
            complete = found["num_after_truncation"] == found["total"] and not found["partial_failure_warning"]
            return complete and found["num_filtered"] == 0
        except (FaultError, LookupError, TypeError):
            return False

    def submit(self, body: Mapping[str, Any]) -> None:
        """Ask for a job; its id may be taken, which is as good. Raises NotTakenError."""
        answer = self._ask("POST", "/api/jobs/", timeout=ASK_TO_SUBMIT, json=dict(body))
        if answer.status_code == httpx.codes.BAD_REQUEST and TAKEN not in answer.text:
            raise NotTakenError(_last_line(answer.text))
        if TAKEN not in answer.text:
            _good(answer)

    def claim(self, submission: str) -> None:
        """Have an empty job take the id, so that no late request starts the attempt."""
        self.submit({"submission_id": submission, "entrypoint": "true", "metadata": {CLAIM_TAG: "true"}})

    def stop(self, submission: str) -> None:
        """Ask a job to stop. It has three seconds after its signal (Ray's default)."""
        answer = self._ask("POST", f"/api/jobs/{submission}/stop")
        if answer.status_code != httpx.codes.NOT_FOUND:
            _good(answer)

    def log(self, submission: str, start: int, most: int) -> LogPart | None:
        """What a job printed, from a character on; None where Ray no longer has it.

        Ray reads a log from its beginning each time. It comes in chunks, of which only what is asked for is kept: a log
        may be larger than the memory of this service.
        """
        answer = self._ask("GET", f"/api/jobs/{submission}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        node = _decoded(_good(answer)).get("driver_node_id")
        if not node:
            return LogPart(start=0, text="", more=False)  # it has not begun
        path = f"/api/v0/logs/file?node_id={node}&filename=job-driver-{submission}.log&lines=-1&timeout={LONGEST_READ}"
        try:
            if start < 0:
                start = max(0, start + sum(map(len, self._chunks(path))))
            return log_part(self._chunks(path), start, most)
        except _GoneError:
            return None

    def _chunks(self, path: str) -> Iterator[str]:
        """A file, as it comes. A program may print what is no text."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        try:
            with self._client.stream("GET", f"http://{self._dashboards[0]}{path}") as answer:
                if not answer.is_success:
                    answer.read()
                    if NO_AGENT in answer.text:
                        raise _GoneError
                    _good(answer)
                for chunk in answer.iter_bytes():
                    yield decoder.decode(chunk)
                yield decoder.decode(b"", final=True)
        except httpx.HTTPError as error:
            raise _away(error) from None

    def wake(self, submission: str) -> None:
        """Have a head that restarted look whether its jobs still run.

        It begins with the first question about one that is more than its status (Ray 2.60). Until then those that
        ended with the former head are called running.
        """
        try:
            with self._client.stream("GET", f"http://{self._dashboards[0]}/api/jobs/{submission}/logs"):
                pass  # the answer is a whole log, which nobody needs
        except httpx.ReadTimeout:
            pass  # it was asked
        except httpx.HTTPError as error:
            raise _away(error) from None

    def give(self, package: str, content: bytes | IO[bytes]) -> str:
        """Give Ray a package unless it has it; returns the address under which jobs name it.

        A file is sent in parts: a package may be larger than the memory of this service.
        """
        name = f"_ray_pkg_{package}.zip"
        path = f"/api/packages/gcs/{name}"
        if self._ask("GET", path).status_code == httpx.codes.NOT_FOUND:
            _good(self._ask("PUT", path, timeout=ASK_TO_SUBMIT, content=content))
        return f"gcs://{name}"

    def _json(self, method: str, path: str) -> Any:  # noqa: ANN401 - JSON
        return _decoded(_good(self._ask(method, path)))

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        reason = "it has no address"
        for dashboard in self._dashboards:
            try:
                answer = self._client.request(method, f"http://{dashboard}{path}", **options)
            except httpx.ConnectError as error:
                reason = str(error) or type(error).__name__  # not the head's
                continue
            except httpx.HTTPError as error:
                # It may have been carried out: another one is not asked, since the next turn asks what became of it.
                raise _away(error) from None
            if dashboard != self._dashboards[0]:
                self._dashboards = (dashboard, *(each for each in self._dashboards if each != dashboard))
            return answer
        raise RayAwayError(f"The Ray cluster does not answer: {reason}")


def log_part(chunks: Iterable[str], start: int, most: int) -> LogPart:
    """At most so many characters from one on, without reading further than that."""
    found: list[str] = []
    position, kept = 0, 0
    for chunk in chunks:
        part = chunk[max(0, start - position) :]
        position += len(chunk)
        found.append(part[: most - kept])
        kept += len(found[-1])
        if len(part) > len(found[-1]):
            return LogPart(start=start, text="".join(found), more=True)
    return LogPart(start=min(start, position), text="".join(found), more=False)


def _nodes(listed: tuple[RayNode, ...], taken: Mapping[str, Mapping[str, float]]) -> tuple[SeenNode, ...]:
    latest: dict[str, RayNode] = {}
    found: dict[str, SeenNode] = {}
    for node in sorted(listed, key=lambda node: (node.alive, node.since)):
        if node.alive and node.name in latest and latest[node.name].alive:
            latest[f"{node.name}-{node.identifier[:6]}"] = node  # two nodes of one name
        else:
            latest[node.name] = node
    for name, node in latest.items():
        of = taken.get(node.identifier, {})
        found[name] = SeenNode(
            name=name,
            identifier=node.identifier,
            up=node.alive,
            head=node.head,
            capacity={each: most for each, most in node.resources.items() if not each.startswith("node:")},
            taken={each: of.get(_plain(each), 0.0) for each in node.resources if of.get(_plain(each))},
        )
    return tuple(found[name] for name in sorted(found))


def _plain(resource: str) -> str:
    """A name as it can be compared: the status of the cluster tells `object_store_memory` as `objectStoreMemory`."""
    return resource.replace("_", "").lower()


def _sight(job: Mapping[str, Any]) -> Sight:
    status, whole = str(job.get("status")), str(job.get("message") or "")
    metadata = job.get("metadata") or {}
    if CLAIM_TAG in metadata:
        seen = Seen.CLAIMED
    elif status in ("PENDING", "RUNNING"):
        seen = Seen.ALIVE
    elif status == "FAILED":
        kind = str(job.get("error_type"))
        lost = kind in LOST_TYPES or (kind in LOST_WORDS and LOST_WORDS[kind] in whole)
        seen = Seen.LOST if lost else Seen.FAILED
    elif status in ENDED:
        seen = ENDED[status]
    else:
        raise RayAwayError(f"The Ray cluster calls a job {status}, which this queue does not know.")
    return Sight(
        seen=seen,
        runs=status == "RUNNING",
        nodes=frozenset(filter(None, str(metadata.get(NODES_TAG) or "").split(","))),
        ended=job["end_time"] / 1000 if job.get("end_time") else None,
        message=whole[-LONGEST_MESSAGE:] or None,
    )


def _away(error: httpx.HTTPError) -> RayAwayError:
    return RayAwayError(f"The Ray cluster does not answer: {error or type(error).__name__}")


def _good(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    raise FaultError(f"The Ray cluster answered {answer.status_code}: {_last_line(answer.text)}")


def _decoded(answer: httpx.Response) -> Any:  # noqa: ANN401 - JSON
    try:
        return answer.json()
    except ValueError:
        raise RayAwayError("The Ray cluster answered with no JSON.") from None


def _last_line(text: str) -> str:
    return (text.strip().splitlines()[-1:] or [""])[0][:LONGEST_MESSAGE]
