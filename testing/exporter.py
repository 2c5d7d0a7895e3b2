"""The exporter as a process of its own."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

INTERVAL = 0.2  # seconds from one collection to the next


@dataclass(frozen=True)
class Running:
    """An exporter that runs."""

    process: subprocess.Popen[str]
    port: int

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> dict[str, Metric]:
        """Name → metric."""
        return {metric.name: metric for metric in text_string_to_metric_families(self.get("/metrics")[1])}

    def value(self, name: str, **labels: str) -> float | None:
        """A sample; None where there is none."""
        for metric in self.metrics().values():
            for sample in metric.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None

    def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for something to become true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.get("/health")[1]
            time.sleep(INTERVAL / 2)

    def ready(self) -> bool:
        """Whether it answers and has figures."""
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            return False

    def problems(self) -> list[str]:
        """What /health says."""
        found: list[str] = json.loads(self.get("/health")[1])["problems"]
        return found
