"""Measures what TLS before web services costs: ``python -m bench.tls``.

Deploys a small stack with MLflow and its logins, and asks MLflow at its container's address and through nginx.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import requests
from rich.console import Console

from bench import mlflow_calls
from bench.document import WIDE, machine, write_section
from bench.mlflow_calls import Call, Way, way
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


def connect(way: Way) -> requests.Response:
    """The first request of a client."""
    way.session.close()
    return mlflow_calls.get(way)


def upload(way: Way) -> requests.Response:
    """An artifact that MLflow stores."""
    return way.session.put(way.artifact(len(FILE)), data=FILE)


def download(way: Way) -> requests.Response:
    """The same artifact."""
    answer = way.session.get(way.artifact(len(FILE)))
    if answer.content != FILE:
        sys.exit("bench.tls: what came back is not what was uploaded")
    return answer


CALLS: dict[str, tuple[Call, int]] = {  # row: what is called, and how often
    "get an experiment": (mlflow_calls.get, 200),
    "log a metric": (mlflow_calls.log, 200),
    "the first, over a new connection each": (connect, 100),
    "upload 64 MiB": (upload, 10),
    "download 64 MiB": (download, 10),
}


def ways(stack: LiveStack) -> tuple[Way, Way]:
    """Directly and through nginx."""
    (network,) = stack.container("mlflow").attrs["NetworkSettings"]["Networks"].values()
    host, authority = f"127.0.0.1:{MLFLOW}", str(authority_file(stack.state))
    account = stack.mlflow_login
    return (
        way("direct", f"http://{network['IPAddress']}:5000", host=host, account=account),
        way("through nginx", f"https://{host}", host=host, account=account, authority=authority),
    )


def main() -> None:
    """Measure, print and write the section of docs/benchmarks.md."""
    argparse.ArgumentParser(prog="python -m bench.tls", description=__doc__).parse_args()
    facts = [f"- {name}: {value}" for name, value in machine().items()]
    with (
        tempfile.TemporaryDirectory(prefix="cslr-bench-tls-") as at,
        deployed("bench-tls", SETTINGS, Path(at)) as stack,
    ):
        rows = mlflow_calls.table(ways(stack), CALLS)
    write_section("tls", "\n".join(["## TLS before web services", "", METHOD, "", *facts, "", *rows]))
    Console(width=WIDE).print("\n".join(rows), markup=False)


if __name__ == "__main__":
    main()
