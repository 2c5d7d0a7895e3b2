"""The secrets that probes need, read from files and redacted from all output."""

import json
from pathlib import Path

from markupsafe import escape

from contracts import mlflow_login
from contracts.postgres import MONITOR
from contracts.status import Reason
from entrypoints.health.failure import FailureError

NAMES = ("redis-reader", f"postgres-{MONITOR}", "ray-token", "marimo-token", mlflow_login.SERVICE_SECRET)
SHORTEST_REDACTED = 8  # characters; redacting shorter ones would garble texts


class Secrets:
    """The secret files of one folder, read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._values: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        for name in NAMES:
            try:
                self._values[name] = (folder / name).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                self._problems[name] = getattr(error, "strerror", None) or "not UTF-8"
        values = [value for value in self._values.values() if len(value) >= SHORTEST_REDACTED]
        self._forms = {form(value) for value in values for form in (str, _inside_html, _inside_json)}

    def __getitem__(self, name: str) -> str:
        if name not in self._values:
            problem = f"the secret file {self._folder / name} cannot be read: {self._problems[name]}"
            raise FailureError(Reason.SECRET_UNREADABLE, problem)
        return self._values[name]

    def get(self, name: str) -> str | None:
        """Return a secret that is optional for a check."""
        return self._values.get(name)

    def redact(self, text: str) -> str:
        """Return the text without any secret, including secrets escaped for JSON or HTML."""
        for form in sorted(self._forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text


def _inside_json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _inside_html(text: str) -> str:
    return str(escape(text))
