"""Measures `ws cluster up` under work: ``python -m bench.rolling [--packages FOLDER]``.

The three hosts are those of tests/cluster. Every node of every host is replaced while a job of 1,000 tasks runs, and
with --packages also a Tune run: the folder has what Tune needs beside Ray (``pip install --target FOLDER pandas pyarrow
tensorboardX fsspec``, for the Python of the images).
"""

import argparse
import io
import json
import re
import shlex
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import rolling_work
from bench.document import WIDE, machine, version_of, write_section
from testing.cluster.cluster import SETTINGS, Cluster, HostStack
from testing.cluster.hosts import run
from testing.harness import merged
from testing.live.deployment import wait_until
from ws.errors import WsError
from ws.rolling.node import STAGES
from ws.rolling.ssh import Remote
from ws.rolling.walk import Walk

SOURCE, PACKAGES, SHARED = "/bench/rolling_work.py", "/bench/packages", "/bench/shared"
HOOKS = "/run/cslr/entrypoints/hooks/site"
SHORT, LONG = "30s", "15m"  # for the work of a node: first less than a trial takes, then for the drivers to end
STAGE = re.compile(rf"(\S+): ({'|'.join(STAGES)}) after ([\d.]+) s")
TEXT = """\
`ws cluster up` over three hosts of this machine, namespaces with a Docker Engine each: {nodes} nodes of 1 CPU, and a
standby head. Work runs on all of them, its drivers on the host that leads. {course} Seconds:"""
STOPPED = """\
With `--drain {short}` it took {first:.0f} s for the first two hosts and up to the third, at which it stopped, since the
drivers still ran; none of them ended. {waited:.0f} s later they had ended by themselves, and the same command with
`--drain {long}` did the rest: {total:.0f} s in all."""
WHOLE = "With `--drain {short}` it took {first:.0f} s; the drivers had ended by themselves before their host's turn."
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, kw_only=True)
class InNamespace(Remote):
    """A host of this machine, which needs no SSH."""

    host: HostStack

    def command(self, *words: str) -> tuple[str, ...]:
        """The command in the host's network, with its state and its Docker."""
        variables = [f"{key}={self.host.environment[key]}" for key in ("XDG_STATE_HOME", "DOCKER_HOST")]
        text = f"cd {self.host.folder} && {shlex.join((sys.executable, '-m', 'ws', *words, '--stack', self.stack))}"
        return (*self.host.enter, "env", *variables, "sh", "-c", text)


@dataclass(frozen=True)
class Job:
    """A submitted job."""

    cluster: Cluster
    identifier: str

    @classmethod
    def submit(cls, cluster: Cluster, node: str, kind: str) -> "Job":
        """With its driver on a node."""
        body = {
            "entrypoint": f"python {SOURCE} {kind} {SHARED}",
            "entrypoint_resources": {node: 0.001},
            "runtime_env": {"env_vars": {"PYTHONPATH": f"{HOOKS}:{PACKAGES}"}},
        }
        return cls(cluster, str(ask(cluster, "/api/jobs/", body)["submission_id"]))

    @property
    def status(self) -> str:
        """As Ray says."""
        return str(ask(self.cluster, f"/api/jobs/{self.identifier}")["status"])

    def result(self) -> dict[str, Any]:
        """What its program found; fails with the end of its log."""
        wait_until(lambda: self.status in ENDED, f"the end of {self.identifier}", 900)
        log = str(ask(self.cluster, f"/api/jobs/{self.identifier}/logs")["logs"])
        if self.status != "SUCCEEDED":
            raise SystemExit(log[-3000:])
        found: dict[str, Any] = json.loads(next(line for line in reversed(log.splitlines()) if line.startswith("{")))
        return found


def ask(cluster: Cluster, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 (JSON)
    """Asks the dashboard, by way of a host's gateway, again while the head moves."""
    stack = next(iter(cluster.stacks.values()))
    token = (stack.state / "generated" / "ray-token").read_text().strip()
    # The gateway refuses while there is no head.
    words = ["curl", "-sS", "--fail", "--retry", "30", "--retry-all-errors", "--retry-delay", "2", "-m", "30"]
    words += ["-H", f"Authorization: Bearer {token}", f"http://127.0.0.1:8265{path}"]
    if body:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    return json.loads(run(*stack.enter, *words))


def walk(cluster: Cluster, drain: str, console: Console) -> str:
    """Walks over all hosts; why it stopped, if it did."""
    hosts = tuple(
        InNamespace(name=name, destination=name, folder=str(stack.folder), stack=name, here=False, host=stack)
        for name, stack in cluster.stacks.items()
    )
    try:
        Walk(
            name="rig", hosts=hosts, options=("--drain", drain), again="python -m bench.rolling", console=console
        ).run()
    except WsError as error:
        return str(error)
    return ""


class Tee(io.StringIO):
    """Keeps what is written, and shows it."""

    def write(self, text: str) -> int:
        """See io."""
        sys.stderr.write(text)
        return super().write(text)


def main() -> int:
    """Measures, and writes the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.rolling", description=__doc__)
    parser.add_argument(
        "--packages", type=Path, metavar="FOLDER", help="with what Ray Tune needs; without it, no Tune run"
    )
    packages: Path | None = parser.parse_args().packages
    where = machine()
    with tempfile.TemporaryDirectory() as folder, Cluster.make(Path(tempfile.gettempdir(), "cslr-cluster")) as cluster:
        shared = prepare(cluster, Path(folder), packages)
        cluster.up_all()
        write_section("rolling", measure(cluster, shared, ("tasks", "trials") if packages else ("tasks",), where))
    return 0


def prepare(cluster: Cluster, folder: Path, packages: Path | None) -> Path:
    """Mounts the programs, and the folder that the hosts share, into the workers to come; returns the latter."""
    folder.chmod(0o755)
    shared, source = folder / "shared", folder / "rolling_work.py"
    shared.mkdir()
    shared.chmod(0o777)
    source.write_text(Path(rolling_work.__file__).read_text())
    mounts = {SOURCE: source, SHARED: shared, **({PACKAGES: packages.resolve()} if packages else {})}
    volumes = [{"source": str(path), "target": place, "read_only": place != SHARED} for place, path in mounts.items()]
    for stack in cluster.stacks.values():
        stack.settings = merged(SETTINGS, {"ray": {"cpu": {"volumes": volumes}}})
        stack.configure()
    return shared


def measure(cluster: Cluster, shared: Path, kinds: tuple[str, ...], where: dict[str, str]) -> str:
    """Replaces every node under work; the section."""
    said = Tee()
    console = Console(file=said, width=WIDE)
    nodes = cluster.nodes(leader := cluster.leader())
    jobs = {kind: Job.submit(cluster, f"{leader}-ray-cpu", kind) for kind in kinds}
    for kind in kinds:
        wait_until(lambda kind=kind: any(shared.glob(f"{kind[:-1]}-*")), f"{kind} that run", 180)  # type: ignore[misc]
    for stack in cluster.stacks.values():
        stack.configure({"ray": {"cpu": {"memory": "2100m"}, "head": {"memory": "2100m"}}})
    began = time.monotonic()
    stopped = walk(cluster, SHORT, console)
    first = time.monotonic() - began
    if stopped and f"Stopped at {leader}" not in stopped:
        raise SystemExit(stopped)
    results = {kind: job.result() for kind, job in jobs.items()}
    waited = time.monotonic() - began - first
    if stopped and (again := walk(cluster, LONG, console)):
        raise SystemExit(again)
    seconds = {"first": first, "waited": waited, "total": time.monotonic() - began}
    course = (STOPPED if stopped else WHOLE).format(short=SHORT, long=LONG, **seconds)
    return section(said.getvalue(), nodes, results, course, where)


def section(output: str, nodes: list[str], results: dict[str, Any], course: str, where: dict[str, str]) -> str:
    """The section of the document. `course`: in words, how the replacement went."""
    times: dict[str, dict[str, str]] = {}
    for node, stage, took in STAGE.findall(output):
        times.setdefault(node, {})[stage] = took
    rows = [
        f"| {node} | {' | '.join(found.get(stage, '') for stage in STAGES)} | {sum(map(float, found.values())):.1f} |"
        for node, found in times.items()
    ]
    found = results["tasks"]
    lines = [
        f"- {rolling_work.NUMBER} tasks of {rolling_work.SECONDS} s, max_retries as by default: {found['right']} right "
        f"results, {found['again']} runs of tasks again, {found['seconds']} s in all"
    ]
    if trials := results.get("trials"):
        lines.append(
            f"- {rolling_work.TRIALS} trials of {rolling_work.STEPS} steps with a checkpoint each second: "
            f"{trials['right']} at their last step, {trials['again']} starts again from a checkpoint, "
            f"{trials['from 0']} from the beginning, {trials['seconds']} s in all"
        )
    facts = {**where, "commit": version_of("git", "rev-parse", "--short", "HEAD")}
    text = TEXT.format(nodes=len(nodes), course=course)
    return "\n".join([
        "## A rolling replacement",
        "",
        *textwrap.wrap(text, WIDE),
        "",
        f"| node | {' | '.join(STAGES)} | in all |",
        f"|---|{'---:|' * (len(STAGES) + 1)}",
        *rows,
        "",
        *lines,
        "",
        f"{'; '.join(f'{key}: {value}' for key, value in facts.items())}.",
        f"Command: `python -m bench.rolling{' --packages FOLDER' if trials else ''}`.",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
