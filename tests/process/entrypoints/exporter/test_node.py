"""The exporter's child that tells of the host, with a small program in its place."""

import os
import signal
import stat
import sys

import pytest

from entrypoints.exporter.node import NodeError, NodeExporter
from testing.servers import free_port

PROGRAM = f"""#!{sys.executable}
import http.server, os, sys
address = next(word for word in sys.argv if word.startswith("--web.listen-address=")).rpartition(":")[2]
proc = next(word for word in sys.argv if word.startswith("--path.procfs=")).partition("=")[2]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"node_pid {{os.getpid()}}\\nnode_net {{os.path.realpath(proc + '/net')}}\\n".encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(address)), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path):
    file = tmp_path / "node_exporter"
    file.write_text(PROGRAM)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


@pytest.fixture
def host(tmp_path):
    """A /proc of a host, and its /sys."""
    (tmp_path / "proc/1/net").mkdir(parents=True)
    (tmp_path / "proc/net").mkdir()
    (tmp_path / "proc/stat").touch()
    return {"proc": tmp_path / "proc", "sys": tmp_path}


class TestNodeExporter:
    def test_is_passed_through_and_sees_the_network_of_the_host(self, program, host):
        node = NodeExporter(program, free_port(), **host)
        try:
            assert f"node_net {host['proc'] / '1/net'}\n" in node.text().decode()
        finally:
            node.end()

    def test_that_ended_is_started_again_though_not_at_once(self, program, host, monkeypatch):
        node = NodeExporter(program, free_port(), **host)
        try:
            node.text()
            first = node.pid or 0
            os.kill(first, signal.SIGKILL)
            os.waitpid(first, 0)
            with pytest.raises(NodeError, match="is started again soon"):
                node.text()
            monkeypatch.setattr("entrypoints.exporter.node.RESTART_SECONDS", 0.0)
            text = node.text().decode()
            assert f"node_pid {node.pid}\n" in text
            assert node.pid != first
        finally:
            node.end()

    def test_that_is_not_there_costs_nothing_else(self, start, driver, tmp_path):
        (driver / "gpus").write_text("1")
        running = start(node_exporter=tmp_path / "none")
        assert running.value("cslr_gpu_up") == 1
        assert running.value("cslr_collect_success", collector="node") == 0
        assert "cannot be started" in running.problems()[0]
