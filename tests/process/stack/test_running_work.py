"""Running work on a stack, from stand-ins for Ray's dashboard and Marimo, and the messages if they do not answer."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from contracts.document import SETTINGS_VARIABLE, dump
from contracts.ray_node import GuardSettings
from stack import running_work
from stack.running_words import in_words, line, listed, warning
from stack.running_work import Deployed, Kind, RunningWork, Work, asked

NOW = 1_800_000_000.0
HEAD_NODE, GPU_NODE, OTHER_NODE = "a" * 8, "b" * 8, "c" * 8


def job(status: str = "RUNNING", name: str = "raysubmit_x", command: str = "python train.py", **more: Any) -> Any:
    return {
        "type": "SUBMISSION", "submission_id": name, "job_id": None, "status": status, "entrypoint": command,
        "start_time": int((NOW - 720) * 1000), "driver_node_id": HEAD_NODE, **more,
    }  # fmt: skip


def driver(command: str, number: int = 5, status: str = "RUNNING") -> Any:
    return {
        "type": "DRIVER", "submission_id": None, "job_id": f"0{number}000000", "status": status, "entrypoint": command,
        "start_time": int((NOW - 180) * 1000), "driver_info": {"node_ip_address": "10.0.0.10"}, "driver_node_id": None,
    }  # fmt: skip


CLIENT = "/opt/venv/bin/python -m ray.util.client.server --mode=specific-server"


def node(identifier: str, name: str, *, head: bool = False, address: str = "10.0.0.10") -> Any:
    return {
        "node_id": identifier, "state": "ALIVE", "is_head_node": head, "node_ip": address,
        "labels": {"cslr.node": name},
    }  # fmt: skip


def actor(name: str, at: str = HEAD_NODE, *, detached: bool = True) -> Any:
    return {
        "actor_id": f"id-{name}", "name": name, "class_name": "Model", "node_id": at, "is_detached": detached,
        "state": "ALIVE",
    }  # fmt: skip


class Answers:
    """An HTTP server with the answers of Ray's dashboard and of Marimo."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.dead: set[str] = set()  # submission IDs of jobs whose supervisor is
        self.states: dict[str, list[Any]] = {
            "nodes": [node(HEAD_NODE, "ray-cpu", head=True)],
            "actors": [],
            "tasks": [],
            "workers": [],
        }
        self.sessions: Any = {}
        self.runs: Any = []
        self.code = 200
        self.delays: list[float] = []  # of the next answers
        self.asked: list[str] = []
        self.hosts: list[str] = []
        self.authorizations: set[str] = set()

    def to(self, path: str) -> Any:
        parts = urlsplit(path)
        what = parts.path.rpartition("/")[2]
        if what in self.states:
            wanted = parse_qs(parts.query).get("filter_values", [""])[0]
            there = [*self.states[what], *(self.supervisors() if what == "actors" else ())]
            found = [entry for entry in there if wanted in ("", entry.get("state"), entry.get("worker_type"))]
            return {"data": {"result": {"result": found}}}
        if parts.path.endswith("/mlflow/experiments/search"):
            return {"experiments": [{"experiment_id": "0"}]}
        if parts.path.endswith("/mlflow/runs/search"):
            return {"runs": self.runs}
        return {"/api/jobs/": self.jobs, "/api/sessions": self.sessions}.get(parts.path)

    def supervisors(self) -> Iterator[Any]:
        """The actors in which the submitted jobs run."""
        for entry in self.jobs if isinstance(self.jobs, list) else ():
            name = entry["submission_id"]
            if name and entry["status"] == "RUNNING":
                supervisor = actor(f"_ray_internal_job_actor_{name}")
                yield {**supervisor, "state": "DEAD" if name in self.dead else "ALIVE"}


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def server(answers) -> Iterator[str]:
    """Its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(answers.delays.pop() if answers.delays else 0)
            answers.asked.append(self.path)
            answers.hosts.append(self.headers["Host"])
            answers.authorizations.add(self.headers["Authorization"])
            body = json.dumps(answers.to(self.path)).encode()
            with contextlib.suppress(OSError):
                self.send_response(answers.code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()


Container = Callable[..., Deployed]


@pytest.fixture
def container(server, tmp_path) -> Container:
    """Makes a container of the stack, which is reached at the server."""
    for secret in ("ray-token", "marimo-token"):
        (tmp_path / secret).write_text(f"the-{secret}\n")

    def make(service: str = "ray-cpu", at: str = server, **fields: Any) -> Deployed:
        return Deployed(**{
            "service": service, "name": f"cslr-dev-{service}", "running": True, "healthy": True,
            "env": {"RAY_NODE_NAME": service}, "ports": {8265: at, 8080: at, 5000: at},
            "mounts": {f"/run/secrets/{name}": str(tmp_path / name) for name in ("ray-token", "marimo-token")},
            **fields,
        })  # fmt: skip

    return make


def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


hanging = pytest.fixture(silent, name="hanging")


def kinds(found: RunningWork) -> list[tuple[str, str, str]]:
    return [(work.kind.value, work.what or work.identifier, work.node) for work in found.works]


class TestRay:
    def test_jobs_drivers_and_clients_that_run(self, answers, container):
        answers.jobs = [
            job(), job("PENDING", "raysubmit_y"), job("SUCCEEDED", "old"), job("FAILED", "older"), job("STOPPED", "o"),
            driver(CLIENT), driver(CLIENT, 4, "SUCCEEDED"), driver("python interactive.py", 6),
        ]  # fmt: skip
        found = asked((container(),))
        assert [(work.kind.value, work.identifier) for work in found.works] == [
            ("job", "raysubmit_x"), ("job", "raysubmit_y"), ("client", "05000000"), ("driver", "06000000"),
        ]  # fmt: skip
        assert {work.node for work in found.works} == {"ray-cpu"}
        assert found.head == "ray-cpu"
        assert found.not_asked == {}

    def test_a_job_that_ended_with_an_earlier_head_does_not_run(self, answers, container):
        answers.jobs = [job(name="lives"), job(name="dead"), job("PENDING", "begins")]
        answers.dead = {"dead"}
        found = asked((container(),)).works
        assert [work.identifier for work in found] == ["lives", "begins"]

    def test_where_not_all_actors_are_told_each_job_counts(self, answers, container, monkeypatch):
        monkeypatch.setattr(running_work, "MOST_ENTRIES", 1)
        answers.jobs, answers.dead = [job(name="lives"), job(name="dead")], {"dead"}
        assert len(asked((container(),)).works) == 2

    def test_actors_that_outlive_their_drivers_and_none_of_rays_own(self, answers, container):
        answers.states["actors"] = [
            actor("counter"), actor("of a job", detached=False), actor("_ray_internal_job_actor_raysubmit_x"),
        ]  # fmt: skip
        found = asked((container(),)).works
        assert [(work.what, work.part) for work in found] == [("counter", False), ("of a job", True)]

    def test_where_each_runs_is_known_on_a_host_with_two_nodes(self, answers, container):
        answers.states["nodes"] += [node(GPU_NODE, "ray-gpu", address="10.0.0.11"), node(OTHER_NODE, "ray-old")]
        answers.states["tasks"] = [
            {"task_id": "1", "name": "train", "node_id": GPU_NODE, "state": "RUNNING", "type": "NORMAL_TASK"},
            {"task_id": "2", "name": "Model.run", "node_id": GPU_NODE, "state": "RUNNING", "type": "ACTOR_TASK"},
            {"task_id": "3", "name": "done", "node_id": GPU_NODE, "state": "FINISHED", "type": "NORMAL_TASK"},
        ]
        answers.jobs = [job(), job(name="elsewhere", command="elsewhere", driver_node_id=OTHER_NODE)]
        found = asked((container(), container("ray-gpu")))
        assert kinds(found) == [
            ("job", "python train.py", "ray-cpu"), ("job", "elsewhere", ""), ("task", "train", "ray-gpu"),
        ]  # fmt: skip

    def test_the_token_is_that_of_the_container(self, answers, container):
        asked((container(),))
        assert answers.authorizations == {"Bearer the-ray-token"}

    @pytest.mark.parametrize("since_0_2_0", [False, True])
    def test_over_several_hosts_the_head_is_found_by_the_gateway(self, answers, container, server, since_0_2_0):
        answers.states["nodes"] = [
            node(HEAD_NODE, "alpha-ray-head", head=True), node(GPU_NODE, "alpha-ray-cpu"),
            node(OTHER_NODE, "beta-ray-cpu"),
        ]  # fmt: skip
        answers.jobs = [job(driver_node_id=GPU_NODE), job(name="y", command="y", driver_node_id=OTHER_NODE)]
        several = {"several_hosts": True, "ports": {}}
        guard = dump(GuardSettings(service="ray-cpu", dashboard=server))
        told = {SETTINGS_VARIABLE: f'{{"guard": {guard}}}'} if since_0_2_0 else {"RAY_NODE_DASHBOARD": server}
        nodes = tuple(
            container(name, env={"RAY_NODE_NAME": f"alpha-{name}", **told}, **several)
            for name in ("ray-cpu", "ray-head")
        )
        found = asked(nodes)
        assert kinds(found) == [("job", "python train.py", "ray-cpu"), ("job", "y", "")]
        assert found.head == "ray-head"
        assert found.several_hosts

    @pytest.mark.parametrize("head_first", [True, False])
    def test_a_driver_on_the_host_of_the_head_is_at_its_worker(self, answers, container, server, head_first):
        nodes = [node(HEAD_NODE, "alpha-ray-head", head=True), node(GPU_NODE, "alpha-ray-cpu")]
        answers.states["nodes"] = nodes if head_first else nodes[::-1]
        answers.jobs = [driver("python interactive.py")]
        told = {SETTINGS_VARIABLE: f'{{"guard": {dump(GuardSettings(service="ray-cpu", dashboard=server))}}}'}
        found = asked(
            tuple(
                container(name, env={"RAY_NODE_NAME": f"alpha-{name}", **told}, several_hosts=True, ports={})
                for name in ("ray-cpu", "ray-head")
            )
        )
        assert kinds(found) == [("driver", "python interactive.py", "ray-cpu")]

    @pytest.mark.parametrize("at", ["ray-cpu", "ray-gpu"])
    def test_a_driver_on_a_host_of_two_nodes_is_at_its_own(self, answers, container, server, at):
        """Both have the host's address, which is all that the list of jobs says."""
        ids = {"ray-head": HEAD_NODE, "ray-cpu": OTHER_NODE, "ray-gpu": GPU_NODE}
        answers.states["nodes"] = [node(ids[name], f"alpha-{name}", head=name == "ray-head") for name in ids]
        answers.jobs = [driver("python interactive.py", 5), driver("python ended.py", 6, "SUCCEEDED")]
        answers.states["workers"] = [
            {"worker_id": f"0{number}000000{'f' * 48}", "worker_type": kind, "node_id": ids[name], "is_alive": alive}
            for number, kind, name, alive in (
                (5, "DRIVER", at, True), (6, "DRIVER", "ray-cpu", False), (7, "WORKER", "ray-head", True),
            )
        ]  # fmt: skip
        told = {SETTINGS_VARIABLE: f'{{"guard": {dump(GuardSettings(service="ray-cpu", dashboard=server))}}}'}
        found = asked(
            tuple(
                container(name, env={"RAY_NODE_NAME": f"alpha-{name}", **told}, several_hosts=True, ports={})
                for name in ids
            )
        )
        assert kinds(found) == [("driver", "python interactive.py", at)]

    def test_ten_thousand_jobs_are_no_matter(self, answers, container):
        answers.jobs = [job(name=f"raysubmit_{number:05}") for number in range(10_000)]
        began = time.monotonic()
        found = asked((container(),))
        assert len(found.works) == 10_000
        assert len(list(listed(found.works))) == 11
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("answer", [None, {}, {"error": "x"}, "text"])
    def test_an_answer_of_another_form_is_no_job(self, answers, container, answer):
        answers.jobs = answer
        assert asked((container(),)).works == ()


class TestSilence:
    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch):
        monkeypatch.setattr(running_work, "SECONDS", 0.2)

    def test_nothing_runs_where_no_container_does(self, answers, container):
        found = asked((container(running=False, healthy=False), container("redis")))
        assert not found
        assert answers.asked == []

    def test_a_dashboard_that_hangs_is_said_within_two_tries(self, container, hanging):
        began = time.monotonic()
        found = asked((container(at=hanging),))
        assert 0.3 < time.monotonic() - began < 2
        assert "Ray's dashboard" in found.not_asked["ray-cpu"]
        assert "does not answer" in found.not_asked["ray-cpu"]
        assert found

    def test_one_that_is_late_once_is_asked_again(self, answers, container):
        answers.delays, answers.jobs = [0.4], [job()]
        assert len(asked((container(),)).works) == 1

    def test_one_of_a_container_that_starts_is_not_waited_for(self, container):
        found = asked((container(at="127.0.0.1:9", healthy=False),))
        assert not found

    def test_nodes_that_wait_for_a_head_run_nothing(self, container):
        waiting = container(at="127.0.0.1:9", idle=True)
        assert not asked((waiting,))
        assert asked((waiting, container("ray-gpu", at="127.0.0.1:9"))).not_asked.keys() == {"ray-gpu"}

    @pytest.mark.parametrize("code", [401, 403, 500])
    def test_one_that_refuses_is_said(self, answers, container, code):
        answers.code = code
        assert str(code) in asked((container(),)).not_asked["ray-cpu"]

    def test_a_secret_that_cannot_be_read_is_said(self, container):
        found = asked((container(mounts={"/run/secrets/ray-token": "/nowhere/ray-token"}),))
        assert "/nowhere/ray-token cannot be read" in found.not_asked["ray-cpu"]

    def test_marimo_answers_although_ray_does_not(self, answers, container, hanging):
        answers.sessions = {"s_1": {"filename": "/workspace/notebooks/foo.py", "path": "/workspace/notebooks/foo.py"}}
        found = asked((container(at=hanging), container("marimo")))
        assert kinds(found) == [("notebook", "foo.py", "marimo")]
        assert set(found.not_asked) == {"ray-cpu"}


class TestMarimo:
    def test_each_session_is_named_by_its_file(self, answers, container):
        answers.sessions = {
            "s_1": {"filename": "/workspace/notebooks/a/foo.py", "path": "/workspace/notebooks/a/foo.py"},
            "s_2": {"filename": None, "path": None},
        }
        found = asked((container("marimo"),)).works
        assert [(work.identifier, work.what) for work in found] == [("s_1", "foo.py"), ("s_2", "unnamed notebook")]
        assert answers.authorizations == {"Basic d3M6dGhlLW1hcmltby10b2tlbg=="}

    def test_none_is_nothing(self, container):
        assert not asked((container("marimo"),))


class TestMLflow:
    def test_runs_that_nobody_ended_are_counted(self, answers, container):
        answers.runs = [{"info": {}}, {"info": {}}]
        found = asked((container("mlflow"),))
        assert found.runs == 2
        assert not found, "they end with no container"

    def test_behind_a_prefix_they_are_found(self, answers, container):
        answers.runs = [{"info": {}}]
        assert asked((container("mlflow", env={"MLFLOW_STATIC_PREFIX": "/tracking"}),)).runs == 1
        assert answers.asked[-1] == "/tracking/api/2.0/mlflow/runs/search"

    def test_it_is_asked_by_the_name_that_it_takes_whatever_its_address(self, answers, container):
        asked((container("mlflow"),))
        assert set(answers.hosts) == {"mlflow:5000"}

    @pytest.mark.parametrize("runs", [None, "text", 5])
    def test_another_answer_is_none(self, answers, container, runs):
        answers.runs = runs
        assert asked((container("mlflow"),)).runs in (0, 4)

    def test_a_server_that_refuses_is_no_reason_to_ask(self, answers, container):
        answers.code = 403
        found = asked((container("mlflow"),))
        assert (found.runs, found.not_asked) == (0, {})


def inspected(**changes: Any) -> Any:
    return {
        "Name": "/cslr-dev-ray-cpu",
        "State": {"Status": "running", "Health": {"Status": "healthy"}},
        "Config": {
            "Labels": {"cslr.component": "ray-cpu"}, "Env": ["A=1", "B=x=y", "broken"],
            "ExposedPorts": {"8265/tcp": {}, "10001/tcp": {}},
        },
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {
            "Networks": {"ray-network": {"IPAddress": "172.28.0.10"}},
            "Ports": {"8265/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18265"}], "10001/tcp": None},
        },
        "Mounts": [
            {"Type": "bind", "Source": "/state/ray-token", "Destination": "/run/secrets/ray-token"},
            {"Type": "volume", "Name": "cslr-dev-redis-data", "Source": "/var/lib/docker/x", "Destination": "/data"},
        ],
        **changes,
    }  # fmt: skip


class TestContainers:
    def test_are_reached_where_they_are_published_else_on_the_bridge(self):
        one = Deployed.of(inspected())
        assert (one.reached(8265), one.reached(10001)) == ("127.0.0.1:18265", "172.28.0.10:10001")
        assert one.env == {"A": "1", "B": "x=y"}
        assert one.mounts == {"/run/secrets/ray-token": "/state/ray-token", "/data": "cslr-dev-redis-data"}
        assert (one.running, one.healthy, one.several_hosts) == (True, True, False)

    @pytest.mark.parametrize(
        ("said", "idle"), [("waiting: no head yet\n", True), ("drained: by hand", True), ("worker", False), ("", False)]
    )
    def test_of_ray_say_whether_they_have_a_head(self, said, idle):
        state = {"Status": "running", "Health": {"Status": "healthy", "Log": [{"Output": "x"}, {"Output": said}]}}
        assert Deployed.of(inspected(State=state)).idle is idle

    def test_keep_the_address_that_they_are_published_on(self):
        settings = {"Networks": {}, "Ports": {"8265/tcp": [{"HostIp": "192.168.1.20", "HostPort": "8265"}]}}
        assert Deployed.of(inspected(NetworkSettings=settings)).reached(8265) == "192.168.1.20:8265"

    def test_on_the_host_network_belong_to_several_hosts(self):
        one = Deployed.of(inspected(HostConfig={"NetworkMode": "host"}, State={"Status": "exited"}))
        assert (one.several_hosts, one.running, one.healthy) == (True, False, False)


class TestWords:
    WORKS = (
        Work(kind=Kind.JOB, identifier="raysubmit_x", what="python  train.py\n--rate 1", since=NOW - 720),
        Work(kind=Kind.JOB, identifier="raysubmit_y", what="", since=NOW - 4000),
        Work(kind=Kind.CLIENT, identifier="05000000", since=NOW - 5),
        Work(kind=Kind.ACTOR, identifier="1", what="counter"),
        Work(kind=Kind.ACTOR, identifier="2", what="A", part=True),
        Work(kind=Kind.NOTEBOOK, identifier="s_1", what="foo.py"),
    )

    def test_numbers_agree_with_their_nouns(self):
        assert in_words(self.WORKS) == (
            "2 running jobs, 1 driver connected by Ray Client, 1 detached actor, 1 actor, 1 notebook session"
        )
        assert in_words(()) == "nothing"

    def test_the_list_names_each_and_how_long_it_runs(self):
        assert list(listed(self.WORKS, NOW)) == [
            "raysubmit_y: unknown command, 1 h 06 min",
            "raysubmit_x: python train.py --rate 1, 12 min",
            "Ray Client, job 05000000, 5 s",
            "actor counter",
            "actor A",
            "notebook foo.py",
        ]

    @pytest.mark.parametrize(("number", "last"), [(10, "j9"), (11, "… and 1 more"), (500, "… and 490 more")])
    def test_the_list_is_cut_at_ten(self, number, last):
        works = [Work(kind=Kind.JOB, identifier=f"j{index}", what="x") for index in range(number)]
        assert last in list(listed(works, NOW))[-1]

    def test_a_command_cannot_move_the_cursor_nor_fill_the_screen(self):
        said = line(Work(kind=Kind.JOB, identifier="x\x1b[2J", what="\x1b]0;x\x07" + "y" * 5000), NOW)
        assert said.isprintable()
        assert len(said) < 120

    def test_the_warning_of_the_program_says_who_asks(self):
        said = warning(RunningWork(works=self.WORKS), "lab")
        assert "2 running jobs" in said
        assert "`ws up -s lab` does" in said
        assert "not known" in warning(RunningWork(not_asked={"ray-cpu": "it does not answer"}), "lab")
