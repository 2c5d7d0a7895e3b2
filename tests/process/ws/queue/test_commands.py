"""`ws submit`, `ws queue`, `ws job` and `ws usage` by real HTTP, with a queue in memory."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from typing import Any

import pytest

from config.project import FOLDER
from testing.queue_memory import LARGEST, running
from testing.servers import free_port
from ws import cli, paths
from ws.queue import client, following

TOKEN = "group-secret-5521"


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    with running(tmp_path_factory.mktemp("queue"), TOKEN) as found:
        yield found


@pytest.fixture
def service(started, monkeypatch):
    """One for all tests, as new for each; `ws` is led to it."""
    started.queue.forget()
    for path in started.packages.iterdir():
        path.unlink()
    monkeypatch.setenv("CSLR_QUEUE_URL", started.url)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setenv("CSLR_USER", "ana")
    monkeypatch.setattr(following, "PAUSE", 0.05)
    monkeypatch.setattr(client, "PAUSES", (0.05,))
    return started


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the person stands."""
    (tmp_path / "train.py").write_text("print(1)")
    monkeypatch.setattr(paths, "_folder", tmp_path)
    return tmp_path


@pytest.fixture
def ws(service, folder, capsys, monkeypatch):
    """Runs `ws`; returns exit code, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("CSLR_CALLED_FROM", str(folder))  # as bin/ws does
        code = cli.main([*words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def submitted(ws, *words: str) -> Any:
    code, said, error = ws("submit", "--json", *words)
    assert code == 0, error
    return json.loads(said)


class TestSubmit:
    def test_sends_the_folder_once_and_what_was_asked_for(self, ws, service, folder):
        (folder / ".gitignore").write_text("data/\n")
        (folder / "data").mkdir()
        (folder / "data/large").write_bytes(os.urandom(LARGEST + 1))
        job = submitted(
            ws, "--gpus", "2", "--cpus", "8", "--memory", "1.5g", "--count", "2", "--priority", "high",
            "--name", "try 1", "--project", "phoenix", "--time-limit", "1h30m", "--resume", "--env", "A=b=c",
            "--packages", "einops>=0.8",
            "--resource", "dataset:phoenix=0.001", "--", "python", "train.py", "--gpus", "9", "a b",
        )  # fmt: skip
        of = job["submission"]
        assert of["entrypoint"] == "python train.py --gpus 9 'a b'"
        assert (of["gpus"], of["cpus"], of["memory"], of["count"]) == (2, 8, 1.5 * 2**30, 2)
        assert (of["priority"], of["name"], of["project"], of["time_limit"]) == ("high", "try 1", "phoenix", 5400)
        assert (of["restartable"], of["packages"], of["resources"]) == (
            True,
            ["einops>=0.8"],
            {"dataset:phoenix": 0.001},
        )
        assert job["user"] == "ana"
        (package,) = service.packages.iterdir()
        with zipfile.ZipFile(package) as archive:
            assert archive.namelist() == [".gitignore", "train.py"]
        before = package.stat().st_ino
        assert submitted(ws, "python", "train.py")["submission"]["package"] == of["package"]
        assert [path.stat().st_ino for path in service.packages.iterdir()] == [before]

    def test_with_an_id_it_can_be_repeated(self, ws):
        for _ in range(2):
            assert ws("submit", "--id", "mine", "--no-folder", "x")[0] == 0
        assert len(json.loads(ws("job", "list", "--json")[1])) == 1

    def test_an_answer_that_is_lost_makes_no_second_job(self, ws, monkeypatch):
        real = client._answer
        asked: list[object] = []

        def lossy(request, trust):
            answer = real(request, trust)
            if request.get_method() == "POST" and not asked:
                asked.append(request)
                raise ConnectionResetError("Connection reset by peer")
            return answer

        monkeypatch.setattr(client, "_answer", lossy)
        submitted(ws, "--no-folder", "x")
        assert asked
        assert len(json.loads(ws("job", "list", "--json")[1])) == 1

    def test_says_why_it_waits_and_how_to_follow_it(self, ws):
        code, said, _ = ws("submit", "--no-folder", "x")
        assert code == 0
        assert "2 jobs go before it" in said
        assert "ws job logs" in said

    @pytest.mark.parametrize(("end", "expected"), [("succeeded", 0), ("failed", 1)])
    @pytest.mark.parametrize("how", ["--wait", "--follow"])
    def test_its_exit_code_is_how_the_job_ended(self, ws, how, end, expected):
        code, said, error = ws("submit", how, "--no-folder", "x", "prints:hello", "prints:you", f"ends:{end}")
        assert code == expected
        assert said == ("hello\nyou\n" if how == "--follow" else "")
        assert end in error
        assert ("ws job retry" in error) == (end == "failed")

    def test_a_folder_that_is_too_large_is_refused_with_what_makes_it_so(self, ws, service, folder):
        (folder / "weights.bin").write_bytes(os.urandom(LARGEST + 1))
        code, _, error = ws("submit", "x")
        assert code == 1
        for text in ("weights.bin (1.0 MB)", "queue.largest_package", ".gitignore", "ws data list"):
            assert text in error
        assert list(service.packages.iterdir()) == []

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--gpus", "1.5"], "whole numbers"),
            (["--priority", "urgent"], "low, normal, high"),
            (["--memory", "lots"], "--memory"),
            (["--resource", "a"], "--resource"),
            (["--env", "SURELY_NOT_SET"], "--env SURELY_NOT_SET=VALUE"),
            (["--time-limit", "soon"], "not a duration"),
            (["--follow", "--json"], "--wait"),
            (["--folder", "nowhere"], "--folder FOLDER"),
            (["-r", "nowhere.txt"], "No such file"),
            (["--id", "../x"], "id"),
            (["--user", "a b"], "--user NAME"),
        ],
    )
    def test_what_cannot_be_is_refused_with_its_option_or_a_remedy(self, ws, words, said):
        code, _, error = ws("submit", *words, "x")
        assert code in (1, 2)
        assert said in " ".join(error.replace("│", " ").split())
        assert json.loads(ws("job", "list", "--all", "--json")[1]) == []


class TestAccess:
    @pytest.mark.parametrize(
        ("variable", "value", "said"),
        [
            ("RAY_AUTH_TOKEN", "wrong", "ray-token"),
            ("RAY_AUTH_TOKEN", "", "RAY_AUTH_TOKEN_PATH"),
            ("CSLR_QUEUE_URL", "gpuhost", "http://127.0.0.1:8070"),
            ("CSLR_QUEUE_URL", "http://127.0.0.1:1", "does not answer"),
        ],
    )
    def test_a_mistake_is_named_with_its_remedy(self, ws, monkeypatch, variable, value, said):
        monkeypatch.setenv(variable, value)
        code, _, error = ws("queue")
        assert code == 1
        assert said in error

    def test_the_token_may_be_in_a_file(self, ws, monkeypatch, tmp_path):
        (tmp_path / "ray-token").write_text(f"{TOKEN}\n")
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "ray-token"))
        assert ws("queue")[0] == 0

    def test_a_database_that_is_away_is_said(self, ws, service):
        service.queue.away = True
        code, _, error = ws("queue")
        assert code == 1
        assert "database does not answer" in error
        assert "ws ps" in error


class TestJob:
    def test_is_listed_shown_cancelled_and_retried(self, ws):
        job = submitted(ws, "--name", "try 1", "--no-folder", "x", "waits")["id"]
        assert "try 1" in ws("job", "list")[1]
        assert "No job of bob" in ws("job", "list", "--user", "bob")[1]
        assert "2 jobs go before it" in ws("job", "show", job)[1]
        assert ws("job", "cancel", job, "--user", "bob")[2].startswith(f"Job {job} is ana's")
        assert "cancelled" in ws("job", "cancel", job)[1]
        assert "waits again" in ws("job", "retry", job)[1]
        assert "has not ended" in ws("job", "retry", job)[2]
        code, said, error = ws("job", "cancel", job, "nope")
        assert code == 1
        assert job in said
        assert "no job 'nope'" in error

    def test_its_log_is_printed_whole_in_part_or_from_an_attempt_on(self, ws):
        job = submitted(ws, "--no-folder", "x", "prints:one", "prints:two", "ends:succeeded")["id"]
        for _ in range(2):
            ws("job", "show", job)
        assert ws("job", "logs", job)[:2] == (0, "one\ntwo\n")
        assert ws("job", "logs", job, "--tail", "1")[:2] == (0, "two\n")
        assert ws("job", "logs", job, "--follow")[:2] == (0, "one\ntwo\n")
        assert "no attempt 7" in ws("job", "logs", job, "--attempt", "7")[2]

    def test_a_long_log_comes_in_parts_and_whole(self, ws):
        words = [f"prints:{'x' * 9000}{number}" for number in range(3)]
        job = submitted(ws, "--no-folder", "x", *words, "ends:succeeded")["id"]
        assert len(ws("job", "logs", job, "--follow")[1].splitlines()) == 3


class TestFollowing:
    def test_goes_on_after_the_database_was_away(self, service, ws):
        job = submitted(ws, "--no-folder", "x", "prints:hello", "waits")["id"]
        service.queue.away = True
        threading.Timer(1.0, service.queue.come_back, args=(job,)).start()
        code, said, error = ws("job", "logs", job, "--follow")
        assert (code, said) == (0, "hello\n")
        assert "Waiting for it." in error

    def test_interrupted_it_says_that_the_job_goes_on(self, service, folder):
        environment = {**os.environ, "CSLR_CALLED_FROM": str(folder)}
        command = [sys.executable, "-m", "ws", "submit", "--follow", "--no-folder", "x", "prints:hello"]
        process = subprocess.Popen(
            command, cwd=FOLDER, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout
        assert process.stdout.readline() == "hello\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "goes on. Follow it again: ws job logs" in error


class TestQueueAndUsage:
    def test_the_queue_is_shown_with_reasons_nodes_and_shares(self, ws):
        submitted(ws, "--name", "try 1", "--no-folder", "x", "waits")
        said = ws("queue")[1]
        for text in ("1 waiting", "try 1", "2 jobs go before it", "2 + 1 of 4", "75 %"):
            assert text in said
        assert json.loads(ws("queue", "--json")[1])["waiting"][0]["why"]

    def test_usage_is_a_table_or_csv_or_json(self, ws):
        assert "60.0" in ws("usage", "--since", "30d")[1]
        (row,) = csv.DictReader(ws("usage", "--by", "project", "--since", "2d", "--csv")[1].splitlines())
        assert float(row["gpu_hours"]) == pytest.approx(4, abs=0.01)
        assert json.loads(ws("usage", "--json")[1])[0]["name"] == "ana"
        assert ws("usage", "--since", "soon")[0] == 2


class TestCompletion:
    def test_offers_jobs_with_what_they_are(self, ws, service):
        from ws import completion

        job = submitted(ws, "--name", "try 1", "--no-folder", "x", "waits")["id"]
        context = type("Context", (), {"params": {}})()
        assert completion.jobs(context, job[:2]) == [(job, "ana, waiting, try 1")]
        service.queue.away = True
        assert completion.jobs(context, "") == []


def test_a_port_without_a_queue_is_said(ws, monkeypatch):
    monkeypatch.setenv("CSLR_QUEUE_URL", f"http://127.0.0.1:{free_port()}")
    assert "does not answer" in ws("submit", "x")[2]
