"""What a real Alertmanager posts to Slack, Discord and a webhook, with the platform's configuration."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from components.alert_routes import GROUP_SECONDS, AlertSecrets, configuration
from config.services import AlertmanagerSettings
from testing.servers import free_port, server_process

ALERT = {
    "labels": {"alertname": "DiskLow", "severity": "critical", "host": "gpu1", "stack": "gpu"},
    "annotations": {
        "summary": "gpu1 has 9 GB of disk left",
        "description": "Below 10 GB, jobs may fail.",
        "remedy": "`ws matrix --prune`",
    },
}
PATHS = ("/slack", "/discord/api/webhooks/1/2", "/webhook")


class Receiver(ThreadingHTTPServer):
    """Takes what is posted: path → content."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posted: dict[str, Any] = {}


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self):
        self.server.posted[self.path] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def posted(alertmanager, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """What each got of an alert."""
    port, folder = free_port(), tmp_path_factory.mktemp("alertmanager")
    with Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        slack, discord, webhook = (f"http://127.0.0.1:{receiver.server_port}{path}" for path in PATHS)
        secrets = AlertSecrets(slack=slack, discord=discord, webhook=webhook)
        file = folder / "alertmanager.yaml"
        file.write_text(configuration(AlertmanagerSettings(), secrets, proxied=False))
        options = [f"--config.file={file}", f"--storage.path={folder}", "--cluster.listen-address="]
        with server_process([str(alertmanager), *options, f"--web.listen-address=127.0.0.1:{port}"], port):
            alerts = f"http://127.0.0.1:{port}/api/v2/alerts"
            content = {"Content-Type": "application/json"}
            urllib.request.urlopen(urllib.request.Request(alerts, json.dumps([ALERT]).encode(), content)).close()
            until = time.monotonic() + GROUP_SECONDS + 20
            while not set(PATHS) <= receiver.posted.keys() and time.monotonic() < until:
                time.sleep(0.1)
        receiver.shutdown()
        yield receiver.posted


def test_slack_gets_name_severity_summary_and_remedy(posted):
    (attachment,) = posted["/slack"]["attachments"]
    assert attachment["title"] == "1 firing: DiskLow (gpu)"
    for text in ("critical: gpu1 has 9 GB of disk left", "Below 10 GB", "Remedy: `ws matrix --prune`"):
        assert text in attachment["text"]


def test_discord_gets_the_same(posted):
    (embed,) = posted[PATHS[1]]["embeds"]
    assert embed["title"] == "1 firing: DiskLow (gpu)"
    assert "Remedy: `ws matrix --prune`" in embed["description"]


def test_a_program_gets_labels_and_annotations(posted):
    (alert,) = posted["/webhook"]["alerts"]
    assert alert["labels"] == ALERT["labels"]
    assert alert["annotations"] == ALERT["annotations"]
