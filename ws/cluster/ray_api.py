"""Client of Ray's APIs on the head's dashboard: nodes, tasks, actors, jobs and nodes' log files."""

import contextlib
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from contracts.ray_nodes import NODES_PATH, AnswerError, RayNode, listed, nodes_in
from ws.errors import WsError

SECONDS = 5.0
AGENT_SECONDS = 4  # for a node's agent to answer the dashboard
SILENCE_SECONDS = 24 * 3600.0  # for which a followed log may be silent
BLOCK = 2**16  # bytes
MOST_WORK = 10_000
ENDED = ("FINISHED", "FAILED")


class NoHeadError(WsError):
    """The dashboard does not answer: probably there is no head at the moment."""


@dataclass(frozen=True)
class Work:
    """The running work of a node."""

    tasks: tuple[str, ...]  # names, also of actors' methods
    actors: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.tasks or self.actors)

    def __str__(self) -> str:
        return f"{counted(len(self.tasks), 'task')}, {counted(len(self.actors), 'actor')}"


def counted(number: int, thing: str) -> str:
    """``1 task``, ``3 tasks``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class JobEntry:
    """A job as Ray lists it."""

    identifier: str  # Ray's, in hexadecimal; empty until its driver has connected
    submission: str  # empty for a job that was not submitted, but connected
    address: str  # of its driver's node; empty until it has started
    ended: float | None = None  # in seconds since 1970


@dataclass(frozen=True)
class RayApi:
    """The dashboard at a URL. Raises `NoHeadError` if it does not answer."""

    url: str
    token: str = field(repr=False)

    def nodes(self) -> list[RayNode]:
        """All nodes that the GCS remembers, including dead ones."""
        answer = self._get(NODES_PATH)
        try:
            return list(nodes_in(answer))
        except AnswerError as error:
            raise self._no_answer(error) from error

    def work(self, node: RayNode) -> Work:
        """The running work of a node, now."""
        here = {"filter_keys": "node_id", "filter_predicates": "=", "filter_values": node.identifier}
        tasks = [task for task in self._list("tasks", limit=MOST_WORK, **here) if task["state"] not in ENDED]
        actors = [actor for actor in self._list("actors", limit=MOST_WORK, **here) if actor["state"] == "ALIVE"]
        return Work(
            tasks=tuple(sorted(str(task.get("name") or task.get("func_or_class_name")) for task in tasks)),
            actors=tuple(sorted(str(actor.get("name") or actor["class_name"]) for actor in actors)),
        )

    def jobs(self) -> list[JobEntry]:
        """All jobs that the GCS remembers."""
        return [
            JobEntry(
                identifier=job.get("job_id") or "",
                submission=job.get("submission_id") or "",
                address=_driver_address(job),
                ended=job["end_time"] / 1000 if job.get("end_time") else None,
            )
            for job in self._get("/api/jobs/")
        ]

    def log_files(self, node: RayNode) -> list[str]:
        """The names of a living node's log files, below its session's folder of logs."""
        query = {"node_id": node.identifier, "glob": "**/*", "timeout": AGENT_SECONDS}
        try:
            groups = self._get(f"/api/v0/logs?{urllib.parse.urlencode(query)}")["data"]["result"].values()
            return sorted(name for names in groups for name in names if not name.endswith("/"))
        except (LookupError, TypeError, AttributeError) as error:
            raise self._no_answer(error) from error

    @contextlib.contextmanager
    def log(self, node: RayNode, name: str, *, lines: int, follow: bool = False) -> Iterator[Iterator[bytes]]:
        """The last lines of a file of a living node, in blocks; with `follow` what comes then, until the connection
        ends. Ray begins to answer a follower when there is a first line.
        """
        query = {"node_id": node.identifier, "filename": name, "lines": lines, "timeout": AGENT_SECONDS}
        path = f"/api/v0/logs/{'stream' if follow else 'file'}?{urllib.parse.urlencode(query)}"
        with self._opened(path, SILENCE_SECONDS if follow else SECONDS) as response:
            yield iter(lambda: response.read1(BLOCK), b"")

    def _list(self, what: str, **query: object) -> list[dict[str, Any]]:
        answer = self._get(f"/api/v0/{what}?{urllib.parse.urlencode({**query, 'detail': 'true'})}")
        try:
            return listed(answer)
        except AnswerError as error:
            raise self._no_answer(error) from error

    def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        with self._opened(path, SECONDS) as response:
            return json.load(response)

    @contextlib.contextmanager
    def _opened(self, path: str, seconds: float) -> Iterator[http.client.HTTPResponse]:
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.url}{path}", headers=headers)  # noqa: S310  (http)
        # No proxy: a site's proxy cannot reach our own services.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=seconds) as response:
                yield response
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise WsError(f"The dashboard at {self.url} refuses this stack's token; run `ws up` again.") from error
            raise NoHeadError(f"The dashboard at {self.url} answers {error.code} {error.reason}.") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise self._no_answer(error) from error

    def _no_answer(self, error: Exception) -> NoHeadError:
        return NoHeadError(f"The dashboard at {self.url} does not answer ({error}).")


def _driver_address(job: dict[str, Any]) -> str:
    """A driver that never connects to Ray is only known by the agent that started it."""
    connected = (job.get("driver_info") or {}).get("node_ip_address")
    return connected or urllib.parse.urlsplit(job.get("driver_agent_http_address") or "").hostname or ""
