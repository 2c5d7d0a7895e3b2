"""The schema of the health service's report."""

import dataclasses
import json
from typing import Any

import pytest

from contracts import status
from contracts.document import DocumentError
from contracts.status import (
    SCHEMA_VERSION,
    ClusterStatus,
    HeadEvent,
    HeadStatus,
    HostState,
    HostStatus,
    NodeStatus,
    OtherVersionError,
    Overall,
    RayStatus,
    Reason,
    ServiceStatus,
    State,
    Status,
    Usage,
)

SERVICE = ServiceStatus(
    name="redis",
    kind="redis",
    state=State.DOWN,
    latency_ms=1.5,
    version="8.2.1",
    url="redis://127.0.0.1:6381",
    reason=Reason.MEMORY_FULL,
    error="nearly refuses writes",
    usage=(Usage(name="memory", used=300, limit=320),),
    warning_reason=Reason.REWRITE_FAILED,
    warning="see its log",
)
FULL = Status(
    time="2026-01-01T00:00:00Z",
    stack="dev",
    services=(SERVICE,),
    ray=RayStatus(
        head=HeadStatus(node="ray-cpu", address="10.0.0.1:6379", dashboard="http://127.0.0.1:8265"),
        nodes=(
            NodeStatus(name="ray-cpu", alive=True, expected=True, node_id="ab", address="10.0.0.1", role="head",
                       cpus=2.0, gpus=0.0, memory=1, object_store_memory=1, version="2.60.0", message=None),
            NodeStatus(name="ray-gpu", alive=False, expected=True),
        ),
        latency_ms=3.0,
        reason=Reason.TWO_HEADS,
        error="two heads",
    ),
    cluster=ClusterStatus(
        namespace="cslr-lab", host="alpha", election="on", head="alpha", epoch=5, since="2026-01-01T00:00:00Z",
        hosts=(HostStatus(name="alpha", address="10.0.0.1", state=HostState.MAINTENANCE, candidate=True,
                          sees_head=None, last_seen=0.5),),
        history=(HeadEvent(time="2026-01-01T00:00:00Z", epoch=5, host="alpha", event="ready"),),
        reason=Reason.NO_HEAD, error="no host is up",
    ),
)  # fmt: skip
EMPTY = Status(time="", stack="", services=(), ray=RayStatus(head=None, nodes=(), latency_ms=None))


class TestRoundTrip:
    @pytest.mark.parametrize("report", [FULL, EMPTY])
    def test_a_report_is_read_as_it_was_written(self, report):
        assert Status.from_json(report.to_json()) == report

    def test_it_names_its_version_and_the_overall_state_first(self):
        assert list(json.loads(FULL.to_json()))[:2] == ["schema_version", "state"]
        assert json.loads(FULL.to_json())["state"] == "unhealthy"
        assert EMPTY.state is Overall.HEALTHY

    def test_codes_travel_as_words(self):
        (service,) = json.loads(FULL.to_json())["services"]
        assert (service["state"], service["reason"], service["warning_reason"]) == (
            "down",
            "memory_full",
            "rewrite_failed",
        )


class TestOtherVersion:
    @pytest.mark.parametrize(("version", "named"), [(0, "version 0"), (2, "version 2"), (None, "no version")])
    def test_it_is_refused_with_the_way_out(self, version, named):
        report = {**json.loads(FULL.to_json()), "schema_version": version}
        with pytest.raises(OtherVersionError) as refused:
            Status.from_json(json.dumps(report))
        assert named in str(refused.value)
        assert f"reads version {SCHEMA_VERSION}; `ws up` replaces it" in str(refused.value)

    def test_a_report_from_before_the_schema_is_one(self):
        old = {"state": "healthy", "time": "", "stack": "dev", "services": [{"name": "x"}], "ray": {"head": None}}
        with pytest.raises(OtherVersionError, match="no version"):
            Status.from_json(json.dumps(old))


class TestNotAReport:
    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "{}", '{"services": []}', '{"status": "OK"}'])
    def test_it_is_refused(self, text):
        with pytest.raises(DocumentError):
            Status.from_json(text)

    def test_an_unknown_reason_is_named(self):
        report = json.loads(FULL.to_json())
        report["services"][0]["reason"] = "bad_mood"
        with pytest.raises(DocumentError, match=r"services\[0\].reason must be one of 'starting'"):
            Status.from_json(json.dumps(report))


class TestSchema:
    """What is below belongs to SCHEMA_VERSION 1: raise the version with any change, so that others are refused."""

    FIELDS = {  # noqa: RUF012
        "ClusterStatus": "namespace host election head epoch since hosts history reason error",
        "HeadEvent": "time epoch host event",
        "HeadStatus": "node address dashboard",
        "HostStatus": "name address state candidate sees_head last_seen",
        "NodeStatus": "name alive expected node_id address role cpus gpus memory object_store_memory version message",
        "RayStatus": "head nodes latency_ms reason error",
        "ServiceStatus": "name kind state latency_ms version url reason error usage warning_reason warning",
        "Status": "time stack services ray cluster",
        "Usage": "name used limit",
    }
    REASONS = (
        "starting unreachable name_unknown timeout wrong_answer access_denied secret_unreadable failed memory_full "
        "memory_high cannot_write rewrite_failed no_head two_heads not_joined node_dead scratch_full scratch_high "
        "scratch_unknown redis_unreachable"
    )

    def test_fields_and_reasons_change_with_the_version_alone(self):
        kinds: list[Any] = [kind for kind in vars(status).values() if dataclasses.is_dataclass(kind)]
        found = {kind.__name__: " ".join(field.name for field in dataclasses.fields(kind)) for kind in kinds}
        assert SCHEMA_VERSION == 1
        assert found == self.FIELDS
        assert " ".join(reason.value for reason in Reason) == self.REASONS
