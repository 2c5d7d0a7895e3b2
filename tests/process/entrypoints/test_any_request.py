"""Any request to the health service, the exporter and the queue gets an answer that is documented.

The queue has a document of its own; those of the others are beside this test. INPUT_EXAMPLES=1000 asks each
operation as often, and with other values each time.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from contracts.document import SETTINGS_VARIABLE, dump
from contracts.exporter import ExporterSettings
from contracts.health import HealthSettings
from contracts.queue import USER_HEADER
from entrypoints.health.page.routes import PATHS
from entrypoints.health.server import ROUTES
from testing.harness import PROJECT
from testing.queue_memory import running
from testing.servers import free_port, server_process
from testing.slow_client import said

DOCUMENTS = Path(__file__).with_name("documents")
EXAMPLES = int(os.environ.get("INPUT_EXAMPLES", "8"))
SECONDS = 20.0
TOKEN = "group-secret-5521"
HOSTS = (b"a:99999999", b"a:x", b"[", b"", b"a b", b"\xff", b"a" * 5000, b"x:-1", b"%zz")


def document(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load((DOCUMENTS / f"{name}.yaml").read_text()))


def as_process(module: str, document: object) -> "tuple[list[str], dict[str, str]]":
    return [sys.executable, "-m", module], os.environ | {SETTINGS_VARIABLE: dump(document)}


@pytest.fixture(scope="module")
def health(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Its port."""
    port = free_port()
    given_settings = HealthSettings(stack="dev", secrets=tmp_path_factory.mktemp("secrets"), port=port)
    command, environment = as_process("entrypoints.health.server", given_settings)
    with server_process(command, port, env=environment, cwd=PROJECT):
        yield port


@pytest.fixture(scope="module")
def exporter() -> Iterator[int]:
    """Its port."""
    port = free_port()
    command, environment = as_process("entrypoints.exporter.server", ExporterSettings(port=port, node_exporter=None))
    with server_process(command, port, env=environment, cwd=PROJECT):
        yield port


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Its port."""
    with running(tmp_path_factory.mktemp("queue"), TOKEN) as found:
        yield int(found.url.rpartition(":")[2])


def ask_everything(port: int, found: dict[str, Any], headers: dict[str, str]) -> int:
    """Every operation, with values that its document allows and others. How many requests that were."""
    asked = 0

    def ask(case: Any) -> None:
        nonlocal asked
        response = case.call(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=SECONDS)
        asked += 1
        documented = {int(code) for code in case.operation.definition.raw["responses"] if code.isdigit()}
        assert response.status_code in documented, (case.as_curl_command(), response.status_code, response.text[:300])

    for read in schemathesis.openapi.from_dict(found).get_all_operations():
        operation = cast("Any", read).ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            case = operation.as_strategy(generation_mode=mode)
            allowed = mode is GenerationMode.POSITIVE
            # Nothing is wrong for an operation that takes nothing, or only text.
            with contextlib.nullcontext() if allowed else contextlib.suppress(Unsatisfiable):
                few = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
                few(given(case)(ask))()  # type: ignore[no-untyped-call]
    return asked


class TestAnyRequest:
    def test_to_the_health_service(self, health):
        assert ask_everything(health, document("health"), {}) > 50

    def test_to_the_exporter(self, exporter):
        assert ask_everything(exporter, document("exporter"), {}) > 50

    def test_to_the_queue(self, queue):
        found = httpx.get(f"http://127.0.0.1:{queue}/openapi.json", trust_env=False).json()
        assert ask_everything(queue, found, {"Authorization": f"Bearer {TOKEN}", USER_HEADER: "ana"}) > 50

    @pytest.mark.parametrize("server", ["health", "exporter", "queue"])
    @pytest.mark.parametrize("host", HOSTS)
    def test_that_names_a_strange_host_is_answered(self, request, server, host):
        port = request.getfixturevalue(server)
        answer = asyncio.run(said(port, b"GET /health HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host))
        assert answer[9:12] in (b"200", b"400", b"503"), answer[:200]


def test_the_document_of_the_health_service_has_every_address():
    assert {*document("health")["paths"], "/events"} == {*ROUTES, *PATHS}
