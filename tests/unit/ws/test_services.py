"""What `ws ps`, `ws up` and `ws doctor` show about a running stack, from Docker and the health service's report."""

from typing import Any

import pytest
from rich.console import Console

from contracts.status import ClusterStatus, RayStatus, Reason, ServiceStatus, Status, Usage
from contracts.status import State as ServiceIs
from stack.history import History, Record
from stack.identity import StackIdentity
from testing.lab import membership_of
from ws.containers import ContainerState
from ws.doctor import checks
from ws.doctor.checks import State
from ws.engine_names import EngineName
from ws.services import HealthReport, containers_table, in_words, missing_services, secret_hints, services, table


def said(name: str, reason: Reason | None = None, error: str | None = None, **more: Any) -> ServiceStatus:
    state = ServiceIs.STARTING if reason is Reason.STARTING else ServiceIs.DOWN if reason else ServiceIs.UP
    values = {"kind": name, "state": state, "latency_ms": 1.0, "version": "1.0", "url": None}
    return ServiceStatus(name=name, reason=reason, error=error, **{**values, **more})


def status(*found: ServiceStatus, cluster: ClusterStatus | None = None) -> Status:
    ray = RayStatus(head=None, nodes=(), latency_ms=None)
    return Status(time="2026-01-01T00:00:00Z", stack="dev", services=found, ray=ray, cluster=cluster)


def report(*found: ServiceStatus, cluster: ClusterStatus | None = None) -> HealthReport:
    return HealthReport(status=status(*found, cluster=cluster))


REPORT = report(
    said(
        "ray-cpu",
        Reason.SCRATCH_FULL,
        "scratch full: 40 of 40 GB",
        usage=(Usage(name="scratch", used=40 * 10**9, limit=40 * 10**9),),
    ),
    said(
        "redis",
        warning_reason=Reason.MEMORY_HIGH,
        warning="memory: 280 of 320 MiB",
        usage=(Usage(name="memory", used=280 * 2**20, limit=320 * 2**20),),
    ),
    said("mlflow"),
)


def container(service: str, health: str = "healthy", state: str = "running", ports: tuple[str, ...] = ()) -> Any:
    return ContainerState(
        service=service, name=f"cslr-dev-{service}", identifier="1", state=state, health=health, status="Up 2 hours",
        image="x", ports=ports, engine=EngineName.EMBEDDED,
    )  # fmt: skip


def printed(shown: object) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def lines_of(shown: object) -> dict[str, str]:
    """First word of a line → the line."""
    return {line.split()[0]: line for line in printed(shown).splitlines() if line.strip()}


class TestUses:
    def test_what_is_bounded_is_shown_with_its_limit(self):
        found = [container(name) for name in ("ray-cpu", "redis", "mlflow")]
        lines = lines_of(containers_table(found, REPORT))
        assert "scratch 40.0 of 40.0 GB" in lines["ray-cpu"]
        assert "memory 293.6 of 335.5 MB" in lines["redis"]
        assert " of " not in lines["mlflow"]

    def test_drift_has_a_column_where_there_is_any(self):
        found = [container("redis"), container("mlflow")]
        assert "Drift" not in printed(containers_table(found, REPORT))
        vars(found[0])["drift"] = ("memory", "restart")
        lines = lines_of(containers_table(found, REPORT))
        assert "memory, restart" in lines["redis"]
        assert "memory" not in lines["mlflow"]

    def test_without_a_report_nothing_is_known(self):
        (state,) = services([container("redis")], HealthReport())
        assert (state.health, state.usage, state.reason, str(state.explanation)) == ("healthy", (), None, "")

    @pytest.mark.parametrize(
        ("used", "limit", "text"), [(0, 10**9, "memory 0.0 of 1.0 GB"), (5 * 10**6, 10**8, "memory 5.0 of 100.0 MB")]
    )
    def test_the_unit_fits_the_limit(self, used, limit, text):
        assert in_words(Usage(name="memory", used=used, limit=limit)) == text


class TestMissing:
    IDENTITY = StackIdentity(project="cslr", stack="dev")

    @pytest.mark.parametrize(
        ("operation", "outcome", "missing"),
        [("up", "done", ["mlflow"]), ("rollback", "done", ["mlflow"]), ("up", "failed", []), ("down", "done", [])],
    )
    def test_are_the_services_of_the_last_deployment_without_a_container(
        self, operation, outcome, missing, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        assert missing_services(self.IDENTITY, []) == []
        record = {
            "operation": operation, "engine": "embedded", "who": "anna", "started": 1.0, "version": "0.2.0",
            "outcome": outcome, "images": {name: {"identifier": "sha256:1"} for name in ("redis", "mlflow")},
        }  # fmt: skip
        History(self.IDENTITY).begin(Record.model_validate(record))
        assert missing_services(self.IDENTITY, [container("redis")]) == missing


class TestMerge:
    @pytest.mark.parametrize(
        ("docker", "reason", "merged"),
        [
            ("healthy", None, "healthy"),
            ("healthy", Reason.STARTING, "starting"),
            ("healthy", Reason.TIMEOUT, "unhealthy"),
            ("starting", Reason.UNREACHABLE, "starting"),  # Docker knows that it is
            ("unhealthy", None, "unhealthy"),
            ("exited", Reason.NAME_UNKNOWN, "exited"),
            ("paused", Reason.TIMEOUT, "paused"),
        ],
    )
    def test_a_service_is_healthy_where_docker_and_the_health_service_say_so(self, docker, reason, merged):
        (state,) = services([container("redis", docker)], report(said("redis", reason, "why" if reason else None)))
        assert (state.health, state.reason) == (merged, reason)

    def test_both_tables_say_the_reason_and_its_code(self):
        found, of = [container("redis")], report(said("redis", Reason.TIMEOUT, "no answer within 2 s"))
        for shown in (containers_table(found, of), table(services(found, of))):
            line = lines_of(shown)["redis"]
            assert "unhealthy" in line
            assert "timeout: no answer within 2 s" in line

    def test_a_warning_leaves_a_service_healthy(self):
        found = [container("redis")]
        line = lines_of(containers_table(found, REPORT))["redis"]
        assert "healthy" in line
        assert "memory_high: memory: 280 of 320 MiB" in line

    def test_docker_s_own_words_are_shown_beside(self):
        assert "Up 2 hours" in printed(containers_table([container("redis")], REPORT))

    def test_a_node_of_a_cluster_is_found_by_its_host(self):
        cluster = ClusterStatus(namespace="cslr-lab", host="beta", election="on")
        of = report(said("beta-ray-cpu", Reason.NO_HEAD, "no head"), cluster=cluster)
        (state,) = services([container("ray-cpu")], of)
        assert state.reason is Reason.NO_HEAD

    def test_links_are_those_of_the_deployment(self):
        (state,) = services([container("mlflow")], REPORT, {"mlflow": "http://10.0.0.1:5000"})
        assert (state.url, state.version) == ("http://10.0.0.1:5000", "1.0")


LAB = StackIdentity(project="cslr", stack="lab")


class TestHints:
    @pytest.mark.parametrize(
        ("names", "logins", "said"),
        [
            ({"mlflow"}, True, ["MLflow asks people for an account: ws user add NAME --no-notebooks -s lab"]),
            ({"mlflow"}, False, ["MLflow asks for no login. To turn logins on: ws set mlflow.logins true -s lab"]),
            ({"redis"}, True, []),
        ],
    )
    def test_say_how_mlflow_knows_people(self, names, logins, said):
        assert secret_hints(LAB, names, mlflow_logins=logins) == said

    def test_on_a_host_of_a_cluster_name_the_file_of_all_hosts(self):
        (hint,) = secret_hints(LAB, {"mlflow"}, mlflow_logins=False, membership=membership_of("gamma"))
        assert hint.endswith("To turn logins on: set cslr:cluster.mlflow.logins in Pulumi.gamma.yaml to true")


class TestDoctor:
    def test_a_full_scratch_is_said_by_name(self):
        rows = {row.detail: row.state for row in checks.running_rows(REPORT)}
        assert rows == {"ray-cpu: scratch full: 40 of 40 GB": State.FAIL, "redis: memory: 280 of 320 MiB": State.WARN}

    def test_a_sound_stack_is_one_line(self):
        (row,) = checks.running_rows(report(said("mlflow")))
        assert (row.state, row.detail) == (State.OK, "1 services are healthy")

    def test_a_stack_that_does_not_run_is_no_matter_of_a_precondition(self):
        assert checks.running_rows(HealthReport()) == []

    def test_a_report_that_cannot_be_read_is_a_warning(self):
        (row,) = checks.running_rows(HealthReport(problem="of another version"))
        assert (row.state, row.detail) == (State.WARN, "of another version")
