"""The queue's HTTP interface and page, by real HTTP over a queue in memory."""

import asyncio
import hashlib
import io
import os
import time
import zipfile
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from contracts.queue import API, LARGEST_HEADER, USER_HEADER
from entrypoints.queue.failures import RefusedError
from entrypoints.queue.packages import STALE, Packages
from testing.queue_memory import LARGEST, running

TOKEN = "group-secret-5521"
JOB = {"entrypoint": "python train.py", "gpus": 2}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    with running(tmp_path_factory.mktemp("queue"), TOKEN) as found:
        yield found


@pytest.fixture
def service(started):
    """One for all tests, as new for each."""
    started.queue.forget()
    for path in started.packages.iterdir():
        path.unlink()
    return started


@pytest.fixture
def unseen(tmp_path):
    """One whose page nobody has looked at: what a look found is kept for some seconds."""
    with running(tmp_path, TOKEN) as found:
        yield found


@pytest.fixture
def http(service):
    headers = {"Authorization": f"Bearer {TOKEN}", USER_HEADER: "ana"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False) as client:
        yield client


def zipped(**files: str) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return hashlib.sha256(buffer.getvalue()).hexdigest(), buffer.getvalue()


def code(answer: httpx.Response) -> str:
    """Of a refusal, which always has a message and a remedy."""
    error = answer.json()["error"]
    assert error["message"]
    assert error["remedy"]
    return str(error["code"])


class TestToken:
    @pytest.mark.parametrize("path", ["/jobs", "/jobs/x", "/jobs/x/logs", "/queue", "/usage", "/packages/x.zip"])
    @pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}])
    def test_nothing_is_told_without_it(self, service, path, header):
        answer = httpx.get(f"{service.url}{API}{path}", headers=header, trust_env=False)
        # A method that the path does not have is refused before anybody is asked who they are.
        assert answer.status_code == 401 or (answer.status_code, path) == (405, "/packages/x.zip")
        assert TOKEN not in answer.text

    def test_changes_need_a_user_too(self, http):
        assert code(http.post(f"{API}/jobs", json=JOB, headers={USER_HEADER: ""})) == "no_user"
        assert code(http.post(f"{API}/jobs", json=JOB, headers={USER_HEADER: "a b"})) == "no_user"
        assert http.get(f"{API}/jobs").json() == []

    def test_a_user_changes_no_job_of_another(self, http):
        job = http.post(f"{API}/jobs", json=JOB).json()["id"]
        for what in ("cancel", "retry"):
            answer = http.post(f"{API}/jobs/{job}/{what}", headers={USER_HEADER: "bob"})
            assert (answer.status_code, code(answer)) == (403, "not_yours")
        assert http.get(f"{API}/jobs/{job}").json()["state"] != "ended"


class TestSubmission:
    def test_sent_twice_with_an_id_it_is_one_job(self, http):
        first, second = (http.post(f"{API}/jobs", json={**JOB, "id": "mine"}) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 200)
        assert len(http.get(f"{API}/jobs").json()) == 1

    def test_an_id_is_not_taken_over(self, http):
        http.post(f"{API}/jobs", json={**JOB, "id": "mine"})
        assert code(http.post(f"{API}/jobs", json={**JOB, "id": "mine", "gpus": 1})) == "id_taken"
        answer = http.post(f"{API}/jobs", json={**JOB, "id": "mine"}, headers={USER_HEADER: "bob"})
        assert code(answer) == "id_taken"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"entrypoint": ""}, {"entrypoint": " "}, {"entrypoint": "a\0b"}, {"entrypoint": "x" * 40_000}, {"id": "UP"},
            {"id": "../x"}, {"name": "a\nb"}, {"gpus": -1}, {"gpus": 1.5}, {"gpus": 0.00001}, {"cpus": 1e9},
            {"memory": -1}, {"memory": 2**60}, {"resources": {"GPU": 1}}, {"resources": {"a b": 1}}, {"count": 0},
            {"count": 10**6}, {"priority": "urgent"}, {"time_limit": 0}, {"gpus": 0, "cpus": 0},
            {"environment": {"A=B": "x"}}, {"environment": {"CSLR_QUEUE_JOB": "1"}}, {"packages": ["--index-url x"]},
            {"packages": ["a\nb"]}, {"package": "x"}, {"surprise": 1},
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_in_one_sentence(self, http, wrong):
        answer = http.post(f"{API}/jobs", json={**JOB, **wrong})
        assert (answer.status_code, code(answer)) == (422, "invalid")
        assert http.get(f"{API}/jobs").json() == []

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"entrypoint": NaN}', b"[" * 100_000])
    def test_what_is_no_job_is_refused(self, http, body):
        answer = http.post(f"{API}/jobs", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        assert code(answer) in ("failed", "invalid")

    def test_a_body_that_would_fill_the_memory_is_refused_before_it_is_read(self, http):
        assert code(http.post(f"{API}/jobs", content=b" " * (2**20 + 1))) == "too_large"
        assert code(http.post(f"{API}/jobs", content=iter([b"{}"]))) == "no_length"

    def test_values_of_the_environment_are_told_to_nobody(self, http, service):
        job = http.post(f"{API}/jobs", json={**JOB, "environment": {"WANDB_API_KEY": "secret-8812"}})
        paths = (f"{API}/jobs", f"{API}/jobs/{job.json()['id']}", f"{API}/queue", "/")
        for answer in (job, *(http.get(path) for path in paths)):
            assert answer.status_code in (200, 201)
            assert "secret-8812" not in answer.text
        assert "WANDB_API_KEY" in job.text


class TestPackage:
    def test_is_kept_whole_and_once_and_then_jobs_may_name_it(self, http, service):
        name, content = zipped(**{"train.py": "print(1)"})
        wanted = {**JOB, "package": name}
        assert code(http.post(f"{API}/jobs", json=wanted)) == "no_package"
        asked = http.head(f"{API}/packages/{name}.zip")
        assert (asked.status_code, asked.headers[LARGEST_HEADER]) == (404, str(LARGEST))
        for _ in range(2):
            assert http.put(f"{API}/packages/{name}.zip", content=content).status_code == 204
        assert http.head(f"{API}/packages/{name}.zip").status_code == 204
        assert http.post(f"{API}/jobs", json=wanted).status_code == 201
        assert [path.name for path in service.packages.iterdir()] == [f"{name}.zip"]

    def test_another_content_or_no_zip_is_not_kept(self, http, service):
        name, content = zipped(a="1")
        assert code(http.put(f"{API}/packages/{name}.zip", content=content + b"x")) == "other_content"
        plain = hashlib.sha256(b"plain").hexdigest()
        assert code(http.put(f"{API}/packages/{plain}.zip", content=b"plain")) == "no_zip"
        assert list(service.packages.iterdir()) == []

    @pytest.mark.parametrize("name", ["x", "..%2Fx", "A" * 64, "0" * 63])
    def test_a_name_is_a_sum(self, http, name):
        assert http.put(f"{API}/packages/{name}.zip", content=b"x").status_code in (404, 422)

    def test_too_large_a_one_is_refused_whether_its_length_is_told_or_not(self, http, service):
        content = b"x" * (LARGEST + 1)
        name = hashlib.sha256(content).hexdigest()
        assert code(http.put(f"{API}/packages/{name}.zip", content=iter([content]))) == "package_too_large"
        assert code(http.put(f"{API}/packages/{name}.zip", content=content)) == "package_too_large"
        assert list(service.packages.iterdir()) == []

    def test_an_upload_that_breaks_off_leaves_nothing(self, http, service):
        def parts() -> Iterator[bytes]:
            yield b"x" * 1000
            raise InterruptedError

        with pytest.raises(InterruptedError):
            http.put(f"{API}/packages/{'0' * 64}.zip", content=parts())
        until = time.monotonic() + 20
        while list(service.packages.iterdir()) and time.monotonic() < until:
            time.sleep(0.05)
        assert list(service.packages.iterdir()) == []
        assert http.get("/ping").status_code == 200

    def test_unused_ones_go_after_a_while(self, tmp_path):
        packages = Packages(tmp_path, LARGEST)
        old = time.time() - STALE - 10
        for name in ("used.zip", "unused.zip", "new.zip", "left.part"):
            (tmp_path / name).write_text("")
            if name != "new.zip":
                os.utime(tmp_path / name, (old, old))
        packages.remove_unused({"used"}, STALE)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["new.zip", "used.zip"]

    def test_all_together_take_only_so_much_room(self, tmp_path):
        """Those of ended jobs make room first, the one that was longest not asked for before the others."""
        packages = Packages(tmp_path, LARGEST, most=100)
        sizes = {"used": (30, 9), "old": (30, 8), "older": (30, 9), "new": (10, 0)}  # bytes, hours
        for name, (size, hours) in sizes.items():
            (tmp_path / f"{name}.zip").write_bytes(b"x" * size)
            asked = time.time() - 3600.0 * hours
            os.utime(tmp_path / f"{name}.zip", (asked, asked))
        assert packages.has_room(0)
        assert not packages.has_room(1)
        packages.make_room(25, {"used"})
        assert sorted(path.stem for path in tmp_path.iterdir()) == ["new", "old", "used"]
        packages.make_room(90, {"used"})
        assert sorted(path.stem for path in tmp_path.iterdir()) == ["new", "used"], "its job comes next"

    def test_one_for_which_there_is_no_room_is_refused(self, tmp_path):
        packages = Packages(tmp_path, LARGEST, most=200)
        (tmp_path / "used.zip").write_bytes(b"x" * 150)
        name, content = zipped(a="1")

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        with pytest.raises(RefusedError) as refused:
            asyncio.run(packages.keep(name, chunks()))
        assert (refused.value.status, refused.value.code) == (507, "packages_full")
        assert "queue.packages_size" in refused.value.remedy
        assert [path.name for path in tmp_path.iterdir()] == ["used.zip"]


class TestDatabaseAway:
    def test_requests_are_refused_and_the_process_stays_well(self, http, service):
        service.queue.away = True
        answer = http.get(f"{API}/queue")
        assert (answer.status_code, code(answer), answer.headers["retry-after"]) == (503, "unavailable", "10")
        health = http.get("/health")
        assert health.status_code == 503
        assert "does not answer" in health.json()["problem"]
        assert http.get("/ping").status_code == 200
        service.queue.away = False
        assert http.get("/health").json() == {"problem": None}

    def test_the_page_says_so(self, unseen):
        unseen.queue.away = True
        assert "does not answer" in httpx.get(f"{unseen.url}/", trust_env=False).text


class TestPage:
    def test_shows_jobs_reasons_nodes_shares_and_usage_without_a_token(self, http, unseen):
        http.post(f"{unseen.url}{API}/jobs", json={**JOB, "entrypoint": "waits", "name": "my <b> run"})
        page = httpx.get(f"{unseen.url}/", trust_env=False)
        for text in ("my &lt;b&gt; run", "2 jobs go before it", "gpu1", "2 + 1 of 4", "75 %", "60.0", "<svg"):
            assert text in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]

    def test_its_stream_brings_the_sections(self, http, service):
        with httpx.stream("GET", f"{service.url}/events", trust_env=False) as stream:
            line = next(stream.iter_lines())
        assert line.startswith("data: ")
        assert '<h2 id=\\"waiting\\">' in line

    def test_its_script_is_that_of_the_home_page(self, http):
        assert "EventSource" in http.get("/assets/page.js").text


class TestOpenApi:
    def test_describes_every_address_for_programs(self, http):
        found = http.get("/openapi.json").json()
        assert {path.removeprefix(API) for path in found["paths"]} == {
            "/ping", "/health", "/packages/{sha256}.zip", "/jobs", "/jobs/{name}", "/jobs/{name}/logs",
            "/jobs/{name}/cancel", "/jobs/{name}/retry", "/queue", "/usage",
        }  # fmt: skip
        assert found["components"]["schemas"]["JobView"]["properties"]["why"]

    def test_unknown_addresses_and_spans_are_refused_in_the_same_form(self, http):
        assert code(http.get(f"{API}/nope")) == "no_route"
        assert code(http.get(f"{API}/usage?since=5&until=4")) == "no_span"
        assert code(http.get(f"{API}/usage?by=dog")) == "invalid"
        assert code(http.get(f"{API}/jobs?limit=0")) == "invalid"
        assert code(http.get(f"{API}/jobs/nope")) == "no_such_job"
