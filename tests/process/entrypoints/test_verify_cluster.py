"""The checks of verify_cluster.py, against faulty services."""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from contracts.ray_nodes import NODE_LABEL
from contracts.status import SCHEMA_VERSION
from entrypoints import verify_cluster as program
from entrypoints.verify_cluster import Check, CheckFailed, NotYet, Session
from verification.spec import VerificationSpec

GIB = 2**30
NODE: Any = SimpleNamespace(name="ray-cpu", container="cslr-dev-ray-cpu", cpus=2.0, gpus=0, memory=4 * GIB, torch=True)
LISTED = {"CPU": 2.0, "memory": 2.5 * GIB, "object_store_memory": 1.2 * GIB}
TOKEN = "let-me-in"
Answer = tuple[int, Any]
OPEN: Answer = (200, {})
CLOSED: Answer = (401, {"error": "no token"})


def session(**changes: Any) -> Session:
    parts = dict.fromkeys(("mlflow", "marimo", "health", "exporter", "prometheus", "queue", "devel", "transcription"))
    values: dict[str, Any] = {"nodes": [NODE], "settle": 0.0, **parts}
    heads = SimpleNamespace(hosts=["127.0.0.1"], dashboard_port=8265, client_port=10001, container=None, patience=0.0)
    spec: Any = SimpleNamespace(**{"heads": heads, **values, **changes})
    return Session(spec=spec, deadline=time.monotonic() + 30, ray_token=TOKEN, marimo_token=TOKEN)


def check(run: Any, **changes: Any) -> Check:
    return Check(**{"name": "sample", "run": run, "attempt": 5.0, "part": "ray", **changes})


class Server(http.server.ThreadingHTTPServer):
    """Answers from a table: (method, path) → answer without a token, answer with it; keeps what is PUT."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[tuple[str, str], tuple[Answer, Answer]] = {}

    def always(self, method: str, path: str, status: int, content: Any) -> None:
        self.answers[method, path] = ((status, content), (status, content))


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        answers = self.server.answers.get((self.command, self.path.partition("?")[0]), ((404, {}), (404, {})))
        status, content = answers[known]
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestResources:
    def test_as_configured_are_right(self):
        assert not list(program.resource_errors(NODE, LISTED, NODE.memory))
        assert not list(program.resource_errors(NODE, LISTED, None)), "a Docker that cannot limit memory"

    @pytest.mark.parametrize(
        ("listed", "limit", "complaint"),
        [
            ({**LISTED, "CPU": 16.0}, 4 * GIB, "16 CPUs instead of 2"),
            ({**LISTED, "GPU": 1.0}, 4 * GIB, "1 GPUs instead of 0"),
            ({**LISTED, "memory": 60 * GIB}, 4 * GIB, "Ray uses"),
            ({"CPU": 2.0}, 4 * GIB, "Ray uses 0 MiB"),
            (LISTED, 8 * GIB, "limited to 8192 MiB instead of 4096 MiB"),
        ],
    )
    def test_that_differ_are_named(self, listed, limit, complaint):
        assert complaint in "; ".join(program.resource_errors(NODE, listed, limit))

    def test_all_gpus_means_at_least_one(self):
        node: Any = SimpleNamespace(**{**vars(NODE), "gpus": None})
        assert "0 GPUs instead of at least 1" in list(program.resource_errors(node, LISTED, None))
        assert not list(program.resource_errors(node, {**LISTED, "GPU": 3.0}, None))


class TestVersions:
    expected: ClassVar = {
        "ray": "2.60.0",
        "python": None,
        "torch": "2.13.0",
        "torch_cuda": "13.0",
        "torch_geometric": "2.8.1",
    }

    def test_build_of_torch_does_not_matter(self):
        facts = {"ray": "2.60.0", "torch": "2.13.0+cu130", "torch_cuda": "13.0", "torch_geometric": "2.8.1"}
        assert not list(program.version_errors(self.expected, facts))

    def test_node_without_torch_is_not_asked_for_it(self):
        assert not list(program.version_errors(self.expected, {"ray": "2.60.0", "python": "3.14"}))

    @pytest.mark.parametrize(
        ("facts", "complaint"),
        [
            ({"ray": "2.59.0"}, "ray 2.59.0 instead of 2.60.0"),
            ({"torch": "2.13.1"}, "torch 2.13.1 instead of 2.13.0"),
            ({"torch_cuda": None}, "torch_cuda None instead of 13.0"),
        ],
    )
    def test_another_version_is_named(self, facts, complaint):
        assert list(program.version_errors(self.expected, facts)) == [complaint]

    def test_nodes_must_have_the_same(self):
        found = {"ray-cpu": {"python": "3.13", "torch": "2.13.0+cpu"}, "ray-gpu": {"python": "3.14"}}
        assert list(program.version_differences(found)) == ["python differs: ray-cpu has 3.13, ray-gpu has 3.14"]


class TestTraining:
    def test_that_learns_nothing_fails(self):
        with pytest.raises(CheckFailed, match="no learning"):
            program.require_learning([{"name": "CPU", "first": 1.4, "last": 1.3}])

    def test_that_diverges_fails(self):
        with pytest.raises(CheckFailed, match="no learning"):
            program.require_learning([{"name": "CPU", "first": 1.4, "last": float("nan")}])


class TestGpuTraining:
    trained: ClassVar = {"device": "cuda", "name": "H100", "first": 1.4, "last": 0.1}

    def train(self, monkeypatch: pytest.MonkeyPatch, *results: dict[str, Any]) -> str:
        """As if a node with two GPUs had answered so."""
        node: Any = SimpleNamespace(**{**vars(NODE), "gpus": 2})
        asked = session(nodes=[node])
        asked.listed = {node.name: {"Resources": {**LISTED, "GPU": 2.0}}}
        monkeypatch.setattr(program, "submit", lambda *_, num_gpus: num_gpus)
        monkeypatch.setattr(program, "collect", lambda *_: {node.name: list(results)})
        return program.gpu_training(asked)

    def test_on_every_gpu_passes(self, monkeypatch):
        assert self.train(monkeypatch, self.trained, self.trained).count("H100") == 2

    def test_torch_that_misses_a_gpu_fails(self, monkeypatch):
        with pytest.raises(CheckFailed, match="torch sees 1 GPUs, Ray 2"):
            self.train(monkeypatch, self.trained)

    def test_on_the_processor_fails(self, monkeypatch):
        with pytest.raises(CheckFailed, match="on cpu instead of cuda"):
            self.train(monkeypatch, {**self.trained, "device": "cpu"}, self.trained)


def hang(_: Session) -> str:
    time.sleep(2)
    return "too late"


def in_turn(*answers: str | Exception) -> Callable[[Session], str]:
    """A check that raises or returns these, one at each attempt."""
    left = iter(answers)

    def run(_: Session) -> str:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return run


class TestRepeating:
    def test_goes_on_while_the_platform_settles(self):
        run = in_turn(NotYet("starting"), ConnectionError("moved"), "ready")
        assert program.perform(session(settle=30.0), check(run)) == "ready"

    def test_a_head_that_other_hosts_bring_up_is_waited_for_and_that_is_said(self, monkeypatch, capsys):
        monkeypatch.setattr(program, "WAITING_EVERY", 0.0)
        patient = check(in_turn(NotYet("no Ray head answers"), "ready"), finds_head=True)
        assert program.perform(session(heads=SimpleNamespace(patience=30.0)), patient) == "ready"
        assert "verify: still waiting for sample after 0 s: no Ray head answers" in capsys.readouterr().err

    def test_nothing_else_waits_for_so_long(self):
        impatient = check(in_turn(NotYet("no node")))
        with pytest.raises(NotYet, match="no node"):
            program.perform(session(heads=SimpleNamespace(patience=30.0)), impatient)

    def test_stops_at_what_waiting_cannot_change(self):
        calls = []

        def run(_):
            calls.append(1)
            raise CheckFailed("wrong version")

        with pytest.raises(CheckFailed, match="wrong version"):
            program.perform(session(settle=30.0), check(run))
        assert len(calls) == 1

    def test_a_check_that_hangs_is_left(self):
        with pytest.raises(CheckFailed, match="no answer within"):
            program.perform(session(), check(hang, attempt=0.1))

    def test_nothing_outlives_the_deadline(self):
        began, hurried = time.monotonic(), session(settle=60.0)
        hurried.deadline = began + 0.5
        with pytest.raises(CheckFailed):
            program.perform(hurried, check(hang))
        assert time.monotonic() - began < 2

    def test_what_failed_is_not_replaced_by_the_end_of_the_time(self, monkeypatch):
        def run(_):
            time.sleep(0.1)
            raise NotYet("starting")

        monkeypatch.setattr(program, "RETRY_EVERY", 1.0)
        hurried = session(settle=60.0)
        hurried.deadline = time.monotonic() + 1.5
        with pytest.raises(CheckFailed, match="starting"):
            program.perform(hurried, check(run))

    def test_a_check_without_time_is_not_run(self):
        late = session(deadline=300.0)
        late.deadline = time.monotonic()
        earlier = program.run_check(late, check(hang), {"before": "fail"})
        assert (earlier.result, earlier.detail) == ("skip", "not run: the 300 s for all checks were over")
        # Where nothing else failed, it fails, since not everything was verified.
        assert program.run_check(late, check(hang), {"before": "pass"}).result == "fail"

    def test_a_failure_names_the_container_to_look_into(self):
        def run(_):
            raise CheckFailed("gone", "cslr-dev-ray-gpu")

        assert program.run_check(session(), check(run), {}).container == "cslr-dev-ray-gpu"
        assert program.run_check(session(), check(lambda _: "fine"), {}).container == NODE.container

    def test_a_missing_head_is_explained_by_the_gateway_of_this_host(self):
        heads = SimpleNamespace(hosts=["10.88.0.2"], container="cslr-beta-ray-gateway")
        assert program.run_check(session(heads=heads), check(lambda _: "fine"), {}).container == heads.container


class TestNodes:
    @pytest.fixture
    def listed(self, monkeypatch) -> list[dict[str, Any]]:
        """What Ray lists, to be filled in."""
        nodes: list[dict[str, Any]] = []
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(nodes=lambda: nodes))
        return nodes

    @staticmethod
    def node(name: str, *resources: str, alive: bool = True) -> dict[str, Any]:
        labels = {program.NODE_LABEL: name}
        return {
            "Labels": labels,
            "Alive": alive,
            "Resources": dict.fromkeys(resources, 1.0),
            "NodeManagerHostname": "x",
        }

    def test_of_other_hosts_are_allowed_where_they_belong_to_the_cluster(self, listed):
        listed += [self.node("ray-cpu"), self.node("beta-ray-cpu")]
        assert program.nodes_alive(session(other_nodes=True)) == "beta-ray-cpu, ray-cpu"
        with pytest.raises(NotYet, match="beta-ray-cpu is alive in the cluster but does not belong to this stack"):
            program.nodes_alive(session(other_nodes=False))

    def test_head_is_found_wherever_it_is(self, listed):
        listed += [self.node("ray-cpu"), self.node("beta-ray-head", program.HEAD_RESOURCE)]
        asked = session(other_nodes=True)
        assert program.nodes_alive(asked) == "beta-ray-head (head), ray-cpu"
        assert program.verify(asked, [])["head"] == "beta-ray-head"

    def test_a_former_life_of_a_node_may_still_be_listed_for_a_while(self, listed):
        listed += [self.node("ray-cpu"), self.node("ray-cpu")]
        with pytest.raises(NotYet, match="more than once"):
            program.nodes_alive(session(other_nodes=True))
        listed[0]["Alive"] = False
        assert program.nodes_alive(session(other_nodes=True)) == "ray-cpu"


class TestJob:
    def test_one_whose_head_moved_is_submitted_again(self, server):
        server.always("POST", "/api/jobs/", 200, {"submission_id": "job-1"})
        server.always("GET", "/api/jobs/job-1", 200, {"status": "FAILED", "message": "its supervisor died"})
        server.always("GET", "/api/jobs/job-1/logs", 200, {"logs": ""})
        asked = session(heads=SimpleNamespace(dashboard_port=server.server_port, patience=0.0))
        asked.head = "127.0.0.1"
        with pytest.raises(NotYet, match="ended as FAILED: its supervisor died"):
            program.job_submission(asked)


class TestExplanation:
    def test_of_a_remote_traceback_is_its_end(self):
        assert program.explain(ConnectionError("failed:\nTraceback (most recent call last):\n  x\nOSError: gone")) == (
            "ConnectionError: OSError: gone"
        )

    def test_of_a_message_in_lines_is_all_of_it(self):
        mismatch = "Version mismatch: cluster:\n    Ray: 2.60.0\n    Python: 3.14.1"
        assert program.explain(RuntimeError(mismatch)).endswith("cluster: Ray: 2.60.0 Python: 3.14.1")


class TestTable:
    def test_each_row_refers_to_what_exists(self):
        names = [row.name for row in program.CHECKS]
        for position, row in enumerate(program.CHECKS):
            assert row.part in program.PARTS
            assert row.container == "head" or row.container in VerificationSpec.model_fields
            assert row.after is None or row.after in names[:position]

    def test_stack_without_gpu_skips_and_says_so(self):
        row = next(row for row in program.CHECKS if row.name == "gpu_training")
        outcome = program.run_check(session(), row, {"task_on_each_node": "pass"})
        assert (outcome.result, outcome.detail) == ("skip", "no GPU in this stack")

    def test_what_needs_a_failed_check_is_skipped(self):
        row = next(row for row in program.CHECKS if row.name == "versions")
        outcome = program.run_check(session(), row, {"task_on_each_node": "fail"})
        assert (outcome.result, outcome.detail) == ("skip", "not run, because task_on_each_node did not pass")

    def test_stack_without_ray_checks_the_rest(self):
        bare = session(nodes=[], heads=None)
        results = {row.name: program.run_check(bare, row, {}).result for row in program.CHECKS}
        assert set(results.values()) == {"skip"}

    def test_chosen_checks_bring_what_they_need(self):
        assert [row.name for row in program.selected(["versions"])] == [
            "connect",
            "nodes_alive",
            "task_on_each_node",
            "versions",
        ]

    def test_unknown_check_is_refused(self):
        with pytest.raises(ValueError, match="unknown check gpus; there are connect"):
            program.selected(["gpus"])


class TestDashboard:
    def dashboard(self, server: Server, without_token: Answer) -> str:
        server.answers["GET", "/api/version"] = (without_token, (200, {"ray_version": "2.60.0"}))
        asked = session(heads=SimpleNamespace(dashboard_port=server.server_port, patience=0.0))
        asked.head = "127.0.0.1"
        return program.dashboard(asked)

    def test_that_asks_for_the_token_passes(self, server):
        assert "refuses" in self.dashboard(server, CLOSED)

    def test_open_to_everyone_fails(self, server):
        with pytest.raises(CheckFailed, match="must refuse with 401"):
            self.dashboard(server, OPEN)


class TestHead:
    def test_none_is_waited_for(self, server):
        heads = SimpleNamespace(hosts=["127.0.0.1"], dashboard_port=server.server_port, patience=0.0)
        with pytest.raises(NotYet, match="no Ray head answers"):
            program.find_head(session(heads=heads))

    def test_two_are_a_split_cluster(self, server):
        server.always("GET", "/api/gcs_healthz", 200, {})
        heads = SimpleNamespace(hosts=["127.0.0.1", "localhost"], dashboard_port=server.server_port, patience=0.0)
        with pytest.raises(CheckFailed, match="and localhost both answer as Ray head"):
            program.find_head(session(heads=heads))


class TestMarimo:
    def marimo(self, server: Server, page: Answer, api: Answer) -> str:
        server.always("GET", "/health", 200, {"status": "healthy"})
        server.answers["GET", "/"] = (page, page)
        server.answers["GET", "/api/status"] = (api, (200, {"version": "0.25.2"}))
        return program.marimo_answers(session(marimo=SimpleNamespace(url=server.url)))

    def test_with_a_login_passes(self, server):
        assert "refuses" in self.marimo(server, (303, {}), CLOSED)

    @pytest.mark.parametrize(("page", "api"), [(OPEN, CLOSED), ((303, {}), OPEN)])
    def test_open_to_everyone_fails(self, server, page, api):
        with pytest.raises(CheckFailed, match="anyone on the network can run code"):
            self.marimo(server, page, api)


class TestMlflow:
    API = "/api/2.0/mlflow"
    ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/7/r1/artifacts/proof.txt"

    @pytest.fixture
    def mlflow(self, server):
        root = "mlflow-artifacts:/7/r1/artifacts"
        server.always("GET", f"{self.API}/experiments/get-by-name", 404, {})
        server.always("POST", f"{self.API}/experiments/create", 200, {"experiment_id": "7"})
        server.always("POST", f"{self.API}/runs/create", 200, {"run": {"info": {"run_id": "r1", "artifact_uri": root}}})
        server.always("POST", f"{self.API}/runs/log-batch", 200, {})
        server.always("POST", f"{self.API}/runs/update", 200, {})
        server.always("PUT", self.ARTIFACT, 200, {})
        data = {
            "params": [{"key": "verified_by", "value": "verify_cluster"}],
            "metrics": [{"key": "answer", "value": 42.5}],
        }
        server.always("GET", f"{self.API}/runs/get", 200, {"run": {"data": data}})
        server.always("GET", f"{self.API}/artifacts/list", 200, {"files": [{"path": "proof.txt"}]})
        server.always("GET", self.ARTIFACT, 200, b"r1")
        return server

    def test_run_that_reads_back_passes(self, mlflow):
        assert program.keep_mlflow_run(mlflow.url) == "r1"

    @pytest.mark.parametrize(
        ("path", "content", "lost"),
        [
            (ARTIFACT, b"", "artifact"),
            (f"{API}/artifacts/list", {}, "artifact list"),
            (f"{API}/runs/get", {"run": {"data": {}}}, "parameter"),
        ],
    )
    def test_lost_part_is_named(self, mlflow, path, content, lost):
        mlflow.always("GET", path, 200, content)
        with pytest.raises(CheckFailed, match=f"wrote the {lost}"):
            program.keep_mlflow_run(mlflow.url)

    def test_artifacts_beside_the_server_are_refused(self, mlflow):
        info = {"run_id": "r1", "artifact_uri": "/var/lib/mlflow/7/r1"}
        mlflow.always("POST", f"{self.API}/runs/create", 200, {"run": {"info": info}})
        with pytest.raises(CheckFailed, match="not served through MLflow"):
            program.keep_mlflow_run(mlflow.url)


class TestTaskOnANode:
    def test_that_the_scheduler_does_not_know_names_the_node_and_a_remedy(self, monkeypatch):
        import ray

        def refuse(*_: Any, **__: Any) -> None:
            raise ray.exceptions.TaskUnschedulableError("lease_id=00")

        monkeypatch.setattr(ray, "wait", lambda work, **_: (work, []))
        monkeypatch.setattr(ray, "get", refuse)
        asked = session()
        asked.listed, asked.leader = {"ray-cpu": {"NodeID": "5f89"}}, "beta-ray-head"
        with pytest.raises(Exception, match=r"ray-cpu is listed as alive \(node ID 5f89\).*beta-ray-head.*restart"):
            program.collect(asked, {"ray-cpu": "reference"}, 1.0, "run a task")


class TestWhatANodeDoes:
    """Checks of what people do on nodes: as if the first node had answered so to the tasks, in this order."""

    @pytest.fixture
    def answers(self, monkeypatch) -> list[Any]:
        """The answers that are still to be given; an exception is raised. What is submitted is not run."""
        answers: list[Any] = []

        def collect(_, work: dict[str, Any], *__: Any) -> dict[str, Any]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return dict.fromkeys(work, answer)

        monkeypatch.setattr(program, "submit", lambda *_, **__: None)
        monkeypatch.setattr(program, "collect", collect)
        return answers

    @staticmethod
    def outcome(name: str) -> tuple[str, str]:
        row = next(row for row in program.CHECKS if row.name == name)
        asked = session(mlflow=SimpleNamespace(url="http://mlflow:5000", container="cslr-dev-mlflow"))
        done = program.run_check(asked, row, {"task_on_each_node": "pass"})
        return done.result, done.detail

    @pytest.mark.parametrize(
        ("check", "module"), [("mlflow_model", "mlflow"), ("data_loader", "torch"), ("runtime_env_package", "uv")]
    )
    def test_is_skipped_where_the_image_lacks_what_it_takes(self, answers, check, module):
        answers.append([module])
        assert self.outcome(check) == ("skip", f"the image of ray-cpu has no {module}")

    def test_model_that_comes_back_passes(self, answers):
        answers += [[], "models:/m-1"]
        result, detail = self.outcome("mlflow_model")
        assert (result, detail[:11]) == ("pass", "models:/m-1")

    def test_model_that_cannot_be_logged_fails_with_the_reason(self, answers):
        answers += [
            [],
            CheckFailed("ray-cpu could not log a torch model: ModuleNotFoundError: No module named 'scipy'"),
        ]
        result, detail = self.outcome("mlflow_model")
        assert result == "fail"
        assert "scipy" in detail

    def test_batches_in_order_pass(self, answers):
        answers += [[], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]
        assert self.outcome("data_loader")[0] == "pass"

    @pytest.mark.parametrize("means", [[], [0.0, 1.0], [0.0, 1.0, 2.0, 3.0, 5.0, 4.0]])
    def test_batches_that_lack_or_are_mixed_fail(self, answers, means):
        answers += [[], means]
        assert self.outcome("data_loader")[0] == "fail"

    @pytest.fixture
    def version(self, monkeypatch) -> str:
        monkeypatch.setattr("time.time_ns", lambda: 7)
        return "1.7"

    def test_own_package_passes(self, answers, version):
        answers += [[], "/tmp/wheel", version]
        assert self.outcome("runtime_env_package")[0] == "pass"

    def test_another_version_of_the_package_fails(self, answers, version):
        answers += [[], "/tmp/wheel", "1.6"]
        result, detail = self.outcome("runtime_env_package")
        assert (result, detail) == ("fail", "ray-cpu: 1.7 of a package was asked for, but the task imported 1.6")

    def test_wheel_can_be_imported(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        wheel = program.make_wheel("cslr_verified_here", "1.7")
        assert [path for path in tmp_path.rglob("*.whl") if str(path) == wheel]
        monkeypatch.syspath_prepend(wheel)
        assert program.use_package("cslr_verified_here") == "1.7"
        program.remove_wheel(wheel)
        assert not list(tmp_path.iterdir())

    def test_what_a_node_lacks_is_named(self):
        assert program.lacking(["json", "no_such_module"]) == ["no_such_module"]


class TestHealth:
    def health(self, server: Server, code: int, nodes: list[tuple[str, str, bool]]) -> str:
        listed = [{"name": name, "node_id": node_id, "alive": alive} for name, node_id, alive in nodes]
        services = [{"name": "redis", "state": "up" if code == 200 else "down", "error": "refused"}]
        ray = {"nodes": listed, "error": None}
        status = {"schema_version": SCHEMA_VERSION, "state": "healthy", "services": services, "ray": ray}
        server.always("GET", "/status", 200, status)
        server.always("GET", "/health", code, {})
        asked = session(health=SimpleNamespace(url=server.url))
        asked.listed = {"ray-cpu": {"NodeID": "a1"}}
        return program.health_agrees(asked)

    def test_that_sees_the_same_nodes_passes(self, server):
        assert "1 Ray nodes" in self.health(server, 200, [("ray-cpu", "a1", True), ("ray-cpu", "a0", False)])

    def test_that_sees_a_node_of_another_host_which_came_since_passes(self, server):
        assert "2 Ray nodes" in self.health(server, 200, [("ray-cpu", "a1", True), ("beta-ray-cpu", "b1", True)])

    def test_that_misses_a_node_fails(self, server):
        with pytest.raises(NotYet, match="sees the Ray nodes none; Ray itself lists ray-cpu"):
            self.health(server, 200, [("ray-cpu", "a1", False)])

    def test_unhealthy_platform_fails_with_the_service(self, server):
        with pytest.raises(NotYet, match="answered 503: redis: refused"):
            self.health(server, 503, [("ray-cpu", "a1", True)])

    def test_of_another_version_fails_and_says_so(self, server):
        server.always("GET", "/status", 200, {"state": "healthy", "services": [], "ray": {"head": None}})
        with pytest.raises(NotYet, match="has version None of its schema, not 1: another platform's"):
            program.health_agrees(session(health=SimpleNamespace(url=server.url)))


class TestPrometheus:
    def collects(self, server: Server, *targets: dict[str, Any]) -> str:
        server.always("GET", "/api/v1/targets", 200, {"data": {"activeTargets": list(targets)}})
        server.always("GET", "/api/v1/rules", 200, {"data": {"groups": [{"rules": [{}, {}]}]}})
        return program.prometheus_collects(session(prometheus=SimpleNamespace(url=server.url)))

    def target(self, job: str, health: str = "up", pool: str = "discovered", **labels: str) -> dict[str, Any]:
        return {"labels": {"job": job, **labels}, "scrapePool": pool, "health": health, "lastError": "refused"}

    def test_that_gets_all_figures_passes(self, server):
        node = self.target("ray", node="ray-cpu")
        elsewhere = self.target("ray", "down", node="beta-ray-cpu")
        assert self.collects(server, self.target("health", pool="health"), node, elsewhere) == "2 targets, 2 alerts"

    def test_that_gets_none_of_a_service_fails_with_the_reason(self, server):
        with pytest.raises(NotYet, match="gets no figures from health: refused"):
            self.collects(server, self.target("health", "down", "health"), self.target("ray", node="ray-cpu"))

    def test_that_does_not_know_a_node_yet_fails(self, server):
        with pytest.raises(NotYet, match="does not know ray-cpu"):
            self.collects(server, self.target("health", pool="health"))


class TestQueue:
    PATH = "/api/v1/queue"

    def knows(self, server: Server, *nodes: dict[str, Any], stranger: int = 401, ray: str | None = None) -> str:
        said = {"ray_answers": ray is None, "ray_message": ray}
        view: dict[str, Any] = {**said, "nodes": nodes, "running": [{}], "waiting": []}
        server.answers["GET", self.PATH] = ((stranger, {}), (200, view))
        return program.queue_knows_nodes(session(queue=SimpleNamespace(url=server.url)))

    def test_that_knows_the_nodes_passes(self, server):
        said = self.knows(server, {"name": "ray-cpu", "up": True}, {"name": "beta-ray-cpu", "up": False})
        assert said == "1 nodes, 1 jobs run and 0 wait; refuses requests without the token"

    def test_that_lets_strangers_in_fails(self, server):
        with pytest.raises(CheckFailed, match="answered 200 without a token"):
            self.knows(server, stranger=200)

    def test_that_has_a_node_that_is_down_fails(self, server):
        with pytest.raises(NotYet, match="does not know ray-cpu"):
            self.knows(server, {"name": "ray-cpu", "up": False})

    def test_that_ray_does_not_answer_yet_fails_with_the_reason(self, server):
        with pytest.raises(NotYet, match="Ray does not answer the queue: refused"):
            self.knows(server, ray="refused")


class TestDevel:
    def greeted(self, greeting: bytes) -> str:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def greet() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(greeting)

            thread = threading.Thread(target=greet)
            thread.start()
            try:
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                return program.ssh_greets(
                    session(devel=SimpleNamespace(url=url, keys=["ann SHA256:1", "ben SHA256:2"]))
                )
            finally:
                thread.join()

    def test_that_greets_as_an_ssh_server_passes_with_who_may_log_in(self):
        assert self.greeted(b"SSH-2.0-OpenSSH_10.6p1 Debian-1\r\n") == "OpenSSH_10.6p1 Debian-1, 2 keys may log in"

    @pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n", b"", b"x" * 9000])
    def test_that_is_something_else_fails(self, greeting):
        with pytest.raises(NotYet, match="not as an SSH server"):
            self.greeted(greeting)


class TestOwnFile:
    """The program imports nothing of ours, so it repeats what it shares."""

    def test_repeats_the_version_of_the_report(self):
        assert program.STATUS_VERSION == SCHEMA_VERSION

    def test_repeats_the_label_of_nodes(self):
        assert program.NODE_LABEL == NODE_LABEL

    def test_imports_nothing_of_ours_when_it_runs(self):
        script = "import sys, runpy; runpy.run_path(sys.argv[1]); print(*sys.modules)"
        command = [sys.executable, "-I", "-c", script, program.__file__]
        loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert {"contracts", "verification", "pydantic"}.isdisjoint(loaded)
