"""Sends the summary of a run to Slack and Discord. A failing webhook is a warning, never a failure.

The URL of a webhook is a secret.
"""

import re
from typing import Any

import requests

TITLE = "Image builds"
TIMEOUT = (5.0, 15.0)  # seconds to connect, and to wait for the answer
SLACK_SECTION, SLACK_SECTIONS = 3000, 10  # characters of one block; blocks that we send
DISCORD_DESCRIPTION = 4096  # characters
GREEN, RED = 0x2E9E5B, 0xD1433F


def notify(summary: str, *, ok: bool = True, slack: str | None = None, discord: str | None = None) -> list[str]:
    """Sends a summary (Markdown) to the given webhooks. Returns a warning for each failure."""
    sent = (("Slack", slack, slack_message), ("Discord", discord, discord_message))
    answers = (_post(name, url, message(summary, ok=ok)) for name, url, message in sent if url)
    return [warning for warning in answers if warning]


def slack_message(summary: str, *, ok: bool) -> dict[str, Any]:
    """Slack's form of a summary: its own Markdown, in blocks of limited length."""
    escaped = summary.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"\*\*(.+?)\*\*", r"*\1*", re.sub(r"^- ", "• ", escaped, flags=re.MULTILINE))
    sections = _parts(f"{_mark(ok=ok)} {text}", SLACK_SECTION)[:SLACK_SECTIONS]
    return {
        "text": f"{_mark(ok=ok)} {TITLE}",  # shown in notifications
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": section}} for section in sections],
    }


def discord_message(summary: str, *, ok: bool) -> dict[str, Any]:
    """Discord's form of a summary: an embed of limited length."""
    embed = {
        "title": f"{_mark(ok=ok)} {TITLE}",
        "description": _parts(summary, DISCORD_DESCRIPTION)[0],
        "color": GREEN if ok else RED,
    }
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _mark(*, ok: bool) -> str:
    return "✅" if ok else "❌"


def _parts(text: str, limit: int) -> list[str]:
    """The text in parts no longer than the limit, at ends of lines where there are any."""
    parts = [""]
    for line in text.splitlines(keepends=True):
        if parts[-1] and len(parts[-1]) + len(line) > limit:
            parts.append("")
        parts[-1] += line
        while len(parts[-1]) > limit:
            parts[-1:] = [parts[-1][:limit], parts[-1][limit:]]
    return parts


def _post(name: str, url: str, message: dict[str, Any]) -> str | None:
    """Returns what went wrong, if anything. Never shows the URL: whoever has it can post."""
    try:
        answer = requests.post(url, json=message, timeout=TIMEOUT, allow_redirects=False)
    except (requests.RequestException, ValueError) as error:
        return f"{name} did not get the summary: {type(error).__name__}. Check the webhook's URL and the network."
    if answer.status_code >= requests.codes.multiple_choices:
        return f"{name} refused the summary: HTTP {answer.status_code}. Check the webhook's URL."
    return None
