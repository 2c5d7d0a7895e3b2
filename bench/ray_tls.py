"""Measures what Ray's own TLS costs, between two nodes in containers: ``python -m bench.ray_tls --image IMAGE``.

Rounds without and with TLS take turns, so that other load on this machine meets both.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import cast

import docker
from cryptography.x509.oid import ExtendedKeyUsageOID
from docker.models.containers import Container
from docker.types import EndpointConfig, IPAMConfig, IPAMPool

from bench.document import machine, write_section
from contracts import ray_tls
from stack.certificates import issue, make_authority

SUBNET, HEAD, WORKER = "10.206.0.0/24", "10.206.0.10", "10.206.0.11"
NETWORK, MOUNTED = "cslr-bench-ray-tls", "/run/secrets"
HEALTHY = "import urllib.request as u; u.urlopen('http://127.0.0.1:52365/api/healthz', timeout=1)"
NODE = ("--num-cpus=1", "--object-store-memory=600000000", "--dashboard-agent-listen-port=52365", "--block")
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{MOUNTED}/ray-token", "RAY_USAGE_STATS_ENABLED": "0"}
DRIVER = Path(__file__).with_name("ray_tls_driver.py")
START_SECONDS = 120.0
HEADER = "| Measure | Without | With TLS | With / without |\n|---|---|---|---|"


def secrets(folder: Path) -> None:
    """Writes the token, and a certificate for both nodes."""
    now = datetime.now(UTC)
    authority = make_authority("bench", now)
    usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    pair = issue(authority, (HEAD, WORKER, "127.0.0.1", "localhost"), now, usages=usages)
    texts = {ray_tls.AUTHORITY: authority.chain, ray_tls.CERTIFICATE: pair.chain, ray_tls.KEY: pair.key}
    for name, text in {**texts, "ray-token": b"only-for-this-measurement"}.items():
        (folder / name).write_bytes(text)
        (folder / name).chmod(0o644)
    folder.chmod(0o755)


@contextmanager
def node(
    engine: docker.DockerClient, image: str, address: str, environment: Mapping[str, str], folder: Path, *start: str
) -> Iterator[tuple[Container, float]]:
    """A node once it is healthy, and how long that took."""
    began = time.monotonic()
    container = engine.containers.run(
        image,
        ["ray", "start", f"--node-ip-address={address}", *start, *NODE],
        detach=True,
        network=NETWORK,
        networking_config={NETWORK: EndpointConfig("1.41", ipv4_address=address)},
        environment={**TOKEN, **environment},
        volumes={str(folder): {"bind": MOUNTED, "mode": "ro"}, str(DRIVER): {"bind": "/driver.py", "mode": "ro"}},
        shm_size="1g",
    )
    try:
        while container.exec_run(["python", "-c", HEALTHY]).exit_code:
            if time.monotonic() - began > START_SECONDS:
                raise SystemExit(container.logs(tail=20).decode(errors="replace"))
        yield container, time.monotonic() - began
    finally:
        container.remove(force=True, v=True)


def measured(engine: docker.DockerClient, image: str, folder: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """Measure → value of one round."""
    joins = f"--address={HEAD}:6379"
    with (
        node(engine, image, HEAD, environment, folder, "--head", "--port=6379") as (head, first),
        node(engine, image, WORKER, environment, folder, joins, '--resources={"worker": 1}') as (_, second),
    ):
        done = head.exec_run(["timeout", "300", "python", "/driver.py"])
        output = cast("bytes", done.output).decode(errors="replace")
        if done.exit_code:
            raise SystemExit(output[-2000:])
        found: dict[str, float] = json.loads(output.strip().splitlines()[-1])
        return {"the head is healthy, s": first, "the second node is healthy, s": second, **found}


def table(without: list[dict[str, float]], with_tls: list[dict[str, float]]) -> str:
    """The medians of all rounds, with the least and the most."""
    lines = [HEADER]
    for name in without[0]:
        values = [sorted(one[name] for one in rounds) for rounds in (without, with_tls)]
        cells = [f"{median(each):.3g} ({each[0]:.3g} to {each[-1]:.3g})" for each in values]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {median(values[1]) / median(values[0]):.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measures, and writes the section of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="with Ray and NumPy, such as cslr/ml:ray-runtime-…")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    engine, rounds = docker.from_env(timeout=120), tuple[list[dict[str, float]], list[dict[str, float]]](([], []))
    about = machine()
    network = engine.networks.create(NETWORK, ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)]))
    try:
        with tempfile.TemporaryDirectory() as name:
            secrets(Path(name))
            for _ in range(arguments.rounds):
                for found, environment in zip(rounds, ({}, ray_tls.environment(MOUNTED)), strict=True):
                    found.append(measured(engine, arguments.image, Path(name), environment))
                    print(found[-1], flush=True)
    finally:
        network.remove()
    facts = "\n".join(f"- {key}: {value}" for key, value in about.items())
    text = (
        "## Ray's own TLS\n\nTwo nodes in containers, and a driver on the first that uses the second. "
        f"Median of {arguments.rounds} rounds each, which took turns, and in brackets the least and the most.\n\n"
        f"{table(*rounds)}\n\n{facts}\n\nCommand: `python -m bench.ray_tls --image {arguments.image}`."
    )
    write_section("ray_tls", text)


if __name__ == "__main__":
    main()
