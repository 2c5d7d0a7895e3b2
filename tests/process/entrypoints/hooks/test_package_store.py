"""The package store: real files, a GCS that is a dictionary, and another node that is an HTTP server."""

import asyncio
import fcntl
import hashlib
import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from entrypoints.hooks import package_hooks, package_store
from entrypoints.hooks.package_hooks import INLINE_BYTES, Housekeeping, StateStore
from entrypoints.hooks.package_store import GRACE_SECONDS, MAGIC, Key, Pointer, Store, StoreError, StoreFullError

MEGABYTE = 2**20
URI = b"gcs://_ray_pkg_0123456789abcdef.zip"
KEY = Key(URI)
LARGE = os.urandom(MEGABYTE)


def write_use(scratch: Path, **fields: object) -> None:
    (scratch / "use").mkdir(exist_ok=True)
    use = {"service": "ray-cpu", "used": 40, "limit": 40, "time": time.time(), "full": False} | fields
    (scratch / "use" / "ray-cpu.json").write_text(json.dumps(use))


@pytest.fixture
def place(tmp_path: Path) -> Store:
    found = Store.here({"CSLR_SCRATCH": str(tmp_path), "RAY_NODE_SERVICE": "ray-cpu"})
    assert found
    return found


def age(place: Store, seconds: float) -> None:
    """Lets time pass for all that is in the store."""
    for folder in (*place.folder.iterdir(), *(place.folder / "incoming").iterdir()):
        os.utime(folder, (time.time() - seconds,) * 2)


class TestPointer:
    def test_it_comes_back_from_redis_as_it_went(self):
        pointer = Pointer("a" * 64, 95 * MEGABYTE, "ray-cpu", 1.5)
        assert Pointer.decode(pointer.encode()) == pointer
        assert len(pointer.encode()) < 250

    @pytest.mark.parametrize(
        "value",
        [None, b"", b"PK\x03\x04", b"{}", MAGIC, MAGIC + b'"sha256": "../../etc/passwd", "size": 1}', MAGIC + b"}"],
    )
    def test_any_other_value_is_none(self, value):
        assert Pointer.decode(value) is None


class TestStore:
    def test_what_was_put_is_got(self, place):
        pointer = place.put(LARGE, KEY)
        assert place.read(pointer, KEY) == LARGE
        assert [entry.keys for entry in place.entries()] == [(KEY,)]

    def test_the_same_content_is_there_once(self, place):
        for name in (b"gcs://one.whl", b"gcs://two.whl"):
            place.put(LARGE, Key(name))
        (entry,) = place.entries()
        assert sorted(key.key for key in entry.keys) == [b"gcs://one.whl", b"gcs://two.whl"]
        assert place.used() == MEGABYTE

    def test_many_at_once_make_one(self, place):
        threads = [threading.Thread(target=place.put, args=(LARGE, KEY)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert place.used() == MEGABYTE
        assert not list((place.folder / "incoming").iterdir())

    def test_an_interrupted_one_leaves_nothing(self, place):
        def begin() -> None:
            with place.writing() as file:
                file.write(LARGE)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            begin()
        assert not place.entries()
        assert not list((place.folder / "incoming").iterdir())

    def test_what_came_incomplete_is_refused(self, place):
        whole = Pointer(hashlib.sha256(LARGE).hexdigest(), MEGABYTE)
        with place.writing() as file:
            file.write(LARGE[:-1])
            with pytest.raises(StoreError, match="is not what it was"):
                file.commit(whole, KEY)
        assert not place.entries()

    def test_a_damaged_file_is_no_value_and_is_removed(self, place):
        pointer = place.put(LARGE, KEY)
        place.path(pointer.sha256).write_bytes(b"\0" * MEGABYTE)
        assert place.read(pointer, KEY) is None
        assert not place.entries()

    def test_a_name_from_the_network_leads_nowhere_else(self, place):
        with pytest.raises(StoreError):
            place.path("../" * 20 + "etc/passwd")

    def test_a_container_without_scratch_has_none(self, tmp_path):
        (tmp_path / "file").touch()
        assert Store.here({"CSLR_SCRATCH": str(tmp_path / "file")}) is None


class TestRoom:
    def test_a_full_scratch_is_said_by_name(self, place, tmp_path):
        write_use(tmp_path, full=True, message="ray-cpu: scratch full: 40 of 40 GB")
        with pytest.raises(StoreFullError) as error:
            place.put(LARGE, KEY)
        assert str(error.value) == "ray-cpu: scratch full: 40 of 40 GB"

    def test_an_old_measurement_is_forgotten(self, place, tmp_path):
        write_use(tmp_path, full=True, time=time.time() - 3600)
        assert place.refusal() is None

    def test_its_bound_is_a_share_of_the_scratch(self, place, tmp_path):
        assert place.limit == package_store.DEFAULT_LIMIT
        found = Store.here({"CSLR_SCRATCH": str(tmp_path), "RAY_NODE_SCRATCH_LIMIT": str(40 * 2**30)})
        assert found
        assert found.limit == 10 * 2**30

    def test_beyond_its_bound_nothing_is_kept(self, tmp_path):
        (tmp_path / "packages" / "incoming").mkdir(parents=True)
        place = Store(tmp_path, service="ray-cpu", limit=3 * MEGABYTE)
        for number in range(3):
            place.put(bytes([number]) * MEGABYTE, Key(b"gcs://%d.zip" % number))
        with pytest.raises(StoreFullError, match=r"ray-cpu: package store full: 3.0 MB of 3.0 MB"):
            place.put(LARGE, KEY)
        asked: list[int] = []

        def make_room(size: int) -> None:
            asked.append(size)
            place.discard(place.entries()[0].sha256)

        place.put(LARGE, KEY, make_room)
        assert asked == [MEGABYTE]
        assert place.used() == 3 * MEGABYTE

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_disk_that_ends_is_said_by_name(self, place):
        with place.writing() as file:
            file._file.close()
            file._file = open("/dev/full", "wb", buffering=0)  # noqa: PTH123, SIM115
            with pytest.raises(StoreFullError, match="ray-cpu: scratch full: "):
                file.write(LARGE)


class TestCollection:
    def test_what_no_key_points_to_goes(self, place):
        kept, gone = place.put(LARGE, KEY), place.put(b"x" * MEGABYTE, Key(b"gcs://gone.zip"))
        age(place, GRACE_SECONDS + 1)
        assert place.collect(lambda keys: {KEY: kept.sha256}) == MEGABYTE
        assert place.has(kept)
        assert not place.has(gone)
        assert not list((place.folder / "incoming").iterdir())

    def test_what_its_key_no_longer_means_goes(self, place):
        wheel = Key(b"gcs://ours-1.0-py3-none-any.whl")
        place.put(b"old" * MEGABYTE, wheel)
        new = place.put(LARGE, wheel)
        age(place, GRACE_SECONDS + 1)
        place.collect(lambda keys: {wheel: new.sha256})
        assert [entry.sha256 for entry in place.entries()] == [new.sha256]

    def test_an_upload_in_progress_stays(self, place):
        place.put(LARGE, KEY)
        assert place.collect(lambda keys: {}) == 0
        assert place.entries()

    def test_what_is_used_meanwhile_stays(self, place):
        pointer = place.put(LARGE, KEY)
        age(place, GRACE_SECONDS + 1)

        def pointed(keys: object) -> dict[Key, str]:
            place.touch(pointer)
            return {}

        assert place.collect(pointed) == 0
        assert place.has(pointer)

    def test_a_file_that_nobody_finished_goes_in_the_end(self, place):
        (place.folder / "incoming" / "half").write_bytes(LARGE)
        age(place, 60)
        assert place.collect(lambda keys: {}) == 0
        age(place, package_store.INCOMPLETE_SECONDS + 1)
        assert place.collect(lambda keys: {}) == MEGABYTE

    def test_without_the_gcs_nothing_goes(self, place):
        def pointed(keys: object) -> dict[Key, str]:
            raise ConnectionError

        place.put(LARGE, KEY)
        age(place, GRACE_SECONDS + 1)
        with pytest.raises(ConnectionError):
            place.collect(pointed)
        assert place.entries()


# --- Ray's client of the GCS -----------------------------------------------------------------------------------------


@dataclass
class Gcs:
    """What all clients share: the key-value store, the nodes, the jobs, the actors."""

    values: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    nodes: list[SimpleNamespace] = field(default_factory=list)
    jobs: list[SimpleNamespace] = field(default_factory=list)
    actors: list[SimpleNamespace] = field(default_factory=list)


class Inner:
    """Ray's InnerGcsClient, as far as it is used."""

    def __init__(self, gcs: Gcs) -> None:
        self._gcs = gcs

    def internal_kv_put(self, key, value, overwrite=False, namespace=None, timeout=None) -> Any:
        new = (namespace or b"", key) not in self._gcs.values
        if new or overwrite:
            self._gcs.values[namespace or b"", key] = value
        return int(new)

    def internal_kv_get(self, key, namespace=None, timeout=None) -> Any:
        return self._gcs.values.get((namespace or b"", key))

    def internal_kv_multi_get(self, keys, namespace=None, timeout=None) -> Any:
        return {key: value for key in keys if (value := self.internal_kv_get(key, namespace)) is not None}

    def internal_kv_exists(self, key, namespace=None, timeout=None) -> Any:
        return (namespace or b"", key) in self._gcs.values

    def internal_kv_del(self, key, by_prefix, namespace=None, timeout=None) -> Any:
        return int(self._gcs.values.pop((namespace or b"", key), None) is not None)

    def internal_kv_keys(self, prefix, namespace=None, timeout=None) -> Any:
        return [key for space, key in self._gcs.values if space == (namespace or b"") and key.startswith(prefix)]

    def get_all_node_info(self, timeout=None):
        return dict(enumerate(self._gcs.nodes))

    def get_all_job_info(self, **_):
        return dict(enumerate(self._gcs.jobs))

    async def async_get_all_actor_info(self, actor_state_name=None, timeout=None):
        return {i: actor for i, actor in enumerate(self._gcs.actors) if actor.state == actor_state_name}

    async def async_internal_kv_put(self, *arguments):
        return self.internal_kv_put(*arguments)

    async def async_internal_kv_get(self, *arguments):
        return self.internal_kv_get(*arguments)

    async def async_internal_kv_multi_get(self, *arguments):
        return self.internal_kv_multi_get(*arguments)


class PlainClient:
    """Ray's GcsClient: it hands everything to the inner one."""

    def __init__(self, gcs: Gcs) -> None:
        self._inner = Inner(gcs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture
def gcs() -> Gcs:
    return Gcs()


@pytest.fixture
def client(place: Store, gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hooked client, in a container that has the store."""
    monkeypatch.setattr(package_hooks, "store", lambda: place)
    raylet: Any = ModuleType("ray._raylet")
    raylet.GcsClient = PlainClient
    package_hooks.store_values(raylet)
    return raylet.GcsClient(gcs)


class TestClient:
    def test_a_package_is_a_file_and_redis_has_a_pointer(self, client, gcs, place):
        client.internal_kv_put(URI, LARGE, True)
        assert len(gcs.values[b"", URI]) < 250
        assert client.internal_kv_get(URI) == LARGE
        assert client.internal_kv_multi_get([URI]) == {URI: LARGE}
        assert client.internal_kv_exists(URI)
        assert place.used() == MEGABYTE

    def test_the_asynchronous_ones_do_the_same(self, client, gcs):
        async def go() -> tuple[object, ...]:
            await client.async_internal_kv_put(URI, LARGE, True, None, None)
            await client.async_internal_kv_put(b"small", b"value", True, None, None)
            return await client.async_internal_kv_get(URI), await client.async_internal_kv_multi_get([URI, b"small"])

        assert asyncio.run(go()) == (LARGE, {URI: LARGE, b"small": b"value"})
        assert len(gcs.values[b"", URI]) < 250

    def test_a_large_function_is_a_file(self, client, gcs):
        client.internal_kv_put(b"RemoteFunction:1", LARGE, True, b"fun")
        assert len(gcs.values[b"fun", b"RemoteFunction:1"]) < 250
        assert client.internal_kv_get(b"RemoteFunction:1", b"fun") == LARGE

    @pytest.mark.parametrize("namespace", sorted(package_hooks.KEPT_IN_REDIS))
    def test_what_the_gcs_itself_reads_stays(self, client, gcs, namespace):
        client.internal_kv_put(b"key", LARGE, True, namespace)
        assert gcs.values[namespace, b"key"] == LARGE

    def test_small_values_stay(self, client, gcs, place):
        client.internal_kv_put(URI, LARGE[:INLINE_BYTES], True)
        assert gcs.values[b"", URI] == LARGE[:INLINE_BYTES]
        assert not place.entries()

    def test_a_package_from_before_is_got_as_it_is(self, client, gcs):
        gcs.values[b"", URI] = LARGE
        assert client.internal_kv_get(URI) == LARGE
        assert client.internal_kv_exists(URI)

    def test_without_a_scratch_disk_ray_does_what_it_did(self, client, gcs, monkeypatch):
        monkeypatch.setattr(package_hooks, "store", lambda: None)
        client.internal_kv_put(URI, LARGE, True)
        assert gcs.values[b"", URI] == LARGE

    def test_where_redis_is_scarce_hardly_anything_is_kept_there(self, client, gcs, place):
        StateStore.of(place).write(70, 100)
        client.internal_kv_put(b"key", b"x" * 2000, True, b"mine")
        assert len(gcs.values[b"mine", b"key"]) < 250

    def test_where_redis_is_full_users_are_refused(self, client, gcs, place):
        StateStore.of(place).write(85, 100)
        with pytest.raises(StoreFullError, match="redis: memory full: 85%"):
            client.internal_kv_put(b"key", LARGE, True, b"mine")
        client.internal_kv_put(b"node", b"state", True, b"cluster")
        assert list(gcs.values) == [(b"cluster", b"node")]


class TestLostFile:
    def test_a_lost_package_does_not_exist_so_that_it_is_uploaded_again(self, client, place):
        client.internal_kv_put(URI, LARGE, True)
        place.discard(place.entries()[0].sha256)
        assert not client.internal_kv_exists(URI)
        client.internal_kv_put(URI, LARGE, True)
        assert client.internal_kv_get(URI) == LARGE

    def test_who_asks_for_it_is_told_what_to_do(self, client, place):
        client.internal_kv_put(URI, LARGE, True)
        place.discard(place.entries()[0].sha256)
        with pytest.raises(StoreError, match=r"gcs://_ray_pkg.* none of the 0 nodes.* Submit the job again"):
            client.internal_kv_get(URI)


# --- several hosts ---------------------------------------------------------------------------------------------------


class Agent(http.server.BaseHTTPRequestHandler):
    """The agent of another host, whose store has LARGE, and which wants the token."""

    seen: list[str]
    body = LARGE

    def do_GET(self) -> None:
        type(self).seen.append(self.command)
        known = self.path == package_hooks.ROUTE + hashlib.sha256(LARGE).hexdigest()
        self.send_response(401 if self.headers["Authorization"] != "Bearer token" else 200 if known else 404)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def agent(gcs: Gcs, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Agent]]:
    """Another host that is alive, after one that is dead and one that refuses."""
    handler: Any = type("Handler", (Agent,), {"seen": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for state, port in ((1, 1), (0, 1), (0, server.server_address[1])):
            gcs.nodes.append(
                SimpleNamespace(
                    state=state, node_manager_address="127.0.0.1", dashboard_agent_listen_port=port, labels={}
                )
            )
        tokens = SimpleNamespace(get_auth_headers_if_auth_enabled=lambda _: {"Authorization": "Bearer token"})
        monkeypatch.setattr("importlib.import_module", lambda name: tokens)
        yield handler
        server.shutdown()


class TestOtherHosts:
    def test_what_another_host_has_is_fetched_and_kept(self, client, gcs, place, agent):
        gcs.values[b"", URI] = Pointer(hashlib.sha256(LARGE).hexdigest(), MEGABYTE).encode()
        assert client.internal_kv_exists(URI)
        assert client.internal_kv_get(URI) == LARGE
        assert client.internal_kv_get(URI) == LARGE
        assert agent.seen == ["HEAD", "GET"]
        assert place.used() == MEGABYTE

    def test_what_came_damaged_is_not_taken(self, client, gcs, place, agent):
        agent.body = b"\0" * MEGABYTE
        gcs.values[b"", URI] = Pointer(hashlib.sha256(LARGE).hexdigest(), MEGABYTE).encode()
        with pytest.raises(StoreError, match="none of the 2 nodes"):
            client.internal_kv_get(URI)
        assert not place.entries()


# --- housekeeping ----------------------------------------------------------------------------------------------------


def job(uri: str, *, dead: bool = False) -> SimpleNamespace:
    text = json.dumps({"working_dir": uri})
    info = SimpleNamespace(serialized_runtime_env=text)
    return SimpleNamespace(is_dead=dead, config=SimpleNamespace(runtime_env_info=info))


class TestHousekeeping:
    def test_what_ray_deleted_goes_from_the_disk(self, client, gcs, place):
        client.internal_kv_put(URI, LARGE, True)
        age(place, GRACE_SECONDS + 1)
        Housekeeping(place, client, is_head=True).turn()
        assert place.entries()
        del gcs.values[b"", URI]
        Housekeeping(place, client, is_head=False).turn()
        assert not place.entries()

    def test_orphans_of_a_head_that_is_gone_go(self, client, gcs, place):
        used, orphan, old = "gcs://_ray_pkg_used.zip", "gcs://_ray_pkg_orphan.zip", "gcs://_ray_pkg_old.zip"
        submitted, by_actor = "gcs://_ray_pkg_submitted.zip", "gcs://_ray_pkg_by_actor.zip"
        for number, uri in enumerate((used, orphan, submitted, by_actor)):
            client.internal_kv_put(uri.encode(), bytes([number]) * MEGABYTE, True)
        gcs.values[b"", old.encode()] = LARGE
        gcs.jobs = [job(used), job(orphan, dead=True)]
        gcs.actors = [SimpleNamespace(state="ALIVE", serialized_runtime_env=json.dumps({"py_modules": [by_actor]}))]
        record = {"status": "PENDING", "runtime_env": {"working_dir": submitted}}
        gcs.values[b"job", package_hooks.JOB_INFO + b"raysubmit_1"] = json.dumps(record).encode()
        house = Housekeeping(place, client, is_head=True)
        now = time.time()
        house.remove_orphans(now)
        assert len([key for space, key in gcs.values if not space]) == 5
        house.remove_orphans(now + package_hooks.ORPHAN_SECONDS + 1)
        left = {key.decode() for space, key in gcs.values if not space}
        assert left == {used, submitted, by_actor}

    def test_one_process_of_a_host_collects(self, client, gcs, place):
        client.internal_kv_put(URI, LARGE, True)
        del gcs.values[b"", URI]
        age(place, GRACE_SECONDS + 1)
        with (place.folder / ".collecting").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            Housekeeping(place, client, is_head=False).turn()
            assert place.entries()

    def test_the_oldest_records_of_jobs_go(self, client, gcs, place, monkeypatch):
        monkeypatch.setattr(package_hooks, "ENDED_JOBS_KEPT", 10)
        for number in range(30):
            status = "RUNNING" if number == 0 else "SUCCEEDED"
            record = json.dumps({"status": status, "end_time": number})
            gcs.values[b"job", package_hooks.JOB_INFO + b"%d" % number] = record.encode()
        Housekeeping(place, client, is_head=True).forget_jobs()
        left = sorted(int(key.removeprefix(package_hooks.JOB_INFO)) for _, key in gcs.values)
        assert left == [0, *range(20, 30)]

    def test_a_full_store_gives_up_what_is_of_no_job(self, client, gcs, tmp_path, monkeypatch):
        place = Store(tmp_path, service="ray-cpu", limit=3 * MEGABYTE)
        monkeypatch.setattr(package_hooks, "store", lambda: place)
        for number in range(3):
            client.internal_kv_put(b"gcs://%d.zip" % number, bytes([number]) * MEGABYTE, True)
        gcs.jobs = [job("gcs://0.zip")]
        with pytest.raises(StoreFullError):  # all were uploaded a moment ago
            client.internal_kv_put(URI, LARGE, True)
        age(place, package_hooks.JUST_UPLOADED_SECONDS + 1)
        client.internal_kv_put(URI, LARGE, True)
        assert client.internal_kv_exists(b"gcs://0.zip")
        assert place.used() == 3 * MEGABYTE
        assert len(gcs.values) == 3


class TestRedisMemory:
    def test_it_is_asked_with_the_password(self, tmp_path):
        import socket

        password, server = tmp_path / "password", socket.create_server(("127.0.0.1", 0))
        password.write_text("secret\n")
        asked: list[bytes] = []

        def serve() -> None:
            link, _ = server.accept()
            with link:
                asked.append(link.recv(4096))
                link.sendall(b"+OK\r\n")
                asked.append(link.recv(4096))
                text = b"# Memory\r\nused_memory:100\r\nmaxmemory:400\r\n"
                link.sendall(b"$%d\r\n%s\r\n" % (len(text), text))

        thread = threading.Thread(target=serve)
        thread.start()
        environment = {
            "RAY_NODE_REDIS_ADDRESSES": f"127.0.0.1:1,127.0.0.1:{server.getsockname()[1]}",
            "RAY_NODE_REDIS_READER": "cslr-reader",
            "RAY_NODE_REDIS_READER_FILE": str(password),
        }
        assert package_hooks.redis_memory(environment) == (100, 400)
        thread.join()
        assert b"secret" in asked[0]
        server.close()

    def test_nobody_there_is_nothing_known(self, tmp_path):
        assert package_hooks.redis_memory({"RAY_NODE_REDIS_ADDRESSES": "127.0.0.1:1"}) is None


# --- the Jobs API ----------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int = 200
    text: str = ""


class TestJobsApi:
    @pytest.fixture
    def job_head(self, place: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(package_hooks, "store", lambda: place)

        class JobHead:
            async def upload_package(self, request: Any) -> Any:
                return request.answer

            async def submit_job(self, request: Any) -> Answer:
                return Answer(200, "submitted")

        module: Any = ModuleType("job_head")
        module.JobHead, module.Response = JobHead, Answer
        JobHead.upload_package.__route_path__ = "/api/packages"  # type: ignore[attr-defined]
        package_hooks.answer_when_full(module)
        return module.JobHead

    def request(self, size: int = 100, **fields: Any) -> SimpleNamespace:
        async def read() -> bytes:
            return bytes(size)

        return SimpleNamespace(read=read, **fields)

    def test_a_full_scratch_is_the_answer(self, job_head, tmp_path):
        write_use(tmp_path, full=True, message="ray-cpu: scratch full: 40 of 40 GB")
        for handler in (job_head().submit_job, job_head().upload_package):
            answer = asyncio.run(handler(self.request(answer=Answer())))
            assert (answer.status, answer.text) == (507, "ray-cpu: scratch full: 40 of 40 GB")

    def test_a_disk_that_ends_meanwhile_is_the_answer_too(self, job_head):
        trace = (
            "Traceback (most recent call last):\n  File ...\n"
            "cslr_hooks.package_store.StoreFullError: ray-cpu: scratch full: 40 of 40 GB\n\n"
            "The above exception was the direct cause of the following exception:\n\nRuntimeError: Failed ...\n"
        )
        answer = asyncio.run(job_head().upload_package(self.request(answer=Answer(500, trace))))
        assert (answer.status, answer.text) == (507, "ray-cpu: scratch full: 40 of 40 GB")

    def test_other_errors_stay_as_they_are(self, job_head):
        answer = asyncio.run(job_head().upload_package(self.request(answer=Answer(500, "ValueError: bad"))))
        assert (answer.status, answer.text) == (500, "ValueError: bad")

    def test_the_route_is_kept(self, job_head):
        assert job_head.upload_package.__route_path__ == "/api/packages"

    def test_a_huge_request_is_refused(self, job_head):
        answer = asyncio.run(job_head().submit_job(self.request(MEGABYTE)))
        assert answer.status == 413
        assert asyncio.run(job_head().submit_job(self.request())).status == 200
