"""Checks the platform from another network, as another machine would: `ws test --run` runs it in test-ray-client.

It knows addresses of the host and no name of the stack's network. A line for people per check goes to stderr, one JSON
document (verification/report.py) to stdout. Exit code: 0 all passed, 1 a check failed, 2 could not run.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts import ray_tls
from contracts.cluster_test import ClusterTestSettings, Door
from contracts.document import DocumentError, load_settings
from entrypoints.verify_cluster import (
    CLIENT_SETTINGS,
    COULD_NOT_RUN,
    FAILED,
    JOB,
    PASSED,
    PROOF,
    RETRY_EVERY,
    CheckFailed,
    NotYet,
    Outcome,
    Skipped,
    explain,
    http,
    http_json,
    keep_mlflow_run,
    tell,
    within,
)

CONNECT_SECONDS = 2.0  # what is closed mostly does not answer at all
AT_ONCE = 32
ATTEMPT_SECONDS = 90.0
REFUSED_SECONDS = 40.0  # a Ray Client without the token tries for some seconds
AS_CLIENT = """
import ray
ray.init({address!r}, log_to_driver=False)
assert ray.get(ray.remote(num_cpus=0)(lambda: {proof!r}).remote()) == {proof!r}
"""
WITHOUT_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "not-the-token", "RAY_AUTH_TOKEN_PATH": ""}


@dataclass(frozen=True)
class Check:
    """One row of the table."""

    name: str
    run: Callable[[ClusterTestSettings], str]  # returns the detail; raises CheckFailed
    after: str = ""  # proves nothing unless that one passed


def trust(settings: ClusterTestSettings) -> None:
    """Makes every HTTPS client of this process trust the stack's certificates, and nothing else."""
    context = ssl.create_default_context(cadata=settings.trusted)
    if not settings.by_address:
        # A site's certificate is for names, which need not resolve here, and stands for itself.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    def trusting(*_: object, **__: object) -> ssl.SSLContext:
        return context

    # The way that PEP 476 gives: the checks that this program shares with others pass no context.
    ssl._create_default_https_context = trusting


def token(path: Path | None) -> str | None:
    """The content of a token's file."""
    return path.read_text(encoding="utf-8").strip() if path else None


def answers(door: Door) -> bool:
    """Whether a connection is accepted there."""
    with contextlib.suppress(OSError), socket.create_connection((door.host, door.port), timeout=CONNECT_SECONDS):
        return True
    return False


def accepting(doors: Iterable[Door]) -> list[Door]:
    """Those that accept a connection."""
    doors = list(doors)
    with concurrent.futures.ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return [door for door, is_open in zip(doors, pool.map(answers, doors)) if is_open]  # noqa: B905 (same length)


def published_ports(settings: ClusterTestSettings) -> str:
    """Every port that is published to other machines accepts a connection."""
    found = accepting(settings.open)
    if shut := [door for door in settings.open if door not in found]:
        raise NotYet(f"{', '.join(map(str, shut))} does not answer: does a firewall of this host stand before it?")
    return ", ".join(map(str, found))


def other_ports(settings: ClusterTestSettings) -> str:
    """Nothing else does."""
    if found := accepting(settings.closed):
        raise CheckFailed("; ".join(f"{door} answers: {door.why}" for door in found))
    hosts = sorted({door.host for door in settings.closed})
    return f"{len(settings.closed)} ports at {', '.join(hosts)} do not answer"


def health(settings: ClusterTestSettings) -> str:
    """The health service calls the platform healthy."""
    status, content = http("GET", f"{settings.health}/health")
    if status != 200:
        raise NotYet(f"{settings.health}/health answered {status}: {content[:200].decode(errors='replace').strip()}")
    report = http_json("GET", f"{settings.health}/status")
    return f"{settings.health}: {report['state']}, {len(report['services'])} services"


def dashboard(settings: ClusterTestSettings) -> str:
    """The dashboard answers with the token, and refuses without it and with another one."""
    url = f"{settings.dashboard}/api/version"
    version = http_json("GET", url, token=token(settings.ray_token))["ray_version"]
    for words, other in (("without a token", None), ("to a wrong token", "not-the-token")):
        status = http("GET", url, token=other)[0]
        if status not in (401, 403):
            raise CheckFailed(f"{url} answered {status} {words}: anyone who reaches it can run code there")
    return f"Ray {version} at {settings.dashboard}, refuses requests without the token"


def jobs(settings: ClusterTestSettings) -> str:
    """A job is submitted over HTTP, runs, and its log can be read; without the token it is refused."""
    api = f"{settings.dashboard}/api/jobs/"
    status = http("POST", api, body={"entrypoint": "true"})[0]
    if status not in (401, 403):
        raise CheckFailed(f"{api} answered {status} to a job without the token: anyone who reaches it can run code")
    secret = token(settings.ray_token)
    job = http_json("POST", api, token=secret, body={"entrypoint": JOB})["submission_id"]
    while (state := http_json("GET", f"{api}{job}", token=secret))["status"] in ("PENDING", "RUNNING"):
        time.sleep(RETRY_EVERY)
    log = http_json("GET", f"{api}{job}/logs", token=secret)["logs"]
    if state["status"] != "SUCCEEDED" or PROOF not in log:
        raise NotYet(f"job {job} ended as {state['status']}: {state.get('message', '')} {log[-300:]}".strip())
    return f"{job} succeeded, log read; refused without the token"


def as_client(settings: ClusterTestSettings, environment: dict[str, str], seconds: float) -> tuple[bool, str]:
    """Connects a Ray Client in a process of its own and runs a task: whether it could, and its last words."""
    program = AS_CLIENT.format(address=settings.ray_client, proof=PROOF)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **CLIENT_SETTINGS, **(ray_tls.environment() if settings.ray_tls else {}), **environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"no connection within {seconds:.0f} s"
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return done.returncode == 0, last[0]


def ray_client(settings: ClusterTestSettings) -> str:
    """A Ray Client connects with the token, and a task runs."""
    began = time.monotonic()
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(settings.ray_token)} if settings.ray_token else {}
    worked, said = as_client(settings, own, ATTEMPT_SECONDS)
    if not worked:
        raise NotYet(f"{settings.ray_client} did not run a task of a Ray Client: {said}")
    return f"{settings.ray_client}: connected, task run in {time.monotonic() - began:.1f} s"


def ray_client_without_token(settings: ClusterTestSettings) -> str:
    """A Ray Client with another token is refused."""
    worked, said = as_client(settings, WITHOUT_TOKEN, REFUSED_SECONDS)
    if worked:
        raise CheckFailed(f"{settings.ray_client} ran a task without the token: anyone who reaches it can run code")
    return f"refused ({said[:80]})"


def mlflow(settings: ClusterTestSettings) -> str:
    """A run with a parameter, a metric and an artifact is written and read back."""
    return f"run {keep_mlflow_run(settings.mlflow)} at {settings.mlflow} read back"


def marimo(settings: ClusterTestSettings) -> str:
    """Marimo opens with its token and not without."""
    url = settings.marimo
    if (status := http("GET", f"{url}/api/status")[0]) < 300:
        raise CheckFailed(f"{url} answered {status} without a token: anyone who reaches it can run code there")
    status, content = http("GET", f"{url}/api/status", token=token(settings.marimo_token))
    if status != 200:
        raise NotYet(f"{url} answered {status} to the stack's own token")
    return f"marimo {json.loads(content)['version']} at {url}, refuses requests without the token"


def redis(settings: ClusterTestSettings) -> str:
    """Redis asks for its password."""
    door = settings.redis
    if door is None:
        raise CheckFailed("no address of Redis is given")
    with socket.create_connection((door.host, door.port), timeout=CONNECT_SECONDS) as connection:
        connection.settimeout(CONNECT_SECONDS)
        connection.sendall(b"KEYS *\r\n")
        said = connection.recv(200).decode(errors="replace").strip()
    if not said.startswith(("-NOAUTH", "-NOPERM", "-WRONGPASS")):
        raise CheckFailed(f"{door} answered {said!r} without a password: anyone who reaches it can read the cluster")
    return f"{door} refuses commands without the password"


CHECKS = (
    Check("published_ports", published_ports),
    Check("other_ports", other_ports),
    Check("health", health),
    Check("dashboard", dashboard),
    Check("job_submission", jobs),
    Check("ray_client", ray_client),
    Check("ray_client_without_token", ray_client_without_token, after="ray_client"),
    Check("mlflow", mlflow),
    Check("marimo", marimo),
    Check("redis", redis),
)


def perform(settings: ClusterTestSettings, check: Check) -> str:
    """Repeats a check while its answer may still become right. Returns the detail or raises CheckFailed."""
    deadline = time.monotonic() + settings.settle
    while True:
        try:
            return within(ATTEMPT_SECONDS, lambda: check.run(settings))
        except NotYet as error:
            failure: CheckFailed = error
        except (CheckFailed, Skipped):
            raise
        except Exception as error:  # noqa: BLE001  (whatever a service throws at us is a failed attempt)
            failure = NotYet(explain(error))
        if time.monotonic() > deadline:
            raise failure
        time.sleep(RETRY_EVERY)


def outcome_of(settings: ClusterTestSettings, check: Check, failed: Collection[str]) -> Outcome:
    """Runs one check and tells of it. `failed`: the names of those that failed before it."""
    began = time.monotonic()
    reason = settings.skipped.get(check.name)
    if check.after in failed:
        reason = f"not run, because {check.after} did not pass"
    if reason:
        outcome = Outcome(check.name, None, "skip", reason, 0.0)
    else:
        try:
            outcome = Outcome(check.name, None, "pass", perform(settings, check), time.monotonic() - began)
        except CheckFailed as error:
            outcome = Outcome(check.name, None, "fail", str(error), time.monotonic() - began)
    tell(f"{outcome.result} {check.name} ({outcome.seconds:.1f} s): {outcome.detail}")
    return outcome


def main() -> int:
    """Runs all checks. Returns the exit code."""
    try:
        settings = load_settings(ClusterTestSettings, os.environ)
    except DocumentError as error:
        print(error, file=sys.stderr)
        return COULD_NOT_RUN
    if settings.trusted:
        trust(settings)
    began, started = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    outcomes: list[Outcome] = []
    for check in CHECKS:
        failed = [one.name for one in outcomes if one.result == "fail"]
        outcomes.append(outcome_of(settings, check, failed))
    ok = not any(one.result == "fail" for one in outcomes)
    checks = [{**asdict(one), "seconds": round(one.seconds, 2)} for one in outcomes]
    report = {"ok": ok, "started": started, "seconds": round(time.monotonic() - began, 2), "checks": checks}
    print(json.dumps(report), flush=True)
    return PASSED if ok else FAILED


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # an attempt that was given up may hold a thread for ever
