"""Hooks into Ray that keep large values in the package store instead of Redis.

- `store_values` (``ray._raylet``): the client of the GCS that all of Ray's Python uses. What a driver, the Jobs API or
  a Ray Client puts under ``gcs://…``, and other large values, go to the store, and readers get them from there.
- `answer_when_full` (the Jobs API): says in one sentence why nothing can be submitted, instead of showing a traceback.
- `serve_packages` (the dashboard agent of each node): serves this host's store to other nodes, and starts the
  `Housekeeping`.

The GCS ends when Redis refuses a write, so optional values of users are refused well before (`StateStore`).
Standard library only, Python 3.10 or newer; Ray's names come from the hooked module, or are imported late.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import fcntl
import functools
import hashlib
import importlib
import json
import os
import re
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from .package_store import Key, Pointer, Store, StoreError, StoreFullError, is_name, size_text

Ray: TypeAlias = Any  # from Ray, which has no types
Text: TypeAlias = "str | bytes"
Space: TypeAlias = "str | bytes | None"
Seconds: TypeAlias = "float | None"

NODE_LABEL = "cslr.node"  # as in contracts/ray_nodes.py: hooks import nothing but hooks
PACKAGE = b"gcs://"
FUNCTIONS = b"fun"  # pickled functions and classes
# Values that Ray's C++ reads (the Jobs API's records) or that a moved head must find: small, and limited by Ray.
KEPT_IN_REDIS = frozenset({b"job", b"serve", b"session", b"cluster", b"dashboard", b"healthcheck", b"tracing"})
# Larger values go to the store. A job of a few files stays in Redis, which is replicated to another host.
INLINE_BYTES = 32 * 1024
INLINE_BYTES_WHEN_SCARCE = 1024
# Shares of Redis's memory: above the first, it keeps hardly any values; above the second, users are refused.
SCARCE, FULL = 0.6, 0.8
STATE_SECONDS = 60.0  # older measurements are ignored
HOUSE_SECONDS = 15.0
TURNS_TO_TIDY_UP = 4  # between two checks of all jobs and actors
# Ray keeps an upload for 10 minutes, then as long as its jobs and actors live. An upload that none of them names and
# that was not used for longer is an orphan of a former head, whose reference counts are lost.
ORPHAN_SECONDS = 900.0
# In a full store, uploads of no job go earlier, except the most recent ones.
JUST_UPLOADED_SECONDS = 60.0
PEER_SECONDS = 10.0  # a node that does not answer for this long counts as hung
GLANCE_SECONDS = 2.0  # the same, for a question that holds up the Jobs API
ROUTE = "/api/cslr/packages/"
# Bytes of a request to submit a job. Its environment variables are kept in Redis with the job and each of its actors.
LARGEST_SUBMISSION = 256 * 1024
JOB_INFO = b"_ray_internal_job_info_"
ENDED_JOBS_KEPT = 5000  # records of submitted jobs; 2 KB each
BLOCK = 2**20
URI = re.compile(r"gcs://[\w.+-]+")
FULL_SENTENCE = re.compile(r"^(?:\w+\.)*StoreFullError: (.+)$", re.MULTILINE)


@functools.cache
def store() -> Store | None:
    """Return the store of this container, the same for the whole process."""
    return Store.here()


# ------------------------------------------------------------------------------------------- how full Redis is


class StateStore:
    """How full Redis is, as the agent of a node on this host last measured it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of(cls, place: Store) -> StateStore:
        """Return the state store beside a package store."""
        return cls(place.folder / "state-store.json")

    def share(self) -> float:
        """Return the used share of Redis's memory; 0 if unknown."""
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
            fresh = time.time() - state["time"] < STATE_SECONDS
            return float(state["used"] / state["limit"]) if fresh and state["limit"] else 0.0
        except (OSError, ValueError, LookupError, TypeError):
            return 0.0

    def refusal(self) -> str | None:
        """Return why users must not write there now; None: they may."""
        share = self.share()
        if share < FULL:
            return None
        return (
            f"redis: memory full: {share:.0%} of its maxmemory. Ray's own state needs the rest; "
            "end jobs and detached actors, or give `redis.memory` more"
        )

    def write(self, used: int, limit: int) -> None:
        """Publish a measurement to the processes of this host."""
        new = self._file.with_suffix(f".{os.getpid()}.new")
        new.write_text(json.dumps({"used": used, "limit": limit, "time": time.time()}), encoding="utf-8")
        new.replace(self._file)


def redis_memory(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return used_memory and maxmemory of the cluster's Redis; None if it cannot be asked."""
    for server in filter(None, environment.get("RAY_NODE_REDIS_ADDRESSES", "").split(",")):
        host, _, port = server.rpartition(":")
        try:
            user = environment["RAY_NODE_REDIS_READER"].encode()
            password = Path(environment["RAY_NODE_REDIS_READER_FILE"]).read_bytes().strip()
            information = _ask_redis((host, int(port)), (b"AUTH", user, password), (b"INFO", b"memory"))
            fields = dict(line.split(":", 1) for line in information.decode().splitlines() if ":" in line)
            return int(fields["used_memory"]), int(fields["maxmemory"])
        except (OSError, ValueError, LookupError):
            continue
    return None


def _ask_redis(address: tuple[str, int], *commands: tuple[bytes, ...]) -> bytes:
    """Return the answer to the last command. Raises OSError."""
    answer = b""
    with socket.create_connection(address, timeout=2) as link, link.makefile("rwb") as stream:
        for words in commands:
            stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
            stream.flush()
            answer = stream.readline()
            if answer.startswith(b"-"):
                raise OSError(errno.EACCES, answer.decode(errors="replace"))
            if answer.startswith(b"$"):
                answer = stream.read(int(answer[1:]) + 2)
    return answer


# ------------------------------------------------------------------------------------------- the client of the GCS


def store_values(raylet: ModuleType) -> None:
    """Make all of Ray's Python code use a GCS client that keeps large values in the store."""
    base = raylet.GcsClient
    names = {"__module__": base.__module__, "__doc__": base.__doc__}
    raylet.GcsClient = type(base.__name__, (StoredValues, base), names)  # type: ignore[attr-defined]


class StoredValues:
    """The methods in which our GCS client differs from Ray's, which is its next base class."""

    def plain(self, name: str) -> Callable[..., Ray]:
        """Return a method of Ray's own client."""
        method: Callable[..., Ray] = getattr(super(), "__getattr__")(name)  # noqa: B009 (unknown to the type checker)
        return method

    def internal_kv_put(
        self, key: Text, value: Text, overwrite: bool = False, namespace: Space = None, timeout: Seconds = None
    ) -> Ray:
        """See Ray's client."""
        value = instead_of(self, key_of(key, namespace), value)
        return self.plain("internal_kv_put")(key, value, overwrite, namespace, timeout)

    def async_internal_kv_put(
        self, key: Text, value: Text, overwrite: bool = False, namespace: Space = None, timeout: Seconds = None
    ) -> Ray:
        """See Ray's client; the returned call has already begun if nothing is stored."""
        put, stored = self.plain("async_internal_kv_put"), key_of(key, namespace)
        if not is_storable(stored, value):
            return put(key, value, overwrite, namespace, timeout)

        async def keep_and_put() -> Ray:
            pointer = await in_thread(instead_of, self, stored, value)
            return await put(key, pointer, overwrite, namespace, timeout)

        return keep_and_put()

    def internal_kv_get(self, key: Text, namespace: Space = None, timeout: Seconds = None) -> Ray:
        """See Ray's client."""
        return whole(self, key_of(key, namespace), self.plain("internal_kv_get")(key, namespace, timeout))

    async def async_internal_kv_get(self, key: Text, namespace: Space = None, timeout: Seconds = None) -> Ray:
        """See Ray's client."""
        value = await self.plain("async_internal_kv_get")(key, namespace, timeout)
        if Pointer.decode(value) is None:
            return value
        return await in_thread(whole, self, key_of(key, namespace), value)

    def internal_kv_multi_get(self, keys: list[Text], namespace: Space = None, timeout: Seconds = None) -> Ray:
        """See Ray's client."""
        values = self.plain("internal_kv_multi_get")(keys, namespace, timeout)
        return {key: whole(self, key_of(key, namespace), value) for key, value in values.items()}

    async def async_internal_kv_multi_get(
        self, keys: list[Text], namespace: Space = None, timeout: Seconds = None
    ) -> Ray:
        """See Ray's client."""
        values = await self.plain("async_internal_kv_multi_get")(keys, namespace, timeout)
        for key, value in values.items():
            if Pointer.decode(value):
                values[key] = await in_thread(whole, self, key_of(key, namespace), value)
        return values

    def internal_kv_exists(self, key: Text, namespace: Space = None, timeout: Seconds = None) -> bool:
        """See Ray's client. A package whose file is lost counts as missing, so that its owner uploads it again."""
        exists, stored = bool(self.plain("internal_kv_exists")(key, namespace, timeout)), key_of(key, namespace)
        if not exists or not stored.key.startswith(PACKAGE):
            return exists
        pointer = Pointer.decode(self.plain("internal_kv_get")(key, namespace, timeout))
        return pointer is None or is_available(self, pointer)


def key_of(key: Text, namespace: Space) -> Key:
    """Return a key from the arguments of Ray's client."""
    plain, space = (text.encode() if isinstance(text, str) else text or b"" for text in (key, namespace))
    return Key(bytes(plain), bytes(space))


def is_storable(key: Key, value: bytes | str) -> bool:
    """Whether a value may be kept in the store and is large enough for a closer check."""
    return len(value) > INLINE_BYTES_WHEN_SCARCE and key.namespace not in KEPT_IN_REDIS


def instead_of(client: Ray, key: Key, value: bytes | str) -> bytes | str:
    """Return what to write to Redis for a value: itself, or a pointer to its place in the store.

    Raises StoreFullError if neither can keep it.
    """
    place = store()
    if place is None or not is_storable(key, value) or Pointer.decode(value if isinstance(value, bytes) else b""):
        return value
    state = StateStore.of(place)
    if reason := state.refusal():
        raise StoreFullError(errno.ENOSPC, reason)
    if len(value) <= (INLINE_BYTES_WHEN_SCARCE if state.share() > SCARCE else INLINE_BYTES):
        return value
    data = value.encode() if isinstance(value, str) else value
    return place.put(data, key, make_room=functools.partial(make_room, client, place)).encode()


def whole(client: Ray, key: Key, value: bytes | None) -> bytes | None:
    """Return the value that a pointer stands for; any other value unchanged. Raises StoreError if it is lost."""
    pointer = Pointer.decode(value)
    if pointer is None:
        return value
    place = store()
    content = place.read(pointer, key) if place else None
    return fetch(client, pointer, key, place) if content is None else content


async def in_thread(function: Callable[..., Any], *arguments: object) -> Ray:
    """Run slow work in a thread, so that the event loop is not blocked."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


# ------------------------------------------------------------------------------------------- other nodes


def peers(client: Ray, first: str) -> list[str]:
    """Return the addresses of the agents of all nodes that are alive, the one of that name first."""
    alive = [node for node in client.get_all_node_info(timeout=PEER_SECONDS).values() if node.state == 0]
    alive.sort(key=lambda node: dict(node.labels).get(NODE_LABEL) != first)
    return [f"http://{node.node_manager_address}:{node.dashboard_agent_listen_port}" for node in alive]


def ask_peer(address: str, sha256: str, method: str = "GET") -> Ray:
    """Return the answer of a node's agent. Raises OSError, which an HTTP error is as well."""
    headers = importlib.import_module(
        "ray._private.authentication.http_token_authentication"
    ).get_auth_headers_if_auth_enabled({})
    # The site's HTTP proxy does not lead to nodes.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{address}{ROUTE}{sha256}", headers=headers, method=method)  # noqa: S310
    return opener.open(request, timeout=GLANCE_SECONDS if method == "HEAD" else PEER_SECONDS)


def is_available(client: Ray, pointer: Pointer) -> bool:
    """Whether the value is here or on another node; records that it is in use."""
    place = store()
    if place and place.has(pointer):
        place.touch(pointer)
        return True
    for address in peers(client, pointer.node):
        with contextlib.suppress(OSError), ask_peer(address, pointer.sha256, "HEAD"):
            return True
    return False


def fetch(client: Ray, pointer: Pointer, key: Key, place: Store | None) -> bytes:
    """Return a value that another node has, and keep it here as well. Raises StoreError if no node has it."""
    asked = peers(client, pointer.node)
    for address in asked:
        try:
            with ask_peer(address, pointer.sha256) as answer:
                value = bytes(answer.read())
        except (OSError, ValueError):
            continue
        if hashlib.sha256(value).hexdigest() == pointer.sha256:
            if place:
                with contextlib.suppress(OSError):  # on a full disk it is used but not kept
                    place.put(value, key)
            return value
    raise StoreError(
        errno.ENOENT,
        f"{key.text} ({size_text(pointer.size)}, taken in by {pointer.node or 'a node'}) is in the package store of "
        f"none of the {len(asked)} nodes that are alive: it was removed there, or its host is away. Submit the job "
        "again, which uploads it again",
    )


# ------------------------------------------------------------------------------------------- the Jobs API


def answer_when_full(job_head: ModuleType) -> None:
    """Make the Jobs API answer 507 with one sentence if nothing can be kept, and refuse huge requests."""
    response = job_head.Response
    upload, submit = job_head.JobHead.upload_package, job_head.JobHead.submit_job

    @functools.wraps(upload)
    async def upload_package(self: Ray, request: Ray) -> Ray:
        if reason := refusal():
            return response(status=507, text=reason)
        answer = await upload(self, request)
        full = FULL_SENTENCE.search(answer.text or "") if answer.status == 500 else None
        return response(status=507, text=full.group(1)) if full else answer

    @functools.wraps(submit)
    async def submit_job(self: Ray, request: Ray) -> Ray:
        if reason := refusal():
            return response(status=507, text=reason)
        if (size := len(await request.read())) > LARGEST_SUBMISSION:
            return response(
                status=413,
                text=f"The request is {size_text(size)}, and {size_text(LARGEST_SUBMISSION)} is the "
                "most that is kept of a job: put large environment variables or metadata into files of the working_dir",
            )
        return await submit(self, request)

    job_head.JobHead.upload_package, job_head.JobHead.submit_job = upload_package, submit_job


def refusal() -> str | None:
    """Return why nothing can be submitted; None: it can."""
    place = store()
    return (place.refusal() or StateStore.of(place).refusal()) if place else None


# ------------------------------------------------------------------------------------------- the agent of a node


def serve_packages(http_server_agent: ModuleType) -> None:
    """Make the agent serve this host's store to other nodes, behind Ray's token, and run the housekeeping."""
    web = http_server_agent.aiohttp.web
    routes = http_server_agent.dashboard_optional_utils.DashboardAgentRouteTable
    start = http_server_agent.HttpServerAgent.start

    class Packages:
        """The route, for HEAD as well."""

        @routes.get(ROUTE + "{sha256}")  # type: ignore[untyped-decorator]
        async def package(self, request: Ray) -> Ray:
            name, place = request.match_info["sha256"], store()
            path = place.path(name) if place and is_name(name) else None
            return web.FileResponse(path) if path and path.is_file() else web.Response(status=404)

    @functools.wraps(start)
    async def start_with_packages(self: Ray, modules: list[Ray]) -> Ray:
        routes.bind(Packages())
        agent, place = modules[0]._dashboard_agent, store()
        if place:
            Housekeeping(place, agent.gcs_client, bool(agent.is_head)).start()
        return await start(self, modules)

    http_server_agent.HttpServerAgent.start = start_with_packages


class Housekeeping:
    """Removes unused packages and measures Redis. Runs in each agent; one of them does the work of a host."""

    def __init__(self, place: Store, client: Ray, is_head: bool) -> None:
        self._place = place
        self._client = client
        self._is_head = is_head
        self._state = StateStore.of(place)
        self._seen: dict[bytes, float] = {}
        self._turns = 0

    def start(self) -> None:
        """Begin, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="package-store", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 (a head that moves, a disk that is full: the next turn may do)
                print(f"[package-store] {error!r}", file=sys.stderr, flush=True)
            time.sleep(HOUSE_SECONDS)

    def turn(self) -> None:
        """Do one round."""
        memory = redis_memory(os.environ)
        if memory:
            with contextlib.suppress(OSError):
                self._state.write(*memory)
        if self._is_head and self._turns % TURNS_TO_TIDY_UP == 0:
            self.remove_orphans(time.time())
            self.forget_jobs()
        self._turns += 1
        with (self._place.folder / ".collecting").open("w") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._place.collect(functools.partial(pointed, self._client))

    def remove_orphans(self, now: float) -> None:
        """Delete packages that no job or actor of this cluster names and that were not used for a long time."""
        keys = self._client.plain("internal_kv_keys")(PACKAGE, None, PEER_SECONDS)
        self._seen = {key: self._seen.get(key, now) for key in keys}
        used = {key.key: entry.used for entry in self._place.entries() for key in entry.keys}
        idle = [key for key in keys if now - max(self._seen[key], used.get(key, 0.0)) > ORPHAN_SECONDS]
        if idle:
            live = uris_in_use(self._client)
            for key in idle:
                if key.decode(errors="replace") not in live:
                    self._client.plain("internal_kv_del")(key, False, None, PEER_SECONDS)

    def forget_jobs(self) -> None:
        """Delete the oldest records of ended jobs beyond ENDED_JOBS_KEPT."""
        keys = self._client.plain("internal_kv_keys")(JOB_INFO, b"job", PEER_SECONDS)
        for key in ended_jobs(self._client, keys)[:-ENDED_JOBS_KEPT] if len(keys) > ENDED_JOBS_KEPT * 1.1 else []:
            self._client.plain("internal_kv_del")(key, False, b"job", PEER_SECONDS)


def ended_jobs(client: Ray, keys: list[bytes]) -> list[bytes]:
    """Return the keys of ended jobs, the earliest first."""
    ended = []
    for key, value in client.plain("internal_kv_multi_get")(keys, b"job", PEER_SECONDS).items():
        with contextlib.suppress(ValueError, LookupError, TypeError):
            job = json.loads(value)
            if job["status"] in ("SUCCEEDED", "FAILED", "STOPPED"):
                ended.append((job.get("end_time") or 0, key))
    return [key for _, key in sorted(ended)]


def pointed(client: Ray, keys: Iterable[Key]) -> dict[Key, str]:
    """Return the sha256 of each key of Ray's store that holds a pointer."""
    found: dict[Key, str] = {}
    spaces: dict[bytes, list[bytes]] = {}
    for key in keys:
        spaces.setdefault(key.namespace, []).append(key.key)
    for namespace, wanted in spaces.items():
        values = client.plain("internal_kv_multi_get")(wanted, namespace or None, PEER_SECONDS)
        for key, value in values.items():
            if pointer := Pointer.decode(value):
                found[Key(key, namespace)] = pointer.sha256
    return found


def uris_in_use(client: Ray) -> set[str]:
    """Return the packages that living jobs and actors name in their runtime environments."""
    texts = []
    for job in client.get_all_job_info(
        skip_submission_job_info_field=True, skip_is_running_tasks_field=True, timeout=PEER_SECONDS
    ).values():
        if not job.is_dead:
            texts.append(job.config.runtime_env_info.serialized_runtime_env)
    keys = client.plain("internal_kv_keys")(JOB_INFO, b"job", PEER_SECONDS)
    for value in client.plain("internal_kv_multi_get")(keys, b"job", PEER_SECONDS).values() if keys else ():
        if re.search(rb'"status": "(PENDING|RUNNING)"', value):
            texts.append(value.decode(errors="replace"))
    texts += [actor.serialized_runtime_env for actor in in_own_loop(_actors, client)]
    return {uri for text in texts for uri in URI.findall(text)}


async def _actors(client: Ray) -> list[Any]:
    found: list[Any] = []
    for state in ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING"):
        found += (await client.async_get_all_actor_info(actor_state_name=state, timeout=PEER_SECONDS)).values()
    return found


def in_own_loop(question: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> Ray:
    """Run an asynchronous call of Ray's client in an event loop of its own, and return the answer."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(question(*arguments))).result()


def make_room(client: Ray, place: Store, size: int) -> None:
    """Remove packages that no job uses, the least recently used first, until this many bytes fit."""
    live = uris_in_use(client)
    for entry in place.entries():
        if place.used() + size <= place.limit or time.time() - entry.used < JUST_UPLOADED_SECONDS:
            return
        if all(key.key.startswith(PACKAGE) and key.key.decode() not in live for key in entry.keys):
            for key in entry.keys:
                client.plain("internal_kv_del")(key.key, False, None, PEER_SECONDS)
            place.discard(entry.sha256)
