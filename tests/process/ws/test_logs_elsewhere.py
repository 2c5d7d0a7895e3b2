"""`ws logs` of other hosts, with answers that Ray 2.60's dashboard gave (logs_of_hosts.json).

The cluster had a head with the node `ray-cpu`, here, and `beta-ray-cpu` on another host, which had restarted since the
driver of the job ran there. Two of its tasks ran on each node.
"""

import contextlib
import io
import itertools
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from rich.console import Console

from config.cluster import ClusterSettings, Membership
from config.project import FOLDER
from stack.identity import StackIdentity
from testing.harness import CLUSTER, merged
from ws.cluster.ray_api import RayApi
from ws.errors import WsError
from ws.logs import command, elsewhere, jobs, remote_log
from ws.logs.containers import Container
from ws.logs.query import Query
from ws.logs.remote_log import RemoteFile, RemoteLog

RECORDED = Path(__file__).with_name("logs_of_hosts.json")
JOB, TOKEN = "raysubmit_dBt6m2jcpNBtZAXS", "correct-horse"
DRIVER = f"job-driver-{JOB}.log"
HOSTS = {name: {"address": f"10.202.0.{number}"} for name, number in (("alpha", 10), ("beta", 77), ("gamma", 78))}
MEMBERSHIP = Membership(
    cluster=ClusterSettings.model_validate(merged(CLUSTER, {"hosts": HOSTS})), host="alpha", file="cluster.yaml", key=""
)
THERE = f"ssh 10.202.0.77 'cd {FOLDER} && bin/ws logs"


class Dashboard(BaseHTTPRequestHandler):
    """Answers as recorded."""

    answers: dict[str, Any]
    asked: list[dict[str, str]]  # for files
    streams: deque[bytes]  # of the connections to come, each of which ends
    agents_answer: bool
    port: int

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(path.query).items()}
        kind = path.path.rsplit("/", 1)[-1]
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._send(401, b"no token")
        elif kind in ("nodes", ""):
            self._send(200, json.dumps(self.answers["nodes" if kind else "jobs"]).encode())
        elif not self.agents_answer:
            self._send(500, b"500 Internal Server Error\n\nServer got itself in trouble")
        elif kind == "logs":
            self._send(200, json.dumps(self.answers["logs"]).encode())
        elif kind == "stream":
            self._send(200, self.streams.popleft())
        else:
            self.asked.append(query)
            if (text := self.answers["files"].get(query["filename"])) is None:
                self._send(500, b"A file is not found at: ...")
                return
            lines = text.splitlines(keepends=True)
            self._send(200, "".join(lines[-int(query["lines"]) :]).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def dashboard() -> Iterator[type[Dashboard]]:
    fields = {"answers": json.loads(RECORDED.read_text()), "asked": [], "streams": deque(), "agents_answer": True}
    recorded: Any = type("Recorded", (Dashboard,), fields)
    server = ThreadingHTTPServer(("127.0.0.1", 0), recorded)
    recorded.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield recorded
    server.shutdown()
    server.server_close()


@pytest.fixture
def ray(dashboard) -> RayApi:
    return RayApi(f"http://127.0.0.1:{dashboard.port}", TOKEN)


@pytest.fixture
def logs(ray, monkeypatch) -> Callable[..., tuple[list[dict[str, Any]], str]]:
    """`ws logs --json` on a host of which Docker and the scratch folder say nothing: entries, and the last lines."""
    here = Container(service="ray-cpu", node="ray-cpu", identifier="1", image="", user="", zone="", mounts={})
    silent = SimpleNamespace(api=SimpleNamespace(logs=lambda *_, stream=False, **__: iter(()) if stream else b""))
    monkeypatch.setattr(command, "DockerApi", lambda: None)
    monkeypatch.setattr(command, "of_stack", lambda *_: [here])
    monkeypatch.setattr("docker.from_env", lambda **_: silent)
    for module in (jobs, elsewhere):
        monkeypatch.setattr(module, "access", lambda _: SimpleNamespace(ray=ray))
    configured: Any = SimpleNamespace(membership=MEMBERSHIP, identity=StackIdentity(project="cslr", stack="alpha"))

    def run(*, hosts: tuple[str, ...] = (), job: str | None = None, **query: Any) -> tuple[list[dict[str, Any]], str]:
        out, err = Console(file=io.StringIO()), Console(file=io.StringIO())
        command.show_logs(
            configured, Query(**query), hosts=hosts, job=job, probes=False, as_json=True, out=out, err=err
        )
        return [json.loads(line) for line in out.file.getvalue().splitlines()], err.file.getvalue()  # type: ignore[attr-defined]

    return run


class TestJob:
    def test_of_a_driver_elsewhere_is_read_from_any_host(self, logs):
        found, said = logs(job=JOB)
        texts = [entry["text"] for entry in found]
        assert {entry["service"] for entry in found} == {entry["node"] for entry in found} == {"beta-ray-cpu"}
        assert [texts.count(text) for text in ("the driver says hello", "sum 14")] == [1, 1]
        assert [entry["time"] for entry in found] == sorted(entry["time"] for entry in found)
        assert "files of Ray of beta-ray-cpu." in said

    def test_has_no_line_twice(self, logs):
        found, _ = logs(job=JOB)
        assert [entry["text"] for entry in found if entry["source"].endswith(".out")] == ["square of 1", "square of 3"]
        assert not any("pid=" in entry["text"] for entry in found), "what the driver's log repeats of workers' files"
        everything, _ = logs(job=JOB, everything=True)
        assert any("(square pid=837, ip=10.202.0.10)" in entry["text"] for entry in everything)

    def test_of_others_is_not_asked_for(self, logs, dashboard):
        logs(job="04000000")
        names = {query["filename"] for query in dashboard.asked}
        assert DRIVER in names
        assert not any("-02000000-" in name or name.startswith("events/") for name in names)

    @pytest.mark.parametrize(
        ("query", "texts"),
        [
            ({"level": "error"}, ["ERROR:root:it failed"]),
            ({"grep": "^sum"}, ["sum 14"]),
            ({"task": "square", "level": "warning"}, ["2026-11-28 11:32:34,873 WARNING beware of 1",
                                                      "2026-11-28 11:32:34,876 WARNING beware of 3"]),
            ({"grep": "hello$", "since": 1795865560.0}, []),
            ({"services": ("redis",)}, []),
        ],
    )  # fmt: skip
    def test_is_filtered_as_the_local_one(self, logs, monkeypatch, query, texts):
        monkeypatch.setattr(command, "_refuse_services", lambda *_: None)
        found, _ = logs(job=JOB, **query)
        assert [entry["text"].splitlines()[0] for entry in found] == texts

    def test_of_a_host_whose_agent_is_silent_says_how_to_read_it(self, logs, dashboard):
        dashboard.agents_answer = False
        found, said = logs(job=JOB)
        assert found == []
        assert said.count("To read ") == 1
        assert "Node beta-ray-cpu, where its driver ran, was not read" in said
        assert f"To read its logs there: {THERE} --job {JOB} --stack beta'" in said

    def test_of_a_host_that_is_gone_says_which(self, logs, dashboard):
        for node in dashboard.answers["nodes"]["data"]["result"]["result"]:
            node["state"] = "ALIVE" if node["is_head_node"] else "DEAD"
        _, said = logs(job=JOB)
        assert "Its driver ran on host beta, which has no running Ray node" in said
        assert f"To read it there: {THERE} --job {JOB} --stack beta'" in said

    @pytest.mark.parametrize(
        ("options", "beta_runs"),
        [
            ({"hosts": ("alpha",)}, True),
            ({"hosts": ("alpha",)}, False),
            ({"nodes": ("ray-cpu",)}, True),
            ({"services": ("ray-gpu",)}, True),
        ],
    )
    def test_elsewhere_is_not_told_of_where_it_is_not_wanted(self, logs, dashboard, options, beta_runs):
        for node in dashboard.answers["nodes"]["data"]["result"]["result"]:
            node["state"] = "ALIVE" if node["is_head_node"] or (beta_runs and node["state"] == "ALIVE") else "DEAD"
        found, said = logs(job=JOB, **options)
        assert found == []
        assert "driver ran" not in said

    def test_that_never_connected_to_ray_has_a_host_as_well(self, dashboard, ray):
        dashboard.answers["jobs"][0]["driver_info"] = None
        assert ray.jobs()[0].address == "10.202.0.77"

    def test_keeps_what_tasks_print_on_hosts_that_are_not_read(self, logs):
        assert any("ip=10.202.0.10" in entry["text"] for entry in logs(job=JOB, hosts=("beta",))[0])
        assert any("ip=10.202.0.10" in entry["text"] for entry in logs(job=JOB, nodes=("beta-*",))[0])

    def test_of_a_host_that_is_lost_meanwhile_is_not_waited_for_with_each_file(self, logs, dashboard, monkeypatch):
        monkeypatch.setattr(elsewhere, "AT_ONCE", 1)
        monkeypatch.setattr(elsewhere, "MOST_FAILURES", 2)
        dashboard.answers["files"].clear()
        found, said = logs(job=JOB)
        assert (found, len(dashboard.asked)) == ([], 2)
        assert said.count("files of beta-ray-cpu: ") == 1


class TestHosts:
    def test_are_read_with_as_many_lines_as_asked_for(self, logs, dashboard):
        found, said = logs(hosts=("beta",), tail=2, sources=("job-driver-*",))
        assert len(found) == 2
        assert {query["lines"] for query in dashboard.asked} == {"202"}
        assert "Docker's logs of other hosts are read there: ssh 10.202.0.77" in said
        assert "Read Docker's logs" not in said, "of a host that was not named"

    def test_all_includes_this_one(self, logs):
        _, said = logs(hosts=("all",), tail=2)
        assert "Read Docker's logs of ray-cpu." in said
        assert "Host gamma has no running Ray node. To read its logs there: ssh 10.202.0.78" in said

    def test_a_node_elsewhere_is_one_of_the_cluster(self, logs):
        assert {entry["node"] for entry in logs(nodes=("beta-*",), tail=2)[0]} == {"beta-ray-cpu"}
        with pytest.raises(WsError, match=r"has no node delta-\*\. It has: beta-ray-cpu, ray-cpu\."):
            logs(nodes=("delta-*",))

    def test_with_too_many_files_say_what_helps(self, logs, monkeypatch):
        monkeypatch.setattr(elsewhere, "MOST_FILES", 3)
        _, said = logs(hosts=("beta",), tail=2)
        assert "Read 3 files of Ray of beta-ray-cpu." in said
        assert re.search(r"Left out \d+ of \d+ files of beta-ray-cpu; --source selects\.", said)

    def test_names_of_their_files_cannot_change_the_terminal(self, logs, dashboard):
        dashboard.answers["logs"]["data"]["result"]["internal"] = ["\x1b[2Jgone.log"]
        _, said = logs(hosts=("beta",), tail=2)
        assert "Could not read 1 file of beta-ray-cpu: \\x1b[2Jgone.log: " in said

    def test_an_unknown_one_is_refused(self, logs):
        with pytest.raises(WsError, match=r"the cluster has no host delta\. It has: alpha, beta, gamma\."):
            logs(hosts=("delta",))

    def test_without_a_head_leave_this_one(self, logs, monkeypatch):
        monkeypatch.setattr(elsewhere, "access", lambda _: SimpleNamespace(ray=RayApi("http://127.0.0.1:9", TOKEN)))
        _, said = logs(hosts=("all",), tail=2)
        assert "Read Docker's logs of ray-cpu." in said
        assert "does not answer" in said
        assert "So no logs of other hosts are shown." in said
        with pytest.raises(WsError, match="does not answer"):
            logs(hosts=("beta",))


class TestFollowed:
    @pytest.mark.parametrize(
        ("options", "node"),
        [
            ({}, "beta-ray-cpu"),
            ({"hosts": ("beta",)}, "beta-ray-cpu"),
            ({"services": ("ray-cpu",)}, "beta-ray-cpu"),
            ({"hosts": ("alpha",)}, None),
            ({"nodes": ("ray-*",)}, None),
            ({"services": ("ray-gpu",)}, None),
        ],
    )
    def test_driver_is_of_the_hosts_and_nodes_that_are_wanted(self, logs, monkeypatch, options, node):
        followed: list[Any] = []

        def live(logs: list[Any], *_: object, **__: object) -> Any:
            followed.extend(log.find() for log in logs if isinstance(log, RemoteLog))
            return SimpleNamespace(batches=lambda: ())

        monkeypatch.setattr(command, "Live", live)
        logs(job=JOB, follow=True, **options)
        assert [found.name if found else None for found in followed] == [node]

    def test_without_anything_to_follow_says_why(self, logs, dashboard):
        _, said = logs(hosts=("gamma",), follow=True, tail=2)
        assert "Host gamma has no running Ray node. To read its logs there: ssh 10.202.0.78" in said
        dashboard.agents_answer = False
        _, said = logs(hosts=("beta",), follow=True, tail=2)
        assert "Node beta-ray-cpu was not read" in said

    def test_goes_on_behind_a_lost_connection(self, dashboard, ray, monkeypatch):
        monkeypatch.setattr(remote_log, "RETRY_SECONDS", 0.01)
        said = [f"tick {number}\n".encode() for number in range(6)]
        said[0] = bytes(4096) + said[0]  # what the janitor released
        dashboard.streams.extend([b"".join(said[:3]), b"".join(said[:5]), b"".join(said)])
        node = next(node for node in ray.nodes() if node.name == "beta-ray-cpu" and node.alive)
        file = RemoteFile.of(DRIVER)
        assert file
        log = RemoteLog(ray=ray, file=file, find=lambda: node, zone=UTC, undated=0.0)
        texts = [text for _, text in itertools.islice(log.lines(Query(follow=True)), 6)]
        assert texts == [f"tick {number}" for number in range(6)]

    def test_a_file_that_has_begun_anew_is_shown_before_it_is_as_long_as_asked_for(self, monkeypatch):
        clock, came = itertools.count(), itertools.count()
        monkeypatch.setattr(remote_log, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        found = remote_log.behind(map("tick {}".format, came), ["of the former session"], 10_000)
        assert list(itertools.islice(found, 5)) == [f"tick {number}" for number in range(5)]
        assert next(came) < 20

    @pytest.mark.parametrize("tail", [3, 30])
    def test_loses_and_repeats_no_line_where_few_were_asked_for(self, monkeypatch, tail):
        monkeypatch.setattr(remote_log, "RETRY_SECONDS", 0.0)
        written = iter((50, 100))

        @contextlib.contextmanager
        def log(*_: object, lines: int, follow: bool) -> Iterator[Iterator[bytes]]:
            assert follow
            yield iter([f"tick {number}\n".encode() for number in range(next(written))][-lines:])

        file, ray, node = RemoteFile.of(DRIVER), SimpleNamespace(log=log), SimpleNamespace(name="beta-ray-cpu")
        followed = RemoteLog(ray=ray, file=file, find=lambda: node, zone=UTC, undated=0.0)  # type: ignore[arg-type, return-value]
        texts = [text for _, text in itertools.islice(followed.lines(Query(follow=True, tail=tail)), tail + 50)]
        assert texts == [f"tick {number}" for number in range(50 - tail, 100)]
