"""The cluster test's program on a web server with a certificate, which runs here."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from contracts.cluster_test import ClusterTestSettings
from contracts.document import SETTINGS_VARIABLE, dump
from stack.certificates import Pair, issue, make_authority

NOW = datetime.now(UTC)
AUTHORITY, OTHER = (make_authority(name, NOW) for name in ("one", "two"))
FOR_ADDRESS, FOR_NAME = (issue(AUTHORITY, (name,), NOW) for name in ("127.0.0.1", "gpuhost.example.org"))
OTHER_CHECKS = (
    "published_ports", "other_ports", "dashboard", "job_submission", "ray_client", "ray_client_without_token", "mlflow",
    "marimo", "redis",
)  # fmt: skip


class Healthy(http.server.BaseHTTPRequestHandler):
    """Answers as the health service does."""

    def do_GET(self) -> None:
        content = json.dumps({"state": "healthy", "services": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    pair: Pair = request.param
    file = tmp_path / "server.pem"
    file.write_bytes(pair.chain + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("port", "trusted", "by_address", "result"),
    [
        pytest.param(FOR_ADDRESS, AUTHORITY.chain, True, "pass", id="the stack's authority"),
        pytest.param(FOR_ADDRESS, OTHER.chain, True, "fail", id="another authority"),
        pytest.param(FOR_ADDRESS, b"", True, "fail", id="no authority"),
        pytest.param(FOR_NAME, AUTHORITY.chain, True, "fail", id="a certificate for another address"),
        pytest.param(FOR_NAME, FOR_NAME.chain, False, "pass", id="a site's certificate for a name"),
        pytest.param(FOR_NAME, FOR_ADDRESS.chain, False, "fail", id="another site's certificate"),
    ],
    indirect=["port"],
)
def test_the_stacks_certificate_is_asked_for_and_no_other(port, trusted, by_address, result):
    settings = ClusterTestSettings(
        health=f"https://127.0.0.1:{port}",
        trusted=trusted.decode(),
        by_address=by_address,
        skipped=dict.fromkeys(OTHER_CHECKS, "not here"),
        settle=0.0,
    )
    done = subprocess.run(
        [sys.executable, "-m", "entrypoints.cluster_test"],
        env={**os.environ, SETTINGS_VARIABLE: dump(settings), "no_proxy": "*"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["health"]["result"] == result, done.stderr
    if result == "fail":
        assert "certificate" in checks["health"]["detail"].lower()
