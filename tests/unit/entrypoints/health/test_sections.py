"""What the page says of a moment."""

import math
import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from contracts.alerts import Alert
from contracts.facts import BuildFact, Builds, Difference, DriftFact, PastRun, PastRuns, Times, VerificationFact
from contracts.health import Kind, WatchedService
from contracts.status import HeadStatus, NodeStatus, RayStatus, Reason, ServiceStatus, State, Status
from entrypoints.health.asker import Answer
from entrypoints.health.disks import Disk
from entrypoints.health.failure import FailureError
from entrypoints.health.page import faults
from entrypoints.health.page.faults import FaultLog
from entrypoints.health.page.gpus import Gpu, GpuUser
from entrypoints.health.page.jobs import Job
from entrypoints.health.page.runs import Run
from entrypoints.health.page.snapshot import Snapshot
from entrypoints.health.page.templates import JOBS_SHOWN, page, sections

EVIL = '<img src=x onerror="a">\'&`x`'
ADDRESSES: dict[str, str] = defaultdict(str)
NOW = 1_800_000_000.0
WATCHED = WatchedService(name="mlflow", kind=Kind.MLFLOW, host="mlflow", port=5000)
SERVICE = ServiceStatus(name="redis", kind="redis", state=State.UP, latency_ms=1.0, version="8", url="redis://h:1")
GPU = Gpu(
    host="gpu1", number="2", model="H100", up=True, use=98.0, used=70e9, memory=80e9, heat=79.0,
    users=(GpuUser(who="ray-gpu, job 03", memory=60e9),),
)  # fmt: skip
JOB = Job(name="sweep", program="train.py", status="RUNNING", started=NOW - 7200, ended=None)
RUN = Run(
    name="lr", experiment="signs", user="anna", status="FINISHED", started=NOW - 90, ended=NOW - 30,
    url="http://127.0.0.1:5000/#/experiments/1/runs/2", metrics=(("loss", 0.123456),),
)  # fmt: skip


def node(name: str, alive: bool = True, expected: bool = True) -> NodeStatus:
    return NodeStatus(name=name, alive=alive, expected=expected, node_id=name, cpus=4, gpus=0, memory=2**32)


def moment(*nodes: NodeStatus, **known: object) -> Snapshot:
    head = HeadStatus(node="ray-cpu", address="10.0.0.1:6379", dashboard="http://127.0.0.1:8265") if nodes else None
    ray = RayStatus(head=head, nodes=nodes, latency_ms=1.0)
    status = Status(time="2027-01-15T08:00:00Z", stack="dev", services=(SERVICE,), ray=ray)
    return replace(Snapshot(status=status, now=NOW), **known)  # type: ignore[arg-type]


def answered(*found: object) -> Answer[tuple[object, ...]]:
    return Answer(found, 1.0, None)


FAILED: Answer[object] = Answer(None, None, FailureError(Reason.TIMEOUT, "no answer within 2 s"))


def words(html: str) -> str:
    """A section's text, one space between words."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


class TestSections:
    def test_gpus_with_use_and_owner(self):
        text = words(sections(moment(gpus=answered(GPU), exporter=WATCHED), reached_at="h")["gpus"])
        assert "gpu1 2 H100 ● up 98 % 65.2 of 74.5 GiB 79 °C ray-gpu, job 03 55.9 GiB" in text

    def test_lost_gpu(self):
        gone = replace(GPU, up=False, use=None, used=None, memory=None, heat=None, users=())
        found = sections(moment(gpus=answered(gone), exporter=WATCHED), reached_at="h")
        assert "✕ lost nobody" in words(found["gpus"])
        assert "✕" not in words(found["tiles"])  # its mark is the style's
        assert 'class="tile bad"' in found["tiles"]

    def test_jobs_and_runs(self):
        shown = moment(node("ray-cpu"), jobs=answered(JOB), runs=answered(RUN), mlflow=WATCHED)
        found = sections(shown, reached_at="10.0.0.7")
        assert "sweep ◐ running train.py 2 h ago 2 h" in words(found["jobs"])
        assert "lr ● finished signs anna loss 0.1235 2 min ago 1 min" in words(found["runs"])
        assert 'href="http://10.0.0.7:5000/#/experiments/1/runs/2"' in found["runs"]
        assert "Jobs 1 running, 0 waiting" in words(found["tiles"])

    def test_many_jobs_are_counted_and_the_first_shown(self):
        jobs = [replace(JOB, name=f"job{number}", status="PENDING") for number in range(JOBS_SHOWN + 7)]
        found = sections(moment(node("ray-cpu"), jobs=answered(*jobs)), reached_at="h")
        assert found["jobs"].count('scope="row"') == JOBS_SHOWN
        assert "7 more are left out" in found["jobs"]
        assert f"0 running, {JOBS_SHOWN + 7} waiting" in words(found["tiles"])

    @pytest.mark.parametrize("time", [NOW * 1e3, NOW * 1e9, -1e18, math.nan, math.inf], ids=str)
    def test_a_time_that_no_calendar_has_is_left_out(self, time):
        run, job = replace(RUN, started=time), replace(JOB, started=time)
        shown = moment(
            node("ray-cpu"), jobs=answered(job), runs=answered(run), mlflow=WATCHED,
            times={name: Times(times={"x": time}) for name in ("bases", "backup", "certificates")},
        )  # fmt: skip
        found = sections(shown, reached_at="h")
        assert "sweep ◐ running train.py" in words(found["jobs"])
        assert "lr ● finished" in words(found["runs"])
        assert "<time" not in found["jobs"] + found["runs"] + found["upkeep"]

    def test_upkeep(self):
        shown = moment(
            disks=(Disk(name="scratch", free=5 * 10**9, size=20 * 10**9),),
            verification=VerificationFact(time=NOW - 3600, passed=10, failed=1),
            builds=Builds(images={"base": BuildFact(time=NOW - 60, succeeded=False)}),
            times={
                "certificates": Times(times={"lab": NOW + 86400 * 3, "old": NOW - 86400 * 2}),
                "backup": Times(times={"nightly": NOW - 60}),
            },
        )
        found = sections(shown, reached_at="h")
        text = words(found["upkeep"])
        assert "4.7 GiB free of 18.6 GiB" in text
        assert "✕ failed 10 of 11 checks, 1 h ago" in text
        assert "Certificates: lab expires in 3 d" in text
        assert "Certificates: old expired 2 d ago" in text
        assert "Backups: nightly 1 min ago" in text
        assert '<details id="builds" open>' in found["upkeep"]
        assert found["tiles"].count('class="tile bad"') == 2

    def test_last_runs_with_who_when_and_what_changed(self):
        done = PastRun(
            number=7, operation="up", who="anna (as root)", time=NOW - 7200, outcome="done", seconds=42.0,
            counts={"replace": 1, "create": 2, "same": 20}, changed=("mlflow-container", "redis-data"),
            verification="11 of 11 passed",
        )  # fmt: skip
        failed = PastRun(
            number=8, operation="rollback", who="ben", time=NOW - 60, outcome="failed", returned_to=5, failed=("redis",)
        )
        found = sections(moment(history=PastRuns(runs=(failed, done))), reached_at="h")
        text = words(found["deployment"])
        assert "8 rollback to 5 ✕ failed ben 1 min ago nothing failed: redis" in text
        assert "7 up ● done verification: 11 of 11 passed anna (as root) 2 h ago 42 s 2 created, 1 replaced" in text
        assert "mlflow-container, redis-data" in text
        assert "Drift has not been checked yet: ws drift -s dev" in text

    def test_a_run_that_was_killed_is_not_said_to_have_changed_nothing(self):
        """It has left no word of what it did."""
        killed = PastRun(number=9, operation="up", who="ben", time=NOW - 60, outcome="interrupted")
        assert "nothing" not in words(sections(moment(history=PastRuns(runs=(killed,))), reached_at="h")["deployment"])

    def test_drift_with_names_and_when_it_was_looked_for(self):
        memory = Difference(kind="container", name="cslr-dev-redis", field="memory")
        drift = DriftFact(time=NOW - 180, compared_with=7, differences=(memory, replace(memory, field="")), left_out=3)
        run = PastRun(number=8, operation="up", who="ben", time=NOW - 60, outcome="running")
        found = sections(moment(drift=drift, history=PastRuns(runs=(run,))), reached_at="h")
        text = words(found["deployment"])
        assert "✕ drift The host differs from what was deployed in 5 places" in text
        assert "checked 3 min ago by ws drift , before the last run below" in text
        assert "cslr-dev-redis container memory cslr-dev-redis container all of it: missing or not declared" in text
        assert "3 more are left out" in text
        assert "Drift 5 checked 3 min ago" in words(found["tiles"])

    def test_no_drift(self):
        found = sections(moment(drift=DriftFact(time=NOW - 180, compared_with=None)), reached_at="h")
        assert "● unchanged The host is as it was deployed , checked 3 min ago" in words(found["deployment"])
        assert "Drift none" in words(found["tiles"])

    @pytest.mark.parametrize(("ago", "state"), [(240, "bad"), (60, "")])
    def test_drift_from_before_the_last_run_is_neither_good_nor_bad(self, ago, state):
        drift = DriftFact(time=NOW - 180, compared_with=7, left_out=1)
        run = PastRun(number=8, operation="up", who="ben", time=NOW - ago, outcome="done")
        found = sections(moment(drift=drift, history=PastRuns(runs=(run,))), reached_at="h")
        assert f'href="#deployment" class="tile {state}"' in found["tiles"]

    def test_nodes_of_the_past_are_folded_away(self):
        old = [node(f"old{number}", alive=False, expected=False) for number in range(3)]
        html = sections(moment(node("ray-cpu"), node("ray-gpu", alive=False), *old), reached_at="h")["nodes"]
        there, _, folded = html.partition("<details")
        assert "ray-cpu" in there
        assert "✕ missing" in words(there)
        assert "old1" not in there
        assert folded.count('<tr role="row"><th') == 3 + 1
        assert "3 that ended" in folded

    def test_what_is_not_there_has_no_section(self):
        found = sections(moment(), reached_at="h")
        assert {name for name, html in found.items() if html} == {"summary", "tiles", "services"}

    def test_what_has_not_answered_yet_or_fails_says_so(self):
        for answer, said in ((None, "Asking …"), (FAILED, "no answer within 2 s")):
            shown = moment(node("ray-cpu"), jobs=answer, runs=answer, gpus=answer, mlflow=WATCHED, exporter=WATCHED)
            found = sections(shown, reached_at="h")
            assert all(said in found[name] for name in ("gpus", "jobs", "runs"))

    def test_front_ends_are_linked_as_the_reader_reaches_them(self):
        notebooks = replace(SERVICE, name="marimo", kind="marimo", url="http://127.0.0.1:8080")
        grafana = replace(SERVICE, name="grafana", kind="grafana", url="http://127.0.0.1:3000")
        shown = moment(node("ray-cpu"))
        alices = replace(notebooks, name="marimo-alice", url="http://127.0.0.1:8081")
        shown = replace(shown, status=replace(shown.status, services=(SERVICE, notebooks, alices, grafana)))
        links = re.findall(r'href="([^"]+)">([^<]+)', sections(shown, reached_at="10.0.0.7")["summary"])
        assert links == [
            ("http://10.0.0.7:8265", "Ray dashboard"),
            ("http://10.0.0.7:8080", "Marimo notebooks"),
            ("http://10.0.0.7:8081", "Marimo notebooks of alice"),
            ("http://10.0.0.7:3000", "Grafana"),
        ]

    def test_alert_with_its_remedy(self):
        alert = Alert(name="GpuHot", severity="warning", since="2026-11-28T03:21:55Z", remedy="run `nvidia-smi <x>`")
        html = sections(moment(alerts=(alert,)), reached_at="h")["alerts"]
        assert "run <code>nvidia-smi &lt;x&gt;</code>" in html

    def test_texts_of_other_programs_are_escaped(self):
        gpu = replace(GPU, host=EVIL, number=EVIL, model=EVIL, users=(GpuUser(who=EVIL, memory=1),))
        job = replace(JOB, name=EVIL, status=EVIL, program=EVIL)
        run = replace(RUN, name=EVIL, status=EVIL, experiment=EVIL, user=EVIL, url=EVIL, metrics=((EVIL, 1.0),))
        alert = Alert(name=EVIL, severity=EVIL, since=EVIL, summary=EVIL, remedy=EVIL, labels={"service": EVIL})
        shown = moment(
            node(EVIL), gpus=answered(gpu), jobs=answered(job), runs=answered(run), alerts=(alert,),
            disks=(Disk(name=EVIL, free=1, size=2),), exporter=WATCHED, mlflow=WATCHED,
            times={"backup": Times(times={EVIL: NOW})},
            builds=Builds(images={EVIL: BuildFact(time=NOW, succeeded=True)}),
            drift=DriftFact(time=NOW, compared_with=1, differences=(Difference(kind=EVIL, name=EVIL, field=EVIL),)),
            history=PastRuns(runs=(PastRun(
                number=1, operation=EVIL, who=EVIL, time=NOW, outcome=EVIL, changed=(EVIL,), failed=(EVIL,),
            ),)),
        )  # fmt: skip
        text = page(shown, reached_at=EVIL, addresses=ADDRESSES)
        assert "<img" not in text
        assert 'onerror="' not in text
        assert text.count("&lt;img") > 26


class TestFault:
    """Of one section, which costs no other."""

    STRANGE: Any = "yesterday"
    SHOWN = moment(node("ray-cpu"), jobs=answered(replace(JOB, started=STRANGE)), runs=answered(RUN), mlflow=WATCHED)

    def test_is_said_in_its_place_with_its_name_and_where_its_trace_is(self):
        told: list[tuple[str, Exception]] = []
        found = sections(self.SHOWN, reached_at="h", broken=lambda *fault: told.append(fault))
        assert [(name, type(error)) for name, error in told] == [("jobs", TypeError)]
        text = words(found["jobs"])
        assert "The section “jobs” cannot be shown : TypeError. The other sections are not affected." in text
        assert "ws logs health -s dev" in text
        assert '<h2 id="jobs">Jobs</h2>' in found["jobs"]
        assert "lr ● finished" in words(found["runs"])

    @pytest.mark.parametrize("name", ["summary", "alerts", "tiles", "upkeep"])
    def test_of_what_is_asked_for_it_is_said_too(self, name):
        text = page(
            moment(faults={name: OSError("hunter2")}), reached_at="h", addresses=ADDRESSES, broken=lambda *_: None
        )
        assert f"The section “{name}” cannot be shown</strong>: OSError" in text
        assert "hunter2" not in text
        assert len(re.findall(r"<h1\b", text)) == 1

    def test_is_logged_once_in_a_while_with_its_trace(self, monkeypatch):
        said: list[tuple[str, str]] = []
        log = FaultLog(lambda *fault: said.append(fault))
        for _ in range(3):
            sections(self.SHOWN, reached_at="h", broken=log.tell)
        log.tell("jobs", ValueError("another"))
        assert [name for name, _ in said] == ["jobs", "jobs"]
        assert "jobs.html" in said[0][1]
        assert "unsupported operand" in said[0][1]
        monkeypatch.setattr(faults, "AGAIN_SECONDS", 0.0)
        sections(self.SHOWN, reached_at="h", broken=log.tell)
        assert len(said) == 3


class TestCharts:
    def test_without_metrics_the_page_says_how_to_turn_them_on(self):
        text = page(moment(), reached_at="h", addresses=ADDRESSES)
        assert "ws set metrics.enabled true exporter.enabled true -s dev" in text
        assert "<script" in text
        assert "uPlot" not in text

    def test_with_metrics_alone_it_says_what_the_exporter_adds(self):
        text = page(moment(prometheus=WATCHED), reached_at="h", addresses=ADDRESSES)
        assert "ws set exporter.enabled true -s dev" in text
        assert 'id="chart-disk"' in text
        assert 'id="chart-gpu"' not in text
