"""Measures each service's downtime during a change of its stack, as seen from this host."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests

INTERVAL_SECONDS = 0.2
ANSWER_SECONDS = 2.0


class Away:
    """Asks every service again and again; `seconds` is the longest time without an answer, by service."""

    def __init__(self, settings: Mapping[str, Any], ray_token: str) -> None:
        ray = settings["ray"]["cpu"]["ports"]["dashboard"]
        self._questions: dict[str, Callable[[], bool]] = {
            "redis": lambda: _redis_answers(settings["redis"]["port"]),
            "mlflow": lambda: _answers(settings["mlflow"]["port"], "/health"),
            "ray-cpu": lambda: _answers(ray, "/api/jobs/", ray_token),
            "marimo": lambda: _answers(settings["marimo"]["port"], "/health"),
        }
        self._over = threading.Event()
        self.seconds: dict[str, float] = dict.fromkeys(self._questions, 0.0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Asks for the time of a `with` block."""
        threads = [threading.Thread(target=self._ask, args=one, daemon=True) for one in self._questions.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _ask(self, service: str, question: Callable[[], bool]) -> None:
        answered = time.monotonic()
        while True:
            last = self._over.is_set()
            if question():
                now = time.monotonic()
                # The normal time between two answers does not count as absence.
                away = now - answered - INTERVAL_SECONDS
                self.seconds[service] = max(self.seconds[service], away if away > 2 * INTERVAL_SECONDS else 0.0)
                answered = now
            elif last:
                self.seconds[service] = max(self.seconds[service], time.monotonic() - answered)
            if last:
                return
            self._over.wait(INTERVAL_SECONDS)


def _answers(port: int, path: str, token: str = "") -> bool:
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=ANSWER_SECONDS).ok
    except requests.RequestException:
        return False


def _redis_answers(port: int) -> bool:
    """Whether it asks for its password, which it does only once its data is loaded."""
    try:
        with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
