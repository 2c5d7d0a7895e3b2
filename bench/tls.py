"""Measures what TLS before web services costs: ``python -m bench.tls``.

Deploys a small stack with MLflow and its logins. The same requests go to MLflow's container and through nginx, in
turns, so that other load on this machine meets both.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import requests
from rich.console import Console
from rich.progress import track

from bench.document import WIDE, machine, write_section
from stack.tls import authority_file
from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack, deployed

MLFLOW = 28_741
SETTINGS = merged(
    SMALL,
    {
        "network": {"name": "cslr-bench-tls", "subnet": "10.206.0.0/24"},
        "redis": {"port": 28_742},
        "postgres": {"enabled": True, "port": 28_743},
        "mlflow": {"enabled": True, "port": MLFLOW, "logins": True},
        "health": {"port": 28_744},
        "tls": {"source": "generated"},
    },
)
FILE = os.urandom(64 * 2**20)
METHOD = """\
Times in ms: median (least to most). *Direct*: plain HTTP to the address of MLflow's container. *Through nginx*: HTTPS
to the published port. Both with a login that is cached, over one connection unless the row says otherwise; client and
server share the cores."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to MLflow."""

    address: str
    authority: str | bool
    account: tuple[str, str]
    run: str = ""

    def session(self) -> requests.Session:
        """A client that keeps its connection."""
        session = requests.Session()
        session.trust_env = False  # REQUESTS_CA_BUNDLE would prevail over `verify`
        session.verify, session.auth = self.authority, self.account
        session.headers["Host"] = f"127.0.0.1:{MLFLOW}"
        return session

    def api(self, path: str) -> str:
        """The address of a call of MLflow's interface."""
        return f"{self.address}/api/2.0/{path}"

    @property
    def artifact(self) -> str:
        """The address of the file in the run."""
        return self.api(f"mlflow-artifacts/artifacts/0/{self.run}/artifacts/file")


Work = Callable[[Way, requests.Session], requests.Response]


def get(way: Way, session: requests.Session) -> requests.Response:
    """One read from Postgres."""
    return session.get(way.api("mlflow/experiments/get"), params={"experiment_id": "0"})


def log(way: Way, session: requests.Session) -> requests.Response:
    """One write to Postgres."""
    metric = {"run_id": way.run, "key": "loss", "value": 0.5, "timestamp": 1, "step": 1}
    return session.post(way.api("mlflow/runs/log-metric"), json=metric)


def connect(way: Way, session: requests.Session) -> requests.Response:
    """The first request of a client."""
    session.close()
    return get(way, session)


def upload(way: Way, session: requests.Session) -> requests.Response:
    """An artifact that MLflow stores."""
    return session.put(way.artifact, data=FILE)


def download(way: Way, session: requests.Session) -> requests.Response:
    """The same artifact."""
    answer = session.get(way.artifact)
    if answer.content != FILE:
        sys.exit("bench.tls: what came back is not what was uploaded")
    return answer


WORK: dict[str, tuple[Work, int]] = {  # row: what is done, and how often
    "get an experiment": (get, 200),
    "log a metric": (log, 200),
    "the first, over a new connection each": (connect, 100),
    "upload 64 MiB": (upload, 10),
    "download 64 MiB": (download, 10),
}


def ways(stack: LiveStack) -> tuple[Way, Way]:
    """Directly and through nginx, for a new run of MLflow."""
    (network,) = stack.container("mlflow").attrs["NetworkSettings"]["Networks"].values()
    direct = Way(address=f"http://{network['IPAddress']}:5000", authority=True, account=stack.mlflow_login)
    made = direct.session().post(direct.api("mlflow/runs/create"), json={"experiment_id": "0", "start_time": 1})
    made.raise_for_status()
    run = made.json()["run"]["info"]["run_id"]
    authority = str(authority_file(stack.state))
    return (
        Way(address=direct.address, authority=True, account=stack.mlflow_login, run=run),
        Way(address=f"https://127.0.0.1:{MLFLOW}", authority=authority, account=stack.mlflow_login, run=run),
    )


def row(name: str, direct: Way, proxied: Way) -> str:
    """One row of the table, in Markdown."""
    work, times = WORK[name]
    took: dict[Way, list[float]] = {direct: [], proxied: []}
    sessions = {way: way.session() for way in took}
    for _ in track(range(times), description=name, console=Console(stderr=True)):
        for way, session in sessions.items():
            began = time.perf_counter()
            work(way, session).raise_for_status()
            took[way].append(1000 * (time.perf_counter() - began))
    cells = [f"{median(one):.1f} ({min(one):.1f} to {max(one):.1f})" for one in took.values()]
    return f"| {name} | {times} | {' | '.join(cells)} | {median(took[proxied]) / median(took[direct]):.2f} |"


def main() -> None:
    """Measure, print and write the section of docs/benchmarks.md."""
    argparse.ArgumentParser(prog="python -m bench.tls", description=__doc__).parse_args()
    facts = [f"- {name}: {value}" for name, value in machine().items()]
    with (
        tempfile.TemporaryDirectory(prefix="cslr-bench-tls-") as at,
        deployed("bench-tls", SETTINGS, Path(at)) as stack,
    ):
        both = ways(stack)
        rows = [row(name, *both) for name in WORK]
    table = ["| request | times | direct | through nginx | nginx / direct |", "|---|--:|--:|--:|--:|", *rows]
    write_section("tls", "\n".join(["## TLS before web services", "", METHOD, "", *facts, "", *table]))
    Console(width=WIDE).print("\n".join(table), markup=False)


if __name__ == "__main__":
    main()
