"""Runs a verification from the host: a client container in the network, then a client inside Marimo's container.

Owns the client container and removes it whatever happens. The checks themselves are in entrypoints/verify_cluster.py.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, cast

import docker
import pydantic
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import LogConfig, Mount

from contracts import mlflow_login, ray_tls
from docker_api.one_off import limits
from stack.programs import ENTRYPOINTS, program_path
from stack.secrets import RAY_TOKEN, SECRETS_TARGET
from verification import published
from verification.report import CheckResult, Report
from verification.spec import ENVIRONMENT, Service, VerificationSpec

PROGRESS = b"verify: "  # prefix of verify_cluster.py's lines for people
SOURCE = ENTRYPOINTS / "verify_cluster.py"
WITH_PYTHON, PROGRAM = program_path("with_python.sh"), program_path("verify_cluster.py")
RAY_TOKEN_FILE = RAY_TOKEN["RAY_AUTH_TOKEN_PATH"]
MARIMO_TOKEN_FILE = f"{SECRETS_TARGET}/marimo-token"
TRANSCRIPTION_TOKEN_FILE = f"{SECRETS_TARGET}/transcription-token"
HOSTNAME = "verify"
MEMORY = 2 * 2**30  # bytes
TEMPORARY_FILES = "rw,noexec,nosuid,nodev,mode=1777,size=512m"
LOG_LINES = 30
MARGIN = 10.0  # seconds between the client's own deadline and ours
MARIMO_SECONDS = 60.0  # for connecting from Marimo's container

Progress = Callable[[str], None]


class ClientError(Exception):
    """The client container gave no report. The message is one sentence."""


def verify(spec: VerificationSpec, progress: Progress, checks: Sequence[str] = ()) -> Report:
    """Runs all checks, or some of the client's and those that they need, within the spec's deadline.

    `progress` gets a line as each ends. Raises nothing of Docker.
    """
    began, started = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        engine = docker.from_env()
        report = run_client(engine, spec, progress, checks)
        # If no head answers, Marimo cannot connect either.
        if spec.marimo and spec.nodes and "connect" not in {check.name for check in report.failures}:
            # Something is always left for it, even if the client took more than its share.
            seconds = max(MARGIN, min(MARIMO_SECONDS, spec.deadline - (time.monotonic() - began)))
            check = marimo_connects(engine, spec, spec.marimo, seconds)
            report = report.with_check(told(check, progress))
        if spec.mlflow_published and "mlflow_run" not in {check.name for check in report.failures}:
            report = report.with_check(told(published.check(spec.mlflow_published), progress))
    except (DockerException, requests.RequestException, ClientError) as error:
        return failed_to_run(explain(error, spec), started, time.monotonic() - began)
    return report.model_copy(update={"seconds": round(time.monotonic() - began, 2)})


def told(check: CheckResult, progress: Progress) -> CheckResult:
    """Reports a check, and returns it."""
    progress(f"{check.result} {check.name} ({check.seconds:.1f} s): {check.detail}")
    return check


def failed_to_run(detail: str, started: str, seconds: float) -> Report:
    """A report with a single failure."""
    check = CheckResult(name="client", result="fail", detail=detail, seconds=round(seconds, 2))
    return Report(ok=False, started=started, seconds=check.seconds, checks=(check,))


def explain(error: Exception, spec: VerificationSpec) -> str:
    """Explains a Docker error in one sentence, with the remedy."""
    if isinstance(error, ImageNotFound):
        return f"the client's image {spec.client.image} is not on this Docker host: `make up` builds or pulls it"
    if isinstance(error, APIError):
        return f"Docker refuses the client container in network {spec.network}: {error.explanation or error}"
    if isinstance(error, ClientError):
        return str(error)
    return f"Docker does not answer: {str(error).rstrip('.')}. Start it, or set DOCKER_HOST to its address"


@contextlib.contextmanager
def client_container(
    engine: docker.DockerClient, spec: VerificationSpec, seconds: float, checks: Sequence[str] = ()
) -> Iterator[Container]:
    """The client, created but not started. Removed at the end, as are leftovers of an interrupted run."""
    name = f"{spec.project}-{spec.stack}-verify"
    remove(engine, name)
    binds = {WITH_PYTHON: spec.client.with_python, PROGRAM: spec.client.program}
    secrets = {
        RAY_TOKEN_FILE: spec.secrets.ray_token,
        MARIMO_TOKEN_FILE: spec.secrets.marimo_token,
        TRANSCRIPTION_TOKEN_FILE: spec.secrets.transcription_token,
        str(mlflow_login.FILE): spec.secrets.mlflow_password,
        **{f"{SECRETS_TARGET}/{name}": path for name, path in spec.secrets.ray_certificate.items()},
    }
    environment = {"HOME": "/tmp", "RES_OPTIONS": "timeout:1 attempts:1", ENVIRONMENT: limited(spec, seconds)}  # noqa: S108
    environment |= spec.client.environment
    if spec.secrets.ray_token:
        environment |= RAY_TOKEN
    if spec.secrets.ray_certificate:
        environment |= ray_tls.environment()
    if spec.secrets.marimo_token:
        environment |= {"CSLR_MARIMO_TOKEN_PATH": MARIMO_TOKEN_FILE}
    if spec.secrets.transcription_token:
        environment |= {"CSLR_TRANSCRIPTION_TOKEN_PATH": TRANSCRIPTION_TOKEN_FILE}
    try:
        yield engine.containers.create(
            spec.client.image,
            entrypoint=["sh"],
            command=[WITH_PYTHON, PROGRAM, *(("--checks", ",".join(checks)) if checks else ())],
            name=name,
            hostname=HOSTNAME,
            extra_hosts={HOSTNAME: "127.0.0.1"},  # on the host network nothing else resolves it
            network=spec.network,
            user=spec.client.user,
            labels=spec.client.labels,
            environment=environment,
            # Unlike a short-form bind, a mount of a missing file is an error and creates no folder.
            mounts=[
                Mount(target, source, type="bind", read_only=True)
                for target, source in (binds | secrets).items()
                if source
            ],
            tmpfs={"/tmp": TEMPORARY_FILES},  # noqa: S108
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            init=True,
            **limits(MEMORY),
            healthcheck={"test": ["NONE"]},
            # The report is read from the log, which not every log driver supports.
            log_config=LogConfig(type=LogConfig.types.JSON, config={"max-file": "3", "max-size": "10m"}),
        )
    finally:
        remove(engine, name)


def remove(engine: docker.DockerClient, name: str) -> None:
    """Removes a container, running or not, if it exists."""
    with contextlib.suppress(NotFound):
        engine.containers.get(name).remove(force=True)


def limited(spec: VerificationSpec, seconds: float) -> str:
    """The spec as JSON, with a shorter deadline."""
    return spec.model_copy(update={"deadline": seconds, "settle": min(spec.settle, seconds)}).model_dump_json()


def run_client(
    engine: docker.DockerClient, spec: VerificationSpec, progress: Progress, checks: Sequence[str] = ()
) -> Report:
    """Runs the checks in the client container. Raises ClientError and Docker's errors."""
    reserve = MARGIN + (MARIMO_SECONDS if spec.marimo else 0)
    seconds = max(spec.deadline - reserve, spec.deadline / 2)
    with client_container(engine, spec, seconds, checks) as container:
        container.start()
        threading.Thread(target=follow, args=(container, progress), daemon=True).start()
        try:
            code = container.wait(timeout=seconds + MARGIN)["StatusCode"]
        except requests.RequestException:
            raise ClientError(f"the client gave no report within {seconds + MARGIN:.0f} s, so it was stopped") from None
        output = log_of(container, stderr=False)
        try:
            return Report.model_validate_json(output)
        except pydantic.ValidationError:
            last = log_of(container, stdout=False, tail=3)
            raise ClientError(f"the client ended with exit code {code} and without a report: {last}") from None


def log_of(
    container: Container, *, stdout: bool = True, stderr: bool = True, tail: int | Literal["all"] = "all"
) -> str:
    """A container's log."""
    log: bytes = container.logs(stdout=stdout, stderr=stderr, tail=tail)
    return log.decode(errors="replace").strip()


def follow(container: Container, progress: Progress) -> None:
    """Forwards the client's progress until it ends."""
    pending = b""
    with contextlib.suppress(DockerException, requests.RequestException):  # removed meanwhile
        for part in container.logs(stdout=False, stderr=True, stream=True, follow=True):
            *lines, pending = (pending + part).split(b"\n")
            for line in lines:
                if line.startswith(PROGRESS):
                    progress(line.removeprefix(PROGRESS).decode(errors="replace"))


def marimo_connects(
    engine: docker.DockerClient, spec: VerificationSpec, marimo: Service, seconds: float
) -> CheckResult:
    """Does what a notebook does: in Marimo's Python, connects to Ray with its token and runs a task on each node."""
    began = time.monotonic()

    def outcome(result: str, detail: str) -> CheckResult:
        took = round(time.monotonic() - began, 2)
        values = {"name": "marimo_connects", "container": marimo.container, "result": result, "detail": detail}
        return CheckResult.model_validate({**values, "seconds": took})

    # An exec cannot be stopped from outside. The program is sent as text, because Marimo's container lacks it.
    command = ["timeout", "-k", "1", f"{seconds:.0f}", "sh", WITH_PYTHON, "-c", SOURCE.read_text(encoding="utf-8")]
    try:
        code, output = engine.containers.get(marimo.container).exec_run(
            [*command, "--checks", "task_on_each_node"],
            environment={ENVIRONMENT: limited(spec, max(seconds - MARGIN, seconds / 2))},
            demux=True,
        )
        stdout, stderr = cast("tuple[bytes | None, bytes | None]", output)
        inside = Report.model_validate_json(stdout or b"")
    except NotFound:
        return outcome("fail", f"the container {marimo.container} does not exist")
    except APIError as error:
        return outcome("fail", f"{marimo.container} cannot run a program: {error.explanation or error}")
    except pydantic.ValidationError:
        last = (stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
        return outcome("fail", f"the client in {marimo.container} ended with exit code {code}: {' '.join(last)}")
    if inside.failures:
        return outcome("fail", f"{inside.failures[0].name}: {inside.failures[0].detail}")
    return outcome("pass", f"{inside.checks[0].detail}, a task ran on {', '.join(inside.nodes)}")


def log_tail(container: str | None) -> str:
    """The last lines of a container's log, or why there are none."""
    if container is None:
        return "(no container of this stack)"
    try:
        return log_of(docker.from_env().containers.get(container), tail=LOG_LINES)
    except NotFound:
        return "(it does not exist)"
    except (DockerException, requests.RequestException) as error:
        return f"(no log: {error})"
