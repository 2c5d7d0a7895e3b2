"""The expectation, the report, and the runner with a Docker Engine that only records its requests."""

import io
import json
import time
from dataclasses import fields
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import requests
from docker.errors import APIError, ImageNotFound, NotFound
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from entrypoints import verify_cluster
from entrypoints.verify_cluster import Result
from verification import __main__ as command
from verification import record, runner
from verification.report import CheckResult, Report, table
from verification.spec import ENVIRONMENT, Client, ExpectedNode, Heads, SecretFiles, Service, VerificationSpec

CLIENT = Client(
    image="sha256:1f", program="/programs/verify_cluster.py", with_python="/programs/with_python.sh", labels={"a": "b"}
)


def expected(**changes: Any) -> VerificationSpec:
    values: dict[str, Any] = {
        "project": "cslr",
        "stack": "dev",
        "network": "ray-network",
        "client": CLIENT,
        "heads": Heads(hosts=("ray-cpu", "ray-gpu")),
        "nodes": (ExpectedNode(name="ray-cpu", container="cslr-dev-ray-cpu", cpus=2, memory=2**30),),
        "marimo": Service(url="http://marimo:8080", container="cslr-dev-marimo"),
        "secrets": SecretFiles(ray_token="/secrets/ray-token", marimo_token="/secrets/marimo-token"),
    }
    return VerificationSpec(**{**values, **changes})


def check(name: str, result: Result, detail: str = "", container: str | None = None) -> CheckResult:
    return CheckResult(name=name, container=container, result=result, detail=detail, seconds=1.0)


def report(*checks: CheckResult) -> Report:
    ok = all(one.result != "fail" for one in checks)
    return Report(ok=ok, started="2026-01-01T00:00:00Z", seconds=1.0, checks=checks)


class TestSpec:
    @given(
        nodes=st.lists(
            st.builds(
                ExpectedNode,
                name=st.from_regex(r"ray-[a-z0-9]{1,8}", fullmatch=True),
                container=st.just("c"),
                cpus=st.floats(0, 512),
                gpus=st.none() | st.integers(0, 16),
                memory=st.integers(1, 2**45),
                torch=st.booleans(),
            ),
            unique_by=lambda node: node.name,
        )
    )
    def test_survives_its_trip_through_the_environment(self, nodes):
        spec = expected(nodes=tuple(nodes))
        assert VerificationSpec.model_validate_json(spec.model_dump_json()) == spec

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"netwrok": "x"}, "Extra inputs"),
            ({"deadline": "300"}, "valid number"),
            ({"health": {"url": "http://health:8888/", "container": "c"}}, "pattern"),
            ({"secrets": {"ray_token": "token"}}, "pattern"),
            ({"heads": None}, "heads is missing"),
        ],
    )
    def test_refuses_what_it_does_not_mean(self, change, complaint):
        values = json.loads(expected().model_dump_json())
        with pytest.raises(ValidationError, match=complaint):
            VerificationSpec.model_validate_json(json.dumps({**values, **change}))

    def test_refuses_two_nodes_of_one_name(self):
        node = expected().nodes[0]
        with pytest.raises(ValidationError, match="the same name"):
            expected(nodes=(node, node))

    def test_cannot_be_changed(self):
        with pytest.raises(ValidationError, match="frozen"):
            expected().stack = "other"


class TestReport:
    def test_reads_what_the_client_writes(self):
        spec: Any = SimpleNamespace(nodes=[], heads=None)
        session = verify_cluster.Session(spec=spec, deadline=0)
        written = verify_cluster.verify(session, [])
        assert set(written) == set(Report.model_fields)
        assert {one.name for one in fields(verify_cluster.Outcome)} == set(CheckResult.model_fields)
        assert Report.model_validate(written).ok

    def test_a_failed_check_more_makes_it_fail(self):
        assert not report(check("connect", "pass")).with_check(check("marimo_connects", "fail")).ok

    def test_table_shows_brackets_as_they_are(self):
        console = Console(width=100, record=True, file=io.StringIO())
        console.print(table(report(check("connect", "fail", "no [ray] here"), check("gpu_training", "skip"))))
        shown = console.export_text()
        assert "1 of 2 checks failed" in shown
        assert "no [ray] here" in shown


@pytest.fixture
def engine(monkeypatch):
    engine = MagicMock()
    engine.containers.get.side_effect = NotFound("gone")
    container = engine.containers.create.return_value
    container.wait.return_value = {"StatusCode": 0}
    container.logs.side_effect = lambda stream=False, **_: iter(()) if stream else b"{}"
    monkeypatch.setattr("docker.from_env", lambda: engine)
    return engine


def answers(engine: MagicMock, answer: Report) -> None:
    container = engine.containers.create.return_value
    container.logs.side_effect = lambda stream=False, **_: iter(()) if stream else answer.model_dump_json().encode()


class TestClientContainer:
    def test_is_hardened_as_every_other(self, engine):
        answers(engine, report(check("connect", "pass")))
        runner.verify(expected(marimo=None), print)
        options = engine.containers.create.call_args.kwargs
        assert options["read_only"]
        assert options["user"] == "1000:1000"
        assert options["cap_drop"] == ["ALL"]
        assert options["security_opt"] == ["no-new-privileges"]
        assert options["labels"] == {"a": "b"}
        assert options["init"]
        assert "noexec" in options["tmpfs"]["/tmp"].split(",")
        assert all(mount["ReadOnly"] for mount in options["mounts"])

    def test_cannot_take_its_host_from_others(self, engine):
        answers(engine, report())
        runner.verify(expected(marimo=None), print)
        options = engine.containers.create.call_args.kwargs
        assert options["mem_limit"] == options["memswap_limit"] == 2 * 2**30
        assert (options["nano_cpus"], options["pids_limit"]) == (10**9, 512)
        assert options["log_config"]["Config"] == {"max-file": "3", "max-size": "10m"}

    def test_gets_secrets_as_files_only(self, engine):
        answers(engine, report())
        runner.verify(expected(marimo=None), print)
        options = engine.containers.create.call_args.kwargs
        assert {mount["Target"]: mount["Source"] for mount in options["mounts"]}[
            runner.RAY_TOKEN_FILE
        ] == "/secrets/ray-token"
        assert options["environment"]["RAY_AUTH_TOKEN_PATH"] == runner.RAY_TOKEN_FILE

    def test_ends_before_the_whole_run_must(self, engine):
        answers(engine, report())
        runner.verify(expected(marimo=None, deadline=100.0), print)
        inside = json.loads(engine.containers.create.call_args.kwargs["environment"][ENVIRONMENT])
        assert inside["deadline"] == 90.0
        assert engine.containers.create.return_value.wait.call_args.kwargs["timeout"] == 100.0

    def test_is_removed_when_it_breaks(self, engine):
        left_over, container = MagicMock(), MagicMock()
        engine.containers.get.side_effect = [left_over, container]
        engine.containers.create.return_value.start.side_effect = KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt):
            runner.verify(expected(), print)
        left_over.remove.assert_called_once_with(force=True)
        container.remove.assert_called_once_with(force=True)

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            (ImageNotFound("no such image"), "image sha256:1f is not on this Docker host"),
            (APIError("400", explanation="bind source path does not exist: /x"), "/x"),
            (requests.ConnectionError("refused."), "Docker does not answer: refused. Start it"),
        ],
    )
    def test_that_cannot_be_made_is_a_failed_check(self, engine, error, sentence):
        engine.containers.create.side_effect = error
        result = runner.verify(expected(), print)
        assert not result.ok
        assert sentence in result.failures[0].detail

    def test_without_a_report_is_a_failed_check(self, engine):
        engine.containers.create.return_value.logs.side_effect = lambda stream=False, **_: iter(()) if stream else b"oh"
        assert "without a report: oh" in runner.verify(expected(), print).failures[0].detail


class TestMarimo:
    @pytest.mark.parametrize(
        ("answer", "result", "detail"),
        [
            (
                (0, (report(check("connect", "pass", "ray://ray-cpu:10001")).model_dump_json().encode(), b"")),
                "pass",
                "ray://",
            ),
            (
                (1, (report(check("connect", "fail", "no head")).model_dump_json().encode(), b"")),
                "fail",
                "connect: no head",
            ),
            ((124, (None, b"first\nlast")), "fail", "exit code 124: last"),
        ],
    )
    def test_check_says_what_happened_inside(self, answer, result, detail):
        engine = MagicMock()
        engine.containers.get.return_value.exec_run.return_value = answer
        outcome = runner.marimo_connects(engine, expected(), Service(url="http://m", container="cslr-dev-marimo"), 60.0)
        assert (outcome.result, outcome.container) == (result, "cslr-dev-marimo")
        assert detail in outcome.detail

    def test_program_fits_into_one_argument(self):
        assert len(runner.SOURCE.read_bytes()) < 128 * 1024  # MAX_ARG_STRLEN of Linux


class TestCommand:
    def test_follows_the_lines_that_the_client_marks(self):
        assert verify_cluster.PROGRESS.encode() == runner.PROGRESS

    @pytest.mark.parametrize(
        ("text", "sentence"), [(None, "is not set"), ("{}", "project: Field required"), ("[", "Invalid JSON")]
    )
    def test_refuses_a_wrong_call_in_one_sentence(self, monkeypatch, capsys, text, sentence):
        monkeypatch.setattr("sys.argv", ["verification"])
        monkeypatch.delenv(ENVIRONMENT, raising=False)
        if text is not None:
            monkeypatch.setenv(ENVIRONMENT, text)
        assert command.main() == command.WRONG_CALL
        assert sentence in capsys.readouterr().err

    def test_stdout_is_exactly_one_json_and_stderr_names_the_failure(self, monkeypatch, capsys, engine):
        answers(engine, report(check("nodes_alive", "fail", "ray-gpu is not alive", "cslr-dev-ray-gpu")))
        monkeypatch.setattr("sys.argv", ["verification"])
        monkeypatch.setenv(ENVIRONMENT, expected(marimo=None).model_dump_json())
        assert command.main() == command.FAILED
        captured = capsys.readouterr()
        assert not json.loads(captured.out)["ok"]
        assert "nodes_alive failed: ray-gpu is not alive" in captured.err
        assert "cslr-dev-ray-gpu" in captured.err

    def test_where_a_record_is_kept_stdout_is_a_sentence(self, monkeypatch, capsys, engine, tmp_path):
        answers(engine, report(check("connect", "pass"), check("nodes_alive", "pass"), check("gpu_training", "skip")))
        monkeypatch.setattr("sys.argv", ["verification"])
        monkeypatch.setenv(ENVIRONMENT, expected(marimo=None).model_dump_json())
        monkeypatch.setenv(record.ENVIRONMENT, str(tmp_path / "stack" / record.FILE))
        assert command.main() == command.PASSED
        assert capsys.readouterr().out == "2 of 2 passed\n"
        kept = record.Record.read(tmp_path / "stack" / record.FILE)
        assert kept
        assert kept.spec == expected(marimo=None)
        assert kept.report
        assert [one.name for one in kept.report.checks][:2] == ["connect", "nodes_alive"]

    def test_one_that_comes_to_no_end_leaves_no_earlier_result(self, monkeypatch, engine, tmp_path):
        path = tmp_path / record.FILE
        record.Record(spec=expected(), report=report(check("connect", "pass"))).write(path)
        monkeypatch.setattr("sys.argv", ["verification"])
        monkeypatch.setenv(ENVIRONMENT, expected().model_dump_json())
        monkeypatch.setenv(record.ENVIRONMENT, str(path))
        monkeypatch.setattr(command, "verify", MagicMock(side_effect=KeyboardInterrupt))
        assert command.main() == command.INTERRUPTED
        assert record.Record.read(path) == record.Record(spec=expected())

    def test_the_health_service_is_told_the_result_and_no_more(self, tmp_path):
        path = tmp_path / "stack" / record.FILE
        kept = report(check("connect", "pass"), check("resources", "fail"), check("gpu_training", "skip"))
        record.Record(spec=expected(), report=kept).write(path)
        told = json.loads((tmp_path / "stack" / "facts" / "verification.json").read_text())
        assert (told["passed"], told["failed"]) == (1, 1)
        assert set(told) == {"time", "passed", "failed"}
        assert (tmp_path / "stack" / "facts").stat().st_mode & 0o777 == 0o755
        assert (tmp_path / "stack").stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": {}}', '{"spec": 1, "report": 2}'])
    def test_a_record_of_another_version_is_none(self, tmp_path, text):
        (tmp_path / record.FILE).write_text(text)
        assert record.Record.read(tmp_path / record.FILE) is None

    def test_docker_that_hangs_ends_with_the_deadline(self, monkeypatch, capsys, engine):
        engine.containers.create.side_effect = lambda *_, **__: time.sleep(30)
        monkeypatch.setattr("sys.argv", ["verification", "--quiet"])
        monkeypatch.setattr(command, "MARGIN", 0.1)
        monkeypatch.setenv(ENVIRONMENT, expected(deadline=0.1).model_dump_json())
        assert command.main() == command.FAILED
        assert "before the deadline" in json.loads(capsys.readouterr().out)["checks"][0]["detail"]
