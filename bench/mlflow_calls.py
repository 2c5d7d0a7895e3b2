"""Calls of MLflow for measurements: the same ones by several ways, in turns, so that other load meets all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import requests
from rich.console import Console
from rich.progress import track


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to a server: its address, a run that is there, and a client that keeps its connection."""

    name: str
    address: str
    session: requests.Session
    run: str

    def api(self, path: str) -> str:
        """The address of a call of MLflow's interface."""
        return f"{self.address}/api/2.0/{path}"

    def artifact(self, size: int) -> str:
        """The address of a file in the run."""
        return self.api(f"mlflow-artifacts/artifacts/0/{self.run}/artifacts/{size}-bytes")


Call = Callable[[Way], requests.Response]


def way(
    name: str, address: str, *, host: str, account: tuple[str, str] | None = None, authority: str | bool = True
) -> Way:
    """A way with a new run at its end. `host`: what the server is called by."""
    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would prevail over `verify`
    session.verify, session.auth = authority, account
    session.headers["Host"] = host
    run = {"experiment_id": "0", "start_time": 1}
    made = session.post(f"{address}/api/2.0/mlflow/runs/create", json=run)
    made.raise_for_status()
    return Way(name=name, address=address, session=session, run=made.json()["run"]["info"]["run_id"])


def get(way: Way) -> requests.Response:
    """One read from Postgres."""
    return way.session.get(way.api("mlflow/experiments/get"), params={"experiment_id": "0"})


def log(way: Way) -> requests.Response:
    """One write to Postgres."""
    metric = {"run_id": way.run, "key": "loss", "value": 0.5, "timestamp": 1, "step": 1}
    return way.session.post(way.api("mlflow/runs/log-metric"), json=metric)


def table(ways: Sequence[Way], calls: Mapping[str, tuple[Call, int]]) -> list[str]:
    """A row in Markdown for each call, made that often by each way. The last columns compare with the first way."""
    first, *others = (one.name for one in ways)
    names = [first, *others, *(f"{one} / {first}" for one in others)]
    rows = [f"| call | times | {' | '.join(names)} |", f"|---|{'--:|' * (len(names) + 1)}"]
    return [*rows, *(_row(name, ways, *calls[name]) for name in calls)]


def _row(name: str, ways: Sequence[Way], call: Call, times: int) -> str:
    took: dict[str, list[float]] = {one.name: [] for one in ways}
    for _ in track(range(times), description=name, console=Console(stderr=True)):
        for one in ways:
            began = time.perf_counter()
            call(one).raise_for_status()
            took[one.name].append(1000 * (time.perf_counter() - began))
    (first, *others) = took.values()
    cells = [f"{median(one):.1f} ({min(one):.1f} to {max(one):.1f})" for one in took.values()]
    ratios = [f"{median(one) / median(first):.2f}" for one in others]
    return f"| {name} | {times} | {' | '.join(cells + ratios)} |"
