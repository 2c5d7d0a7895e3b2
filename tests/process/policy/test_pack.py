"""The policy pack as a program, asked as Pulumi's engine asks it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import grpc  # type: ignore[import-untyped]
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from policy.rules import RULES
from testing.harness import CONTAINER, PROJECT

PACK = PROJECT / "policy"
OPENED = "192.168.1.7"


@pytest.fixture
def pack(tmp_path) -> Iterator[analyzer_pb2_grpc.AnalyzerStub]:
    """The pack, started as the CLI starts it, for a stack that opens an address."""
    stack = {
        "PULUMI_PROJECT": "cslr",
        "PULUMI_STACK": "dev",
        "PULUMI_DRY_RUN": "true",
        "PULUMI_CONFIG": json.dumps({"cslr:platform": json.dumps({"network": {"bind_address": OPENED}})}),
        "XDG_STATE_HOME": str(tmp_path),
    }
    command = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(PACK)]
    with subprocess.Popen(command, cwd=PACK, env=os.environ | stack, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout
            with grpc.insecure_channel(f"127.0.0.1:{int(run.stdout.readline())}") as channel:
                yield analyzer_pb2_grpc.AnalyzerStub(channel)
        finally:
            run.terminate()
    assert not list(tmp_path.iterdir()), "it wrote something"


def test_it_has_a_policy_for_each_rule(pack):
    info = pack.GetAnalyzerInfo(Empty())
    assert [policy.name for policy in info.policies] == [rule.name for rule in RULES]


def test_it_knows_what_the_stack_file_allows(pack):
    properties = Struct()
    properties.update({"hostname": "redis", "ports": [{"external": port, "ip": ip} for port, ip in
                                                      ((1, OPENED), (2, "127.0.0.1"), (3, "0.0.0.0"))]})  # fmt: skip
    answer = pack.Analyze(analyzer_pb2.AnalyzeRequest(type=CONTAINER, name="x", urn="urn:x", properties=properties))
    (said,) = [one for one in answer.diagnostics if one.policyName == "published-as-asked"]
    assert said.enforcementLevel == analyzer_pb2.MANDATORY
    assert "redis: port 3 on 0.0.0.0: against the rule published-as-asked. " in said.message


def test_without_its_package_it_says_what_installs_that(tmp_path):
    (tmp_path / "pulumi_policy.py").write_text("raise ModuleNotFoundError")
    run = subprocess.run(
        [sys.executable, PACK], env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr == "The policy pack needs the package pulumi-policy: make .venv/ready-policy\n"
