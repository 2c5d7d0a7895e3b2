"""What the head's dashboard knows of nodes, tasks and actors, through Ray's State API."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from ws.errors import WsError

SECONDS = 5.0
MOST_NODES = 2000  # Ray keeps up to 1,000 dead ones
MOST_WORK = 10_000
NODE_LABEL, HOST_LABEL = "cslr.node", "cslr.host"
ENDED = ("FINISHED", "FAILED")


class NoHeadError(WsError):
    """The dashboard does not answer, so most likely there is no head at this moment."""


@dataclass(frozen=True)
class RayNode:
    """A node as the GCS lists it; one that ended and came back is listed twice."""

    identifier: str
    name: str
    host: str
    address: str
    head: bool
    alive: bool
    why: str  # it is dead
    cpus: float
    gpus: float
    since: int  # ms since 1970: of its start, or of its end


@dataclass(frozen=True)
class Work:
    """What a node is busy with."""

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
class RayApi:
    """The dashboard at a URL. Raises `NoHeadError` where it does not answer."""

    url: str
    token: str = field(repr=False)

    def nodes(self) -> list[RayNode]:
        """All that the GCS remembers, dead ones too."""
        return [_node(entry) for entry in self._list("nodes", limit=MOST_NODES)]

    def work(self, node: RayNode) -> Work:
        """What a node is busy with right now."""
        here = {"filter_keys": "node_id", "filter_predicates": "=", "filter_values": node.identifier}
        tasks = [task for task in self._list("tasks", limit=MOST_WORK, **here) if task["state"] not in ENDED]
        actors = [actor for actor in self._list("actors", limit=MOST_WORK, **here) if actor["state"] == "ALIVE"]
        return Work(
            tasks=tuple(sorted(str(task.get("name") or task.get("func_or_class_name")) for task in tasks)),
            actors=tuple(sorted(str(actor.get("name") or actor["class_name"]) for actor in actors)),
        )

    def _list(self, what: str, **query: object) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v0/{what}?{urllib.parse.urlencode({**query, 'detail': 'true'})}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})  # noqa: S310  (http)
        # No proxy: it is our own, and a proxy of the site cannot reach it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=SECONDS) as response:
                answer = json.load(response)
            result: list[dict[str, Any]] = answer["data"]["result"]["result"]
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise WsError(f"The dashboard at {self.url} refuses this stack's token; run `ws up` again.") from error
            raise NoHeadError(f"The dashboard at {self.url} answers {error.code} {error.reason}.") from error
        except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
            raise NoHeadError(f"The dashboard at {self.url} does not answer ({error}).") from error
        return result


def _node(entry: dict[str, Any]) -> RayNode:
    labels, resources = entry.get("labels") or {}, entry.get("resources_total") or {}
    alive = entry["state"] == "ALIVE"
    return RayNode(
        identifier=entry["node_id"],
        name=labels.get(NODE_LABEL) or entry.get("node_name") or entry["node_ip"],
        host=labels.get(HOST_LABEL) or "",
        address=entry["node_ip"],
        head=bool(entry.get("is_head_node")),
        alive=alive,
        why=entry.get("state_message") or "",
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        since=int(entry.get("start_time_ms" if alive else "end_time_ms") or 0),
    )
