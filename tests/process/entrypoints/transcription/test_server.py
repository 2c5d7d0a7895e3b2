"""The transcription service: OpenAI's client, files, jobs, results, and who may ask."""

import errno
import json
import time
import xml.etree.ElementTree as ET
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
import schemathesis

from entrypoints.transcription import ledger
from entrypoints.transcription.ledger import ENDED
from tests.process.entrypoints.transcription.pretended import TOKEN

TEXT = "guten Abend\nes regnet morgen im Norden\n"


def full(path: Path, _: object) -> None:
    """In place of `write_json`, on a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.fixture
def api(service):
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20) as client:
        yield client


@pytest.fixture
def client(service):
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key=TOKEN, max_retries=0)


def finished(api: httpx.Client, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while (job := api.get(f"/v1/jobs/{name}").json())["state"] not in ENDED:
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return dict(job)


def done(api: httpx.Client, **wanted: Any) -> dict[str, Any]:
    answer = api.post("/v1/jobs", json=wanted)
    assert answer.status_code == 201, answer.text
    return finished(api, answer.json()["id"])


class TestOpenAI:
    def test_client_gets_text(self, client):
        assert client.audio.transcriptions.create(file=("a.wav", TEXT.encode()), model="whisper-1").text == (
            "guten Abend es regnet morgen im Norden"
        )

    @pytest.mark.parametrize(
        ("kind", "begins"), [("text", "guten"), ("srt", "1\n00:00:00,000 -->"), ("vtt", "WEBVTT\n")]
    )
    def test_client_gets_subtitles(self, client, kind, begins):
        found = client.audio.transcriptions.create(file=("a.wav", TEXT.encode()), model="tiny", response_format=kind)
        assert str(found).startswith(begins)

    def test_client_gets_words_with_times(self, client):
        found = client.audio.transcriptions.create(
            file=("a.wav", TEXT.encode()), model="tiny", response_format="verbose_json",
            timestamp_granularities=["word", "segment"], language="de",
        )  # fmt: skip
        assert found.duration == 7
        assert [segment.text for segment in found.segments] == TEXT.splitlines()
        assert (found.words[1].word, found.words[1].start, found.words[1].end) == ("Abend", 1, 2)

    def test_client_gets_text_as_it_is_heard(self, client):
        stream = client.audio.transcriptions.create(file=("a.wav", TEXT.encode()), model="tiny", stream=True)
        events = list(stream)
        assert [event.type for event in events] == [*["transcript.text.delta"] * 2, "transcript.text.done"]
        assert "".join(event.delta for event in events[:-1]) == events[-1].text

    def test_client_sees_the_models(self, client):
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").owned_by == "bundled"

    def test_unknown_model_is_named(self, client):
        with pytest.raises(openai.NotFoundError, match="There is no model 'large'; there are tiny"):
            client.audio.transcriptions.create(file=("a.wav", b"x"), model="large")

    def test_file_without_sound_is_refused(self, client):
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.transcriptions.create(file=("a.broken", b"x"), model="tiny")
        assert refused.value.code == "invalid_media"

    def test_large_file_is_refused_and_leaves_nothing(self, client, service):
        with pytest.raises(openai.APIStatusError) as refused:
            client.audio.transcriptions.create(file=("a.wav", b"x" * 20_000), model="tiny")
        assert refused.value.status_code == 413
        assert not list((service.folder / "data").glob(".clip-*"))


class TestToken:
    @pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/jobs", "/v1/session", "/v1/files/content?path=a"])
    def test_is_needed(self, service, path):
        answer = httpx.get(service.url + path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert httpx.get(service.url + path, headers={"Authorization": "Bearer wrong"}).status_code == 401

    def test_is_exchanged_for_a_cookie_that_other_origins_cannot_use(self, service):
        with httpx.Client(base_url=service.url) as browser:
            assert browser.post("/v1/session", json={"token": "wrong"}).status_code == 401
            answer = browser.post("/v1/session", json={"token": TOKEN})
            assert answer.status_code == 204
            assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in answer.headers["set-cookie"].split(";")}
            assert browser.get("/v1/session").json()["authenticated"] is True
            job = {"paths": ["dataset"]}
            foreign = browser.post("/v1/jobs", json=job, headers={"Origin": "http://127.0.0.1:1"})
            assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "origin_refused")
            assert browser.post("/v1/jobs", json=job, headers={"Origin": service.url}).status_code == 400
            browser.delete("/v1/session")
            assert browser.get("/v1/session").status_code == 401

    def test_health_needs_none(self, service):
        assert httpx.get(f"{service.url}/health").json() == {"state": "up", "model": "tiny"}


class TestFiles:
    def test_are_listed_folders_first(self, api, service):
        service.medium("b/one.mp4", TEXT)
        service.medium("a.vtt", "WEBVTT\n")
        service.medium(".hidden", "x")
        found = api.get("/v1/files", params={"path": "dataset"}).json()
        assert [(e["name"], e["kind"]) for e in found["entries"]] == [("b", "folder"), ("a.vtt", "subtitles")]
        assert [e["path"] for e in api.get("/v1/files").json()["entries"]] == ["dataset", "uploads"]

    @pytest.mark.parametrize(
        "path", ["dataset/../models", "dataset/link/tiny", "/etc", "dataset/.hidden", "data", "dataset//", "dataset/\0"]
    )
    def test_outside_of_the_tree_are_not_there(self, api, service, path):
        service.medium(".hidden", "x")
        (service.dataset / "link").symlink_to(service.folder / "models")
        for call in ("/v1/files/content", "/v1/files/peaks", "/v1/files"):
            if (call, path) != ("/v1/files", "dataset//"):
                assert api.get(call, params={"path": path}).status_code == 404

    def test_are_served_in_ranges(self, api, service):
        path = service.medium("a.mp4", "0123456789")
        answer = api.get("/v1/files/content", params={"path": path}, headers={"Range": "bytes=2-4"})
        assert (answer.status_code, answer.text, answer.headers["content-range"]) == (206, "234", "bytes 2-4/10")
        assert answer.headers["content-type"] == "video/mp4"
        assert api.head("/v1/files/content", params={"path": path}).headers["accept-ranges"] == "bytes"

    def test_that_are_pages_are_not_run_by_browsers(self, api, service):
        path = service.medium("evil.html", "<script>alert(1)</script>")
        answer = api.get("/v1/files/content", params={"path": path})
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["content-security-policy"]

    def test_are_uploaded_used_and_removed(self, api):
        entry = api.post("/v1/uploads", files={"file": ("../../Ä b.mp4", TEXT.encode())}).json()
        assert entry["path"].startswith("uploads/")
        assert entry["name"] == "Ä b.mp4"
        assert done(api, paths=[entry["path"]])["state"] == "done"
        assert api.delete("/v1/uploads", params={"path": entry["path"]}).status_code == 204
        assert api.delete("/v1/uploads", params={"path": "dataset/a.mp4"}).status_code == 403


class TestJob:
    def test_has_results_in_every_format(self, api, service):
        path = service.medium("day/a.mp4", TEXT)
        job = done(api, paths=["dataset"], shift={"start": 2.6, "end": 2.1})
        assert (job["state"], job["counts"]["done"], job["progress"]) == ("done", 1, 1.0)
        url = f"/v1/jobs/{job['id']}/files/0/result"
        found = api.get(f"{url}.json").json()
        assert (found["source"]["path"], found["text"]) == (path, "guten Abend es regnet morgen im Norden")
        assert found["shifted"][1] == {
            "start": 4.6, "end": 9.1, "text": "es regnet morgen im Norden", "given_start": 2, "given_end": 7,
            "matched": 1.0,
        }  # fmt: skip
        assert "00:00:02.000 --> 00:00:07.000" in api.get(f"{url}.vtt").text
        assert api.get(f"{url}.txt").text == TEXT
        assert api.get(f"{url}.srt", params={"track": "words"}).text.count("-->") == 7
        assert api.get(f"{url}.vtt", params={"track": "subtitles"}).status_code == 404
        tiers = {tier.get("TIER_ID"): len(tier) for tier in ET.fromstring(api.get(f"{url}.eaf").content).iter("TIER")}
        assert tiers == {"SPEECH": 2, "WORDS": 7, "SUBTITLE_SHIFTED": 2}
        with zipfile.ZipFile(BytesIO(api.get(f"/v1/jobs/{job['id']}/result.zip").content)) as archive:
            assert {f"dataset/day/a.{kind}" for kind in ("json", "vtt", "srt", "txt", "eaf")} <= set(archive.namelist())

    def test_does_not_hear_the_same_medium_twice(self, api, service):
        service.medium("a.mp4", TEXT)
        service.medium("copy.mp4", TEXT)
        first, second = done(api, paths=["dataset"]), done(api, paths=["dataset/copy.mp4"])
        assert len(service.recognizer.heard) == 1
        assert [file["reused"] for file in first["files"] + second["files"]] == [False, True, True]
        done(api, paths=["dataset/a.mp4"], prompt="Wetter")
        assert len(service.recognizer.heard) == 2

    def test_goes_on_after_a_restart(self, api, service):
        for name in ("a", "b", "c"):
            service.medium(f"{name}.mp4", f"{name}\n{TEXT}")
        job = api.post("/v1/jobs", json={"paths": ["dataset"]}).json()
        finished(api, job["id"])
        service.medium("d.mp4", f"d\n{TEXT}")
        service.recognizer.gate.clear()
        job = api.post("/v1/jobs", json={"paths": ["dataset"]}).json()
        deadline = time.monotonic() + 20
        while api.get(f"/v1/jobs/{job['id']}").json()["counts"]["running"] == 0:
            assert time.monotonic() < deadline
        stopping = service.application.state.service.jobs
        stopping._ledger.stopping = True
        service.recognizer.gate.set()
        service.stop()
        service.start()
        assert finished(api, job["id"])["counts"]["done"] == 4
        assert service.recognizer.heard.count("a.mp4") == 1

    def test_can_be_cancelled_and_done_after_all(self, api, service):
        service.medium("a.mp4", TEXT)
        service.medium("b.mp4", f"b\n{TEXT}")
        service.recognizer.gate.clear()
        job = api.post("/v1/jobs", json={"paths": ["dataset"]}).json()
        while api.get(f"/v1/jobs/{job['id']}").json()["counts"]["running"] == 0:
            time.sleep(0.01)
        api.post(f"/v1/jobs/{job['id']}/cancel")
        service.recognizer.gate.set()
        assert finished(api, job["id"])["counts"]["cancelled"] == 2
        assert api.get(f"/v1/jobs/{job['id']}/files/0/result.vtt").status_code == 409
        api.post(f"/v1/jobs/{job['id']}/retry")
        assert finished(api, job["id"])["counts"]["done"] == 2

    def test_goes_on_past_a_file_that_fails(self, api, service):
        service.medium("a.mp4", TEXT)
        service.medium("b.mp4", "never heard")
        service.recognizer.broken.add("b.mp4")
        job = done(api, paths=["dataset"])
        assert (job["state"], job["counts"]["failed"]) == ("done", 1)
        assert job["error"] == "b.mp4 has no sound that can be read."

    def test_times_subtitles_anew(self, api, service):
        service.medium("a.mp4", TEXT)
        service.medium(
            "a.srt",
            "1\n00:00:20,000 --> 00:00:21,000\nGuten Abend!\n\n"
            "2\n00:00:22,000 --> 00:00:24,000\nEs regnete im Norden\n",
        )
        job = done(api, paths=["dataset"], subtitles_beside=True)
        cues = api.get(f"/v1/jobs/{job['id']}/files/0/result.json").json()["subtitles"]
        assert [(cue["start"], cue["end"], cue["matched"]) for cue in cues] == [(0, 2, 1.0), (2, 7, 1.0)]

    def test_keeps_corrections_and_the_times_of_words(self, api, service):
        service.medium("a.mp4", TEXT)
        job = done(api, paths=["dataset"])
        url = f"/v1/jobs/{job['id']}/files/0"
        segments = [{"start": 0, "end": 2, "text": "Guten schönen Abend."}]
        found = api.put(f"{url}/segments", json={"revision": 0, "segments": segments}).json()
        words = [(word["word"], word["start"], word["probability"]) for word in found["segments"][0]["words"]]
        assert words == [("Guten", 0, 0.9), ("schönen", 1, None), ("Abend.", 1, 0.9)]
        assert api.get(f"{url}/result.txt").text == "Guten schönen Abend.\n"
        late = api.put(f"{url}/segments", json={"revision": 0, "segments": []})
        assert (late.status_code, late.json()["error"]["code"]) == (409, "revision_conflict")
        assert api.delete(f"{url}/segments").json()["text"] == "guten Abend es regnet morgen im Norden"

    def test_says_each_change(self, api, service):
        service.medium("a.mp4", TEXT)
        job = api.post("/v1/jobs", json={"paths": ["dataset"]}).json()
        with api.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
            said = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
        assert said[-1]["state"] == "done"

    def test_on_a_full_disk_is_refused_and_later_ones_are_done(self, api, service, monkeypatch):
        service.medium("a.mp4", TEXT)
        monkeypatch.setattr(ledger, "write_json", full)
        answer = api.post("/v1/jobs", json={"paths": ["dataset"]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "not_kept")
        assert api.get("/v1/jobs").json() == {"jobs": []}
        monkeypatch.undo()
        assert done(api, paths=["dataset"])["state"] == "done"

    def test_goes_on_while_its_state_cannot_be_written(self, api, service, monkeypatch):
        service.medium("a.mp4", TEXT)
        service.medium("b.mp4", f"b\n{TEXT}")
        service.recognizer.gate.clear()
        job = api.post("/v1/jobs", json={"paths": ["dataset"]}).json()
        monkeypatch.setattr(ledger, "write_json", full)
        service.recognizer.gate.set()
        assert finished(api, job["id"])["counts"]["done"] == 2
        monkeypatch.undo()
        assert done(api, paths=["dataset"])["counts"]["done"] == 2

    def test_without_media_is_refused(self, api, service):
        (service.dataset / "empty").mkdir()
        answer = api.post("/v1/jobs", json={"paths": ["dataset/empty"]})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "paths")

    def test_is_forgotten(self, api, service):
        service.medium("a.mp4", TEXT)
        job = done(api, paths=["dataset"])
        assert api.delete(f"/v1/jobs/{job['id']}").status_code == 204
        assert api.get(f"/v1/jobs/{job['id']}").status_code == 404
        assert api.get("/v1/jobs").json() == {"jobs": []}


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_answers_whatever_its_document_allows(service):
    service.medium("a.mp4", TEXT)
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operations = [cast("Any", found).ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    for operation in operations:
        for _ in range(4):
            case = operation.as_strategy().example()
            response = case.call(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)
            assert response.status_code < 500, (operation.label, response.text)
            assert response.status_code in {
                int(code) for code in operation.definition.raw["responses"] if code.isdigit()
            }
