"""Webhooks: each service gets its form of the summary; one that fails is a warning without its address."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from build_report import notify as webhooks
from build_report.notify import DISCORD_DESCRIPTION, SLACK_SECTION, discord_message, notify, slack_message

SUMMARY = "**2 of 3 builds succeeded, 1 failed**, in 95 s.\n- ✗ **devel**: no gcc <here> & now\n- ray: +40 MB"
SECRET = "T0SECRET"


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Takes webhooks; yields its address and what it got: path and decoded JSON."""
    got: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.headers["Content-Type"] == "application/json"
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", got
        http.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class TestSending:
    def test_each_webhook_gets_its_form_once(self):
        with receiver() as (url, got):
            assert notify(SUMMARY, ok=False, slack=f"{url}/slack", discord=f"{url}/discord") == []
        assert [path for path, _ in got] == ["/slack", "/discord"]
        assert "devel" in got[0][1]["blocks"][0]["text"]["text"]
        assert got[1][1]["embeds"][0]["description"] == SUMMARY

    def test_without_webhooks_nothing_is_sent(self):
        assert notify(SUMMARY) == []

    @pytest.mark.parametrize("status", [400, 404, 500, 302])
    def test_a_refusal_is_a_warning_and_the_other_is_told_all_the_same(self, status):
        with receiver(status) as (bad, _), receiver() as (good, got):
            warnings = notify(SUMMARY, slack=f"{bad}/{SECRET}", discord=good)
        assert warnings == [f"Slack refused the summary: HTTP {status}. Check the webhook's URL."]
        assert len(got) == 1

    @pytest.mark.parametrize("url", [f"http://127.0.0.1:9/{SECRET}", f"no address {SECRET}", f"http://[{SECRET}"])
    def test_no_answer_is_a_warning_without_the_address(self, url):
        (warning,) = notify(SUMMARY, discord=url)
        assert warning.startswith("Discord did not get the summary: ")
        assert SECRET not in warning

    def test_a_service_that_hangs_is_given_up(self, monkeypatch):
        monkeypatch.setattr(webhooks, "TIMEOUT", (0.2, 0.2))
        with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
            (warning,) = notify(SUMMARY, slack=f"http://127.0.0.1:{silent.server_port}")
        assert "ReadTimeout" in warning


class TestSlack:
    def test_gets_its_own_markdown_with_special_characters_escaped(self):
        text = slack_message(SUMMARY, ok=False)["blocks"][0]["text"]
        assert text["type"] == "mrkdwn"
        assert text["text"].startswith(
            "❌ *2 of 3 builds succeeded, 1 failed*, in 95 s.\n• ✗ *devel*: no gcc &lt;here&gt; &amp; now"
        )

    def test_no_block_is_too_long_and_nothing_is_lost(self):
        long = "\n".join(f"- image {number}" for number in range(600))
        blocks = [block["text"]["text"] for block in slack_message(long, ok=True)["blocks"]]
        assert max(map(len, blocks)) <= SLACK_SECTION
        assert "".join(blocks).count("\n") == 599

    def test_a_line_without_end_is_cut(self):
        blocks = slack_message("x" * 70_000, ok=True)["blocks"]
        assert len(blocks) == webhooks.SLACK_SECTIONS
        assert max(len(block["text"]["text"]) for block in blocks) <= SLACK_SECTION


class TestDiscord:
    def test_is_coloured_by_the_outcome_and_mentions_nobody(self):
        good, bad = (discord_message("@everyone", ok=ok) for ok in (True, False))
        assert good["embeds"][0]["color"] != bad["embeds"][0]["color"]
        assert good["allowed_mentions"] == {"parse": []}

    def test_a_long_summary_is_cut_at_a_line(self):
        description = discord_message("\n".join(["a line"] * 2000), ok=True)["embeds"][0]["description"]
        assert len(description) <= DISCORD_DESCRIPTION
        assert description.endswith("a line\n")
