"""The transcription service and its page, deployed together and used as people do: by the page's own address.

The service hears with the model of its image, and records its jobs in a real MLflow.
"""

import json
import math
import re
import wave
import xml.etree.ElementTree as ET
import zipfile
from array import array
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from playwright.sync_api import expect, sync_playwright

from testing.harness import merged
from testing.live.deployment import LiveStack, deployed, wait_until
from testing.live.reverse_proxy import ReverseProxy, Route, running

pytestmark = pytest.mark.live

SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-live-transcription", "subnet": "10.236.0.0/24"},
    "ray": {"cpu": {"enabled": False}},
    "marimo": {"enabled": False},
    "redis": {"port": 18381},
    "postgres": {"port": None},
    "mlflow": {"port": 18500, "logins": True},
    "health": {"port": 18888},
    "transcription": {"enabled": True, "port": 18090},
    "transcription_frontend": {"enabled": True, "port": 18091},
}
PROXY = 18443
PAGE = f"http://127.0.0.1:{SETTINGS['transcription_frontend']['port']}"
SERVICE = f"http://127.0.0.1:{SETTINGS['transcription']['port']}"
MLFLOW = f"http://127.0.0.1:{SETTINGS['mlflow']['port']}"
ENGLISH, GERMAN = "examples/english.wav", "examples/german.wav"  # what espeak-ng says in the image
WORDS = ("tomorrow", "sunny", "warm", "south")
SENTENCE = "Tomorrow will be sunny and warm in the south."
LATE = f"WEBVTT\n\n00:10.000 --> 00:13.000\n{SENTENCE}\n"  # the right text at the wrong time
SECONDS = 120.0  # for one answer: the model's first sentence on a busy host
LONG = (20, 21, 22)  # how often the files of the long job say the sentence
RATE = 16000  # samples a second
ENDED = ("done", "failed", "cancelled")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media") / "dataset"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def stack(docker_engine, dataset, tmp_path_factory) -> Iterator[LiveStack]:
    settings = merged(SETTINGS, {"transcription": {"dataset": str(dataset)}})
    with deployed("live-transcription", settings, tmp_path_factory.mktemp("transcription")) as stack:
        yield stack


@pytest.fixture(scope="module")
def token(stack) -> str:
    return str(stack.secrets()["transcription-token"]).strip()


@pytest.fixture
def api(token) -> Iterator[httpx.Client]:
    """The service by the address of its page."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=PAGE, headers=headers, timeout=SECONDS) as client:
        yield client


@pytest.fixture
def client(token) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{PAGE}/v1", api_key=token, max_retries=0, timeout=SECONDS)


@pytest.fixture(scope="module")
def english(stack, token) -> bytes:
    """The spoken sentence, as a WAV file."""
    return example(token, ENGLISH)


def example(token: str, path: str) -> bytes:
    answer = httpx.get(
        f"{PAGE}/v1/files/content", params={"path": path}, headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS
    )
    assert answer.status_code == 200, answer.text
    assert answer.content[:4] == b"RIFF"
    return answer.content


def repeated(sound: bytes, times: int) -> bytes:
    """A WAV file that says the same several times."""
    with wave.open(BytesIO(sound)) as source:
        facts, frames = source.getparams(), source.readframes(source.getnframes())
    return as_wav(frames * times, facts.framerate)


def as_wav(frames: bytes, rate: int = RATE) -> bytes:
    target = BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(frames)
    return target.getvalue()


def seconds_of(sound: bytes) -> float:
    with wave.open(BytesIO(sound)) as file:
        return float(file.getnframes() / file.getframerate())


def uploaded(api: httpx.Client, name: str, content: bytes) -> str:
    answer = api.post("/v1/uploads", files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["path"])


def started(api: httpx.Client, **wanted: Any) -> str:
    answer = api.post("/v1/jobs", json=wanted)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def when(api: httpx.Client, job: str, condition: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
    """The job as soon as the condition holds."""
    found: dict[str, Any] = {}

    def reached() -> bool:
        answer = api.get(f"/v1/jobs/{job}")
        found.update(answer.json() if answer.status_code == 200 else {})
        return answer.status_code == 200 and bool(condition(found))

    wait_until(reached, what, seconds=2 * SECONDS)
    return found


def ended(api: httpx.Client, job: str) -> dict[str, Any]:
    found = when(api, job, lambda job: job["state"] in ENDED, f"the end of {job}")
    assert found["counts"]["done"] == found["counts"]["total"], found
    return found


def lacking(text: str) -> list[str]:
    return [word for word in WORDS if word not in text.lower()]


class TestPage:
    def test_comes_with_its_script_and_may_load_nothing_else(self, stack):
        page = httpx.get(f"{PAGE}/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        (script,) = re.findall(r'src="\./(assets/[^"]+\.js)"', page.text)
        found = httpx.get(f"{PAGE}/{script}")
        assert (found.status_code, found.headers["content-encoding"]) == (200, "gzip")
        assert "immutable" in found.headers["cache-control"]

    def test_has_nothing_else(self, stack):
        assert httpx.get(f"{PAGE}/etc/passwd").status_code == 404
        assert httpx.get(f"{PAGE}/health").status_code == 404

    def test_passes_the_description_of_the_interface_on(self, stack):
        assert "/v1/jobs" in httpx.get(f"{PAGE}/openapi.json").json()["paths"]


class TestToken:
    @pytest.mark.parametrize("at", [PAGE, SERVICE], ids=["page", "service"])
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}], ids=["none", "wrong"])
    def test_is_needed(self, stack, at, headers):
        for path in ("models", "files", "jobs", f"files/content?path={ENGLISH}"):
            answer = httpx.get(f"{at}/v1/{path}", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), path

    def test_becomes_a_cookie_that_pages_of_others_cannot_use(self, stack, token):
        with httpx.Client(base_url=PAGE) as browser:
            assert browser.post("/v1/session", json={"token": "wrong"}).status_code == 401
            assert browser.post("/v1/session", json={"token": token}, headers={"Origin": PAGE}).status_code == 204
            assert browser.get("/v1/session").json()["stack"] == "live-transcription"
            wanted = {"paths": ["uploads/none.wav"]}
            own = browser.post("/v1/jobs", json=wanted, headers={"Origin": PAGE})
            foreign = browser.post("/v1/jobs", json=wanted, headers={"Origin": "http://127.0.0.1:1"})
            assert own.status_code == 404
            assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "origin_refused")


class TestBehindAProxy:
    """Below a path that the proxy takes off, as docs/reverse-proxy.md has it."""

    @pytest.fixture
    def below(self, stack) -> Iterator[str]:
        routes = {"/transcription": Route(port=SETTINGS["transcription_frontend"]["port"], keeps_prefix=False)}
        with running(ReverseProxy(routes=routes), PROXY):
            yield f"http://127.0.0.1:{PROXY}"

    def test_the_page_and_the_service_work(self, below, token):
        with httpx.Client(base_url=f"{below}/transcription/", headers={"Origin": below}) as browser:
            (script,) = re.findall(r'src="\./(assets/[^"]+\.js)"', browser.get("").text)
            assert browser.get(script).status_code == 200
            assert browser.post("v1/session", json={"token": token}).status_code == 204
            answer = browser.post("v1/jobs", json={"paths": ["uploads/none.wav"]})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


class TestWhisper:
    def test_hears_the_words_of_an_upload(self, client, english):
        found = client.audio.transcriptions.create(
            file=("a.wav", english), model="whisper-1", response_format="verbose_json", language="en",
            timestamp_granularities=["word", "segment"],
        )  # fmt: skip
        assert not lacking(found.text)
        times = [(word.start, word.end) for word in found.words]
        assert all(0 <= start <= end <= seconds_of(english) + 0.5 for start, end in times)
        assert all(before[0] <= after[0] for before, after in pairwise(times))
        assert len(times) >= len(SENTENCE.split()) - 2

    def test_tells_the_language(self, client, token):
        german = example(token, GERMAN)
        found = client.audio.transcriptions.create(
            file=("b.wav", german), model="whisper-base", response_format="verbose_json"
        )
        assert found.language == "de"
        assert any(word in found.text.lower() for word in ("guten", "abend", "norden", "sonne", "grad"))

    def test_hears_nothing_in_silence(self, client):
        silence = as_wav(bytes(2 * RATE * 3))
        assert client.audio.transcriptions.create(file=("silence.wav", silence), model="whisper-1").text == ""

    def test_refuses_what_is_no_medium_and_a_language_that_there_is_not(self, client, english):
        for name, content, more, code in (
            ("text.wav", b"not a sound", {}, "invalid_media"),
            ("a.wav", english, {"language": "xx"}, "invalid_value"),
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                client.audio.transcriptions.create(file=(name, content), model="whisper-1", **more)
            assert refused.value.code == code


class TestPeaks:
    def test_show_where_it_is_loud(self, api):
        loud = array("h", (round(32000 * math.sin(at * 2 * math.pi * 440 / RATE)) for at in range(RATE))).tobytes()
        path = uploaded(api, "half.wav", as_wav(bytes(len(loud)) + loud))
        wanted = {"path": path, "points": 100}
        found = api.get("/v1/files/peaks", params=wanted).json()
        assert (found["duration"], found["points"], len(found["peaks"])) == (pytest.approx(2, abs=0.02), 100, 100)
        assert max(found["peaks"][:45]) < 0.01
        assert min(found["peaks"][55:95]) > 0.8
        assert api.get("/v1/files/peaks", params=wanted).json() == found

    def test_of_speech_are_between_silence_and_full_scale(self, api, english):
        found = api.get("/v1/files/peaks", params={"path": ENGLISH, "points": 2000}).json()
        assert found["duration"] == pytest.approx(seconds_of(english), abs=0.02)
        assert len(found["peaks"]) == 2000
        assert 0.2 < max(found["peaks"]) <= 1
        assert min(found["peaks"]) < 0.05

    def test_need_a_sound(self, api):
        path = uploaded(api, "notes.wav", b"not a sound")
        answer = api.get("/v1/files/peaks", params={"path": path})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_media")


@pytest.fixture(scope="module")
def job(token, dataset, english) -> dict[str, Any]:
    """A job over a folder: a medium with subtitles that are late, and one without any."""
    day = dataset / "day1" / "clips"
    day.mkdir(parents=True)
    (dataset / "day1" / "a.wav").write_bytes(english)
    (dataset / "day1" / "a.vtt").write_text(LATE)
    (day / "b.wav").write_bytes(repeated(english, 2))
    with httpx.Client(base_url=PAGE, headers={"Authorization": f"Bearer {token}"}, timeout=SECONDS) as api:
        shift = {"start": 2.6, "end": 2.1}
        name = started(api, paths=["dataset/day1"], language="en", subtitles_beside=True, shift=shift)
        ended(api, name)
        return when(api, name, lambda job: job["mlflow_run"], f"{name} in MLflow")


class TestFolder:
    def test_finds_all_media_and_says_how_fast_it_was(self, job):
        assert [file["path"] for file in job["files"]] == ["dataset/day1/a.wav", "dataset/day1/clips/b.wav"]
        assert job["real_time_factor"] > 0
        assert job["progress"] == 1

    def test_gives_subtitles_of_both_kinds(self, api, job):
        url = f"/v1/jobs/{job['id']}/files/0/result"
        vtt, srt = api.get(f"{url}.vtt").text, api.get(f"{url}.srt").text
        assert vtt.startswith("WEBVTT\n")
        assert re.search(r"00:00:0\d\.\d{3} --> 00:00:0\d\.\d{3}", vtt)
        assert re.match(r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n", srt)
        assert not lacking(vtt)
        assert not lacking(srt)

    def test_moves_late_subtitles_to_the_speech(self, api, job, english):
        found = api.get(f"/v1/jobs/{job['id']}/files/0/result.json").json()
        (cue,) = found["subtitles"]
        assert (cue["text"], cue["given_start"]) == (SENTENCE, 10.0)
        assert cue["matched"] > 0.5
        assert 0 <= cue["start"] < cue["end"] <= seconds_of(english) + 0.5
        (moved,) = found["shifted"]
        assert moved["start"] == pytest.approx(cue["start"] + 2.6, abs=0.001)

    def test_gives_elan_its_tiers(self, api, job):
        tree = ET.fromstring(api.get(f"/v1/jobs/{job['id']}/files/0/result.eaf").content)
        tiers = {str(tier.get("TIER_ID")): len(tier) for tier in tree.iter("TIER")}
        assert set(tiers) == {"SPEECH", "WORDS", "SUBTITLE", "SUBTITLE_SHIFTED"}
        assert tiers["WORDS"] >= len(SENTENCE.split()) - 2

    def test_gives_everything_in_one_file(self, api, job):
        with zipfile.ZipFile(BytesIO(api.get(f"/v1/jobs/{job['id']}/result.zip").content)) as archive:
            stems = ("dataset/day1/a", "dataset/day1/clips/b")
            wanted = {f"{stem}.{kind}" for stem in stems for kind in ("json", "vtt", "srt", "txt", "eaf")}
            assert wanted | {"dataset/day1/a.subtitles.vtt"} <= set(archive.namelist())

    def test_is_a_run_of_mlflow_with_its_results(self, stack, job):
        mlflow = httpx.Client(base_url=f"{MLFLOW}/api/2.0/mlflow", auth=stack.mlflow_login)
        found = mlflow.get("/runs/get", params={"run_id": job["mlflow_run"]}).json()["run"]
        assert (found["info"]["status"], found["info"]["run_name"]) == ("FINISHED", job["id"])
        metrics = {one["key"]: one["value"] for one in found["data"]["metrics"]}
        assert metrics["files_done"] == 2
        assert metrics["real_time_factor"] == pytest.approx(job["real_time_factor"])
        params = {one["key"]: one["value"] for one in found["data"]["params"]}
        assert (params["language"], json.loads(params["paths"])) == ("en", ["dataset/day1"])
        listed = {"run_id": job["mlflow_run"], "path": "dataset/day1"}
        files = mlflow.get("/artifacts/list", params=listed).json()["files"]
        assert {"dataset/day1/a.eaf", "dataset/day1/a.subtitles.vtt"} <= {one["path"] for one in files}

    def test_hears_the_same_medium_no_second_time(self, api, job):
        again = ended(api, started(api, paths=["dataset/day1/a.wav"], language="en"))
        assert [file["reused"] for file in again["files"]] == [True]


class TestBrowser:
    def test_uploads_corrects_and_downloads(self, chromium, stack, token, english, tmp_path):
        """All of it in Chromium, against the deployed pair."""
        expect.set_options(timeout=SECONDS * 1000)
        sound = tmp_path / "forecast.wav"
        sound.write_bytes(english)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(PAGE)
            page.get_by_label("Token").fill(token)
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name="New transcription")).to_be_visible()
            page.get_by_label("Files to upload").set_input_files(sound)
            page.get_by_role("list", name="Chosen").get_by_text("forecast.wav").wait_for()
            page.get_by_role("button", name="Transcribe").click()
            expect(page.get_by_text("Done").first).to_be_visible()
            page.get_by_role("link", name="forecast.wav").click()
            expect(page.locator(".word").first).to_be_visible()
            page.keyboard.press("e")
            page.get_by_label("Text of the segment").first.fill("Corrected by a person.")
            page.get_by_role("button", name="Done").click()
            expect(page.get_by_text("Saved", exact=True)).to_be_visible()
            with page.expect_download() as download:
                page.get_by_role("link", name="VTT", exact=True).click()
            assert "Corrected by a person." in Path(download.value.path()).read_text()
            browser.close()


class TestRestart:
    def test_in_the_middle_of_a_job_loses_nothing_and_repeats_one_file(self, stack, api, dataset, english):
        folder = dataset / "long"
        folder.mkdir()
        for times in LONG:
            (folder / f"{times}.wav").write_bytes(repeated(english, times))
        job = started(api, paths=["dataset/long"], language="en")
        before = when(
            api, job, lambda job: job["counts"]["done"] == 1 and job["counts"]["running"] == 1, "a file of three"
        )
        container = stack.container("transcription")
        container.kill()
        gone = api.get("/v1/jobs")
        assert gone.status_code in (502, 504)
        assert httpx.get(f"{PAGE}/").status_code == 200
        container.start()
        after = ended(api, job)
        assert [file["reused"] for file in after["files"]] == [False, False, False]
        assert after["files"][0] == before["files"][0]
        for index, times in enumerate(LONG):
            text = api.get(f"/v1/jobs/{job}/files/{index}/result.txt").text.lower()
            # Whisper may lose a repetition of what it has just heard.
            assert text.count("south") >= times // 2, text

    def test_leaves_the_stack_as_it_is_declared(self, stack):
        wait_until(lambda: not stack.unhealthy(), "health of all services")
        done = stack.ws("preview", "--engine", "embedded", "--expect-no-changes")
        assert done.returncode == 0, done.stdout


class TestWithoutTheService:
    def test_the_page_says_so_and_comes_back(self, stack, api):
        container = stack.container("transcription")
        container.stop(timeout=10)
        assert api.get("/v1/models").status_code in (502, 504)
        container.start()
        wait_until(lambda: api.get("/v1/models").status_code == 200, "an answer of the service by its page")
