"""Exports figures of this host: GPUs, containers, the host itself.

    -m entrypoints.exporter.server [--demo GPUS] [--port PORT]

GET /metrics is for Prometheus, /health says whether the figures are fresh and all GPUs answer, /-/ready whether there
are any yet. Its settings are contracts/exporter.py's; without any it runs by itself and shows what its container sees.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from contracts.document import SETTINGS_VARIABLE, DocumentError, load_settings
from contracts.exporter import ExporterSettings
from entrypoints.exporter.exporter import Exporter
from entrypoints.log import logger

MOST_THREADS = 64  # one for each connection, of which Prometheus has one
CUT_OFF_STATUS = 75  # the container has to be restarted to get its GPUs back

say = logger("exporter")


class Handler(BaseHTTPRequestHandler):
    """Answers GET of the three paths, and / with links to them."""

    exporter: ClassVar[Exporter]
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, self.exporter.text())
        elif path == "/health":
            problems = self.exporter.problems()
            status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
            text = json.dumps({"status": "failing" if problems else "healthy", "problems": problems}) + "\n"
            self._answer(status, "application/json", text.encode())
        elif path == "/-/ready":
            ready = self.exporter.ready()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "text/plain", b"ready\n" if ready else b"not yet\n")
        elif path == "/":
            links = "".join(f'<p><a href="{link}">{link}</a></p>' for link in ("metrics", "health", "-/ready"))
            page = f"<!doctype html><title>system-info-exporter</title><h1>system-info-exporter</h1>{links}\n"
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", page.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there are /metrics, /health and /-/ready\n")

    do_HEAD = do_GET  # noqa: N815 (the server's interface)

    def log_message(self, *_: object) -> None:
        """Scrapes are no news."""

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        packed = "gzip" in self.headers.get("Accept-Encoding", "")
        if packed:
            body = gzip.compress(body, 1)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """On every address of the container, both families where there are two."""

    daemon_threads = True
    most = MOST_THREADS

    def __init__(self, port: int, exporter: Exporter) -> None:
        both = socket.has_dualstack_ipv6() and Path("/proc/net/if_inet6").exists()
        self.address_family = socket.AF_INET6 if both else socket.AF_INET
        super().__init__(("::" if both else "", port), type("Handler", (Handler,), {"exporter": exporter}))

    def server_bind(self) -> None:
        """Listen for IPv4 as well."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def verify_request(self, *_: object) -> bool:
        """Whether there may be another connection."""
        return threading.active_count() < self.most

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 (the base class's)
        """A client that went away is no news; anything else is a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            say(f"an answer failed: {error!r}")


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="system-info-exporter", description="Export figures of GPUs, containers and this host for Prometheus."
    )
    parser.add_argument("--demo", type=int, metavar="GPUS", help="show so many invented GPUs instead of real ones")
    parser.add_argument("--port", type=int, help="port to listen on (default: 8080)")
    return parser.parse_args(arguments)


def run(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM; 75 when the container lost its GPUs and has to be restarted."""
    options = parsed(arguments)
    try:
        told = SETTINGS_VARIABLE in environment
        settings = load_settings(ExporterSettings, environment) if told else ExporterSettings()
    except DocumentError as error:
        say(f"{error}.")
        return 1
    settings = replace(settings, **{"demo_gpus": options.demo} if options.demo is not None else {})
    settings = replace(settings, **{"port": options.port} if options.port is not None else {})
    # Not an Event, whose lock may be held by the very thread that a signal interrupts.
    ends: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ends.put(0))
    exporter = Exporter(settings, lambda: ends.put(CUT_OFF_STATUS))
    try:
        server = Server(settings.port, exporter)
    except OSError as error:
        say(f"cannot listen on port {settings.port}: {error.strerror}.")
        return 1
    exporter.start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(f"listening on port {settings.port}")
    status = ends.get()
    if status == CUT_OFF_STATUS:
        say("this container lost its GPUs (as after `systemctl daemon-reload`): ending, so that Docker restarts it")
    exporter.stop()
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], os.environ))
