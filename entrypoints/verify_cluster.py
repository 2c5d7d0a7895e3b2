"""Verifies a deployed platform from a container in its network, through `ray://` and HTTP as its users do.

Reads the expectation as JSON from CSLR_VERIFICATION (verification/spec.py), runs the table `CHECKS`, prints a line per
check on stderr and exactly one JSON document on stdout. Exit code: 0 all passed, 1 a check failed, 2 could not run.
`--checks a,b` runs only these and what they need.

It is one file that imports nothing of ours when it runs. Ray pickles the functions of `__main__` by value, so that
tasks run on nodes that lack this file; it would look for those of a module there, by name. `ws test` also sends the
text of this file to Marimo. Types of what it reads are imported for the type checker alone.

Requests made while the head moves may never be answered, so every check runs in its own thread with a time limit, is
repeated while the platform may still be settling, and reconnects if the connection was lost.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import contextlib
import json
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

if TYPE_CHECKING:
    from contracts.status import Status
    from verification.spec import Devel, ExpectedNode, Heads, Service, VerificationSpec

Result = Literal["pass", "fail", "skip"]
Part = TypeVar("Part")
Json = Any  # parsed, or to be written
Untyped = Any  # of Ray and torch, which are not installed where this is type-checked

PASSED, FAILED, COULD_NOT_RUN = 0, 1, 2
PROGRESS = "verify: "  # marks our lines for people among Ray's own on stderr
RETRY_EVERY = 1.0  # seconds
WAITING_EVERY = 15.0  # seconds between two progress lines
HTTP_TIMEOUT = 5.0
MLFLOW_USER, MLFLOW_PASSWORD = "platform", "/run/secrets/mlflow-password"  # contracts/mlflow_login.py
SSH_TIMEOUT, SSH_GREETING = 5.0, 255  # seconds, and bytes at most
TASK_TIMEOUT = 20.0  # one try of a small task; a lost one is submitted again
TORCH_TIMEOUT = 150.0  # the first import of torch from a fresh image took 38 s on a cold disk
MLFLOW_TIMEOUT = 45.0
MODEL_TIMEOUT = 90.0  # the first import of MLflow's client and torch from a fresh image; then some 10 s
LOADER_TIMEOUT = 60.0
PACKAGE_TIMEOUT = 60.0  # a small environment takes some 2 s
HEARING_TIMEOUT = 60.0  # a sentence takes some 2 s, on a busy host many times that
ATTEMPT_MARGIN = 10.0  # seconds that an attempt has beyond the time-outs inside it
CLIENT_SETTINGS = {  # a Ray Client that fails fast: repeating is done here
    "RAY_CLIENT_INITIAL_CONNECTION_TIMEOUT_S": "3",
    "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "5",
}
NODE_LABEL = "cslr.node"  # as in contracts/ray_nodes.py
STATUS_VERSION = 1  # of the health service's report, as in contracts/status.py
HEAD_RESOURCE = "node:__internal_head__"
EXPERIMENT = "cslr-verification"
TRAINING_STEPS = 60
LEARNED = 0.5  # the loss must fall below this part of its first value
CLIP = (3, 16, 224, 224)  # channels, frames, height, width
CLIPS_IN_BATCH = 2
LOADER_BATCHES, LOADER_WORKERS = 6, 2
PACKAGE = "cslr_verified"
PAGE = 4096  # bytes
PROOF = "a task of this job ran"
JOB = f"""python -c "import ray; ray.init(); print(ray.get(ray.remote(num_cpus=0)(lambda: '{PROOF}').remote()))\""""


class CheckFailed(Exception):  # noqa: N818  (a result, not a fault of the program)
    """The platform is not as expected, and waiting will not change it."""

    def __init__(self, detail: str, container: str | None = None) -> None:
        super().__init__(detail)
        self.container = container  # the one whose log explains it, if not the check's own


class NotYet(CheckFailed):
    """Like `CheckFailed`, but the check may still pass while services are starting."""


class Skipped(Exception):  # noqa: N818  (a result, not a fault of the program)
    """There is nothing to check on this stack; the reason says why."""


def expected(part: Part | None) -> Part:
    """The part of the expectation that a check needs. `PARTS` skips checks on stacks that lack the part."""
    if part is None:
        raise CheckFailed("the check is about a part that this stack lacks")
    return part


@dataclass
class Session:
    """The state that checks share: the expectation and the findings of earlier checks."""

    spec: VerificationSpec  # the parsed JSON, with keys as attributes
    deadline: float  # time.monotonic()
    ray_token: str | None = None
    marimo_token: str | None = None
    transcription_token: str | None = None
    head: str | None = None  # where the head answers: its host, or the gateway that leads to it
    leader: str | None = None  # name of the node that Ray lists as head
    listed: dict[str, dict[str, Any]] = field(default_factory=dict)  # node name → Ray's entry, alive ones
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # node name → what a task there reported

    @property
    def heads(self) -> Heads:
        """Where the head may be."""
        return expected(self.spec.heads)

    @property
    def mlflow(self) -> Service:
        """MLflow, if the stack has it; `marimo`, `health`, `exporter` and `prometheus` likewise."""
        return expected(self.spec.mlflow)

    @property
    def marimo(self) -> Service:
        """Marimo."""
        return expected(self.spec.marimo)

    @property
    def health(self) -> Service:
        """The health service."""
        return expected(self.spec.health)

    @property
    def exporter(self) -> Service:
        """The exporter."""
        return expected(self.spec.exporter)

    @property
    def prometheus(self) -> Service:
        """Prometheus."""
        return expected(self.spec.prometheus)

    @property
    def queue(self) -> Service:
        """The queue."""
        return expected(self.spec.queue)

    @property
    def devel(self) -> Devel:
        """The devel container."""
        return expected(self.spec.devel)

    @property
    def transcription(self) -> Service:
        """The transcription service."""
        return expected(self.spec.transcription)

    @property
    def dashboard(self) -> str:
        """URL of the head's dashboard."""
        return f"http://{self.head}:{self.heads.dashboard_port}"

    def remaining(self) -> float:
        """Seconds left of the whole run."""
        return max(0.0, self.deadline - time.monotonic())


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the table."""

    name: str
    run: Callable[[Session], str]  # returns the detail; raises CheckFailed
    attempt: float  # seconds for one attempt; a new one begins while the platform may still be settling
    part: str  # key of PARTS: what the stack must have
    container: str = "head"  # or another service whose log explains a failure
    after: str | None = None  # run only if this check passed
    tries: int = 1  # the least number of attempts, settled or not
    finds_head: bool = False  # so it also waits as long as other hosts may need to bring up a head


@dataclass(frozen=True)
class Outcome:
    """The result of one check, as reported."""

    name: str
    container: str | None  # whose log explains a failure
    result: Result
    detail: str
    seconds: float


# --- HTTP -------------------------------------------------------------------------------------------------------------


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a redirect to a login page is the answer."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Never follows."""
        return


def http(
    method: str,
    url: str,
    *,
    token: str | None = None,
    login: str | None = None,
    body: Json = None,
    content_type: str = "application/octet-stream",
    timeout: float = HTTP_TIMEOUT,
) -> tuple[int, bytes]:
    """Status and body of one request; HTTP errors are answers too.

    `login`: a name and a password, with a colon between them.
    `body`: bytes of `content_type`, or what becomes JSON. Raises ConnectionError where nothing answers.
    """
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": content_type if isinstance(body, bytes) else "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310
    # Through the proxies of the environment, as users' programs do: NO_PROXY must exempt the local services.
    opener = urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError as error:
        raise ConnectionError(f"{url} does not answer: {getattr(error, 'reason', error)}") from error


def http_json(method: str, url: str, *, token: str | None = None, login: str | None = None, body: Json = None) -> Json:
    """The JSON of a successful answer. Raises NotYet with status and body for any other."""
    status, content = http(method, url, token=token, login=login, body=body)
    if status >= 400:
        raise NotYet(f"{method} {url} answered {status}: {content[:200].decode(errors='replace')}")
    return json.loads(content or b"null")


# --- What runs inside Ray tasks ---------------------------------------------------------------------------------------


def describe_node(with_torch: bool) -> dict[str, Any]:
    """Facts of the node that runs it: names, versions, container limits. Importing torch is part of the check."""
    import importlib
    import platform
    import socket

    import ray

    facts: dict[str, Any] = {
        "hostname": socket.gethostname(),
        "node_id": ray.get_runtime_context().get_node_id(),
        "ray": ray.__version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "memory_limit": None,
    }
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            limit = int(Path(path).read_text())
            facts["memory_limit"] = limit if limit < 2**62 else None  # cgroup v1's way to say "max"
            break
    if with_torch:
        torch = importlib.import_module("torch")
        facts["torch"] = torch.__version__
        facts["torch_cuda"] = torch.version.cuda
        facts["torch_geometric"] = importlib.import_module("torch_geometric").__version__
    return facts


def train_graph_network(devices: list[str], steps: int) -> list[dict[str, Any]]:
    """Trains a two-layer GCN to separate four noisy communities, from the same seed on each device.

    Returns per device its name, the first and last loss and the seconds it took.
    """
    import time

    import torch
    from torch_geometric.nn import GCNConv
    from torch_geometric.utils import stochastic_blockmodel_graph

    communities, size, features = 4, 50, 16

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = GCNConv(features, 32), GCNConv(32, communities)

        def forward(self, x: Untyped, edges: Untyped) -> Untyped:
            return self.second(self.first(x, edges).relu(), edges)

    def train(device: str) -> dict[str, Any]:
        began = time.perf_counter()
        torch.manual_seed(7)
        probabilities = torch.full((communities, communities), 0.01).fill_diagonal_(0.2)
        edges = stochastic_blockmodel_graph([size] * communities, probabilities).to(device)
        labels = torch.arange(communities).repeat_interleave(size).to(device)
        x = torch.randn(communities * size, features).to(device) + torch.nn.functional.one_hot(labels, features)
        network = Network().to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(x, edges), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        on = torch.cuda.get_device_name(loss.device) if loss.is_cuda else "CPU"
        return {
            "device": loss.device.type,
            "name": on,
            "first": losses[0],
            "last": losses[-1],
            "seconds": time.perf_counter() - began,
        }

    found = torch.cuda.device_count()
    return [train(device) for device in devices or [f"cuda:{index}" for index in range(found)]]


def mlflow_login() -> str | None:
    """The platform's account in MLflow, as this container was given it; None where there are no logins."""
    file = Path(MLFLOW_PASSWORD)
    return f"{MLFLOW_USER}:{file.read_text(encoding='utf-8').strip()}" if file.exists() else None


def keep_mlflow_run(url: str) -> str:
    """Writes a run with a parameter, a metric and an artifact through the tracking server and reads all of it back.

    Returns the run's ID. Speaks MLflow's REST interface, so that it runs in images without MLflow's own client.
    """
    import time

    api, login = f"{url}/api/2.0/mlflow", mlflow_login()
    status, content = http("GET", f"{api}/experiments/get-by-name?experiment_name={EXPERIMENT}", login=login)
    if status == 200:
        experiment = json.loads(content)["experiment"]["experiment_id"]
    else:
        experiment = http_json("POST", f"{api}/experiments/create", login=login, body={"name": EXPERIMENT})[
            "experiment_id"
        ]
    now = int(time.time() * 1000)
    started = {"experiment_id": experiment, "start_time": now, "run_name": f"verification-{now}"}
    info = http_json("POST", f"{api}/runs/create", login=login, body=started)["run"]["info"]
    run, root = info["run_id"], info["artifact_uri"]
    if not root.startswith("mlflow-artifacts:/"):
        raise CheckFailed(f"artifacts are kept at {root}, not served through MLflow: other hosts cannot reach them")
    parameter = {"key": "verified_by", "value": "verify_cluster"}
    metric = {"key": "answer", "value": 42.5, "timestamp": now, "step": 0}
    logged = {"run_id": run, "params": [parameter], "metrics": [metric]}
    http_json("POST", f"{api}/runs/log-batch", login=login, body=logged)
    artifact = (
        f"{url}/api/2.0/mlflow-artifacts/artifacts/{root.removeprefix('mlflow-artifacts:/').lstrip('/')}/proof.txt"
    )
    http_json("PUT", artifact, login=login, body=run.encode())
    http_json("POST", f"{api}/runs/update", login=login, body={"run_id": run, "status": "FINISHED", "end_time": now})

    data = http_json("GET", f"{api}/runs/get?run_id={run}", login=login)["run"]["data"]
    listed = http_json("GET", f"{api}/artifacts/list?run_id={run}", login=login).get("files", [])
    read_back = {
        "parameter": (parameter["value"], [p["value"] for p in data.get("params", []) if p["key"] == parameter["key"]]),
        "metric": (metric["value"], [m["value"] for m in data.get("metrics", []) if m["key"] == metric["key"]]),
        "artifact": (run.encode(), [http("GET", artifact, login=login)[1]]),
        "artifact list": ("proof.txt", [file["path"] for file in listed]),
    }
    for what, (wrote, read) in read_back.items():
        if read != [wrote]:
            raise CheckFailed(f"wrote the {what} {wrote!r} to run {run}, but read back {read!r}")
    return str(run)


def lacking(modules: Sequence[str]) -> list[str]:
    """The modules that this node's Python lacks; a pulled image has its own packages."""
    import importlib.util

    return [module for module in modules if importlib.util.find_spec(module) is None]


def keep_mlflow_model(experiment: str) -> str:
    """Logs a torch model with an input example, as users do, loads it again and compares the predictions.

    Returns the model's URI. The tracking server is that of the node's environment.
    """
    import logging

    import mlflow
    import numpy
    import torch

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    inputs = numpy.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], dtype=numpy.float32)
    mlflow.set_experiment(experiment)
    with mlflow.start_run(run_name="verification-model"):
        logged = mlflow.pytorch.log_model(model, name="model", input_example=inputs)
    if logged.signature is None:
        raise CheckFailed("MLflow could not infer the signature of a model from its input example")
    loaded = mlflow.pytorch.load_model(logged.model_uri)
    with torch.no_grad():
        wrote, read = model(torch.from_numpy(inputs)), loaded(torch.from_numpy(inputs))
    if not torch.allclose(wrote, read):
        raise CheckFailed(f"the model that MLflow gave back predicts {read.tolist()} instead of {wrote.tolist()}")
    return str(logged.model_uri)


def load_clips(batches: int, workers: int) -> list[float]:
    """Loads batches of video clips in worker processes; returns the mean of each, which identifies it.

    The class is defined where it is used, as in a job's script or a notebook's cell, and the batches travel through
    shared memory: 19 MB each, of which every worker has two on the way.
    """
    import torch

    class Clips(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return CLIPS_IN_BATCH * batches

        def __getitem__(self, number: int) -> Untyped:
            return torch.full(CLIP, float(number // CLIPS_IN_BATCH))

    loader = torch.utils.data.DataLoader(Clips(), batch_size=CLIPS_IN_BATCH, num_workers=workers)
    return [float(batch.mean()) for batch in loader]


def make_wheel(name: str, version: str) -> str:
    """Writes a package of one function into this node's folder for temporary files; returns its path.

    A wheel made here needs no package index, so that the check works in a closed network too.
    """
    import tempfile
    import zipfile

    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"def answer():\n    return {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: verification\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    wheel = Path(tempfile.mkdtemp(prefix="cslr-verify-"), f"{name}-{version}-py3-none-any.whl")
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)
    return str(wheel)


def use_package(name: str) -> str:
    """The answer of a package from the job's own environment."""
    import importlib

    return str(importlib.import_module(name).answer())


def remove_wheel(wheel: str) -> None:
    """Removes what `make_wheel` made."""
    import shutil

    shutil.rmtree(Path(wheel).parent, ignore_errors=True)


# --- Ray --------------------------------------------------------------------------------------------------------------


def submit(
    session: Session,
    function: Callable[..., Any],
    node: ExpectedNode,
    *args: object,
    num_gpus: float = 0,
    runtime_env: dict[str, Any] | None = None,
) -> Untyped:
    """Starts `function` on this node and no other. It requests no CPU, so a busy cluster can be verified as well."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    strategy = NodeAffinitySchedulingStrategy(session.listed[node.name]["NodeID"], soft=False)
    options = {"scheduling_strategy": strategy, "num_cpus": 0, "num_gpus": num_gpus, "max_retries": 0}
    if runtime_env:
        options["runtime_env"] = runtime_env
    return ray.remote(function).options(**options).remote(*args)


class UnknownToSchedulerError(Exception):
    """Ray's scheduler has no place for a task on a node that it listed as alive."""

    def __init__(self, session: Session, name: str) -> None:
        node = session.listed[name]["NodeID"]
        super().__init__(
            f"{name} is listed as alive (node ID {node}), but the scheduler of {session.leader} knows no such node. "
            "If this lasts, restart the container of that node"
        )


def collect(
    session: Session, work: dict[str, Untyped], timeout: float, doing: str, container: str | None = None
) -> dict[str, Any]:
    """The results of tasks by node name.

    Raises NotYet naming a node that did not answer in `timeout` seconds or whose task failed, with `container` or else
    the node's own as the one to look into; UnknownToSchedulerError for a node that has left or that Ray has lost.
    """
    import ray

    ready, _ = ray.wait(list(work.values()), num_returns=len(work), timeout=min(timeout, session.remaining()))
    results = {}
    for name, reference in work.items():
        blamed = container or container_of(session.spec, name)
        if reference not in ready:
            ray.cancel(reference, force=True)
            raise NotYet(f"{name} did not {doing} within {timeout:.0f} s", blamed)
        try:
            results[name] = ray.get(reference, timeout=HTTP_TIMEOUT)
        except ray.exceptions.RayTaskError as error:
            raise NotYet(f"{name} could not {doing}: {explain(error.cause)}", blamed) from error
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise NotYet(f"{name} could not {doing}: {explain(error)}", blamed) from error
        except ray.exceptions.TaskUnschedulableError as error:
            raise UnknownToSchedulerError(session, name) from error
    return results


def explain(error: BaseException | None) -> str:
    """An error in one line; of a remote traceback only the end."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    text = lines[-1] if any(line.startswith("Traceback") for line in lines) else " ".join(lines)
    return text if isinstance(error, CheckFailed) else f"{type(error).__name__}: {text}"


def on_one(session: Session, work: Untyped, node: ExpectedNode, timeout: float, doing: str) -> Json:
    """The result of one task on that node."""
    return collect(session, {node.name: work}, timeout, doing)[node.name]


def require_modules(session: Session, node: ExpectedNode, *modules: str) -> None:
    """Raises Skipped if the node's image lacks a module."""
    if missing := on_one(session, submit(session, lacking, node, modules), node, TASK_TIMEOUT, "look for modules"):
        raise Skipped(f"the image of {node.name} has no {', '.join(missing)}")


def first_with_torch(session: Session) -> ExpectedNode:
    """The node for torch checks that need only one."""
    return next(node for node in session.spec.nodes if node.torch)


def container_of(spec: VerificationSpec, node: str) -> str | None:
    """The container of a node; None if the node does not belong to this stack."""
    return {expected.name: expected.container for expected in spec.nodes}.get(node)


def disconnect() -> str:
    """Ends the connection to Ray, if there is one."""
    ray = sys.modules.get("ray")
    if ray:
        with contextlib.suppress(Exception):  # it may be broken already
            ray.shutdown()
    return "disconnected"


def find_head(session: Session) -> str:
    """The one candidate that answers as head. Raises NotYet if none does, CheckFailed if two do."""
    heads = session.heads
    answering: list[str] = []
    for host in heads.hosts:
        with contextlib.suppress(ConnectionError):
            if http("GET", f"http://{host}:{heads.dashboard_port}/api/gcs_healthz")[0] == 200:
                answering.append(host)
    if len(answering) > 1:
        raise CheckFailed(f"{' and '.join(answering)} both answer as Ray head: the cluster is split")
    if not answering:
        tried = ", ".join(f"{host}:{heads.dashboard_port}" for host in heads.hosts)
        waited = "; it may be on another host, which is not up yet" if heads.patience else ""
        raise NotYet(f"no Ray head answers (tried {tried}){waited}")
    return answering[0]


def connect(session: Session) -> str:
    """A Ray Client connects to the head with the token."""
    session.head = find_head(session)
    token_file = os.environ.get("RAY_AUTH_TOKEN_PATH", "no token file")
    if http("GET", f"{session.dashboard}/api/version", token=session.ray_token)[0] in (401, 403):
        raise CheckFailed(f"Ray on {session.head} refuses the token ({token_file}): it was started with another one")
    try:
        import ray
    except ImportError as error:
        raise CheckFailed(f"{sys.executable} cannot import Ray: {error}") from error

    # A notebook's container is given Ray's address, which must work.
    address = os.environ.get("RAY_ADDRESS") or f"ray://{session.head}:{session.heads.client_port}"
    began = time.monotonic()
    disconnect()
    try:
        ray.init(address, log_to_driver=False)
    except ConnectionError as error:
        hint = f"; a Ray Client without the right token sees only this (token: {token_file})"
        cause = f"{explain(error)}{hint if 'timeout' in str(error) else ''}"
        raise NotYet(f"{address} did not accept a Ray Client: {cause}") from error
    return f"{address} in {time.monotonic() - began:.1f} s"


def nodes_alive(session: Session) -> str:
    """The expected nodes are alive, each once, and no others where none belong to the cluster."""
    import ray

    listed: list[dict[str, Untyped]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [(node_name(node), node) for node in listed if node["Alive"]]
    names = [name for name, _ in alive]
    for expected in session.spec.nodes:
        if expected.name not in names:
            seen = ", ".join(sorted(names)) or "none"
            raise NotYet(f"the node {expected.name} is not alive in the cluster (alive: {seen})", expected.container)
        if names.count(expected.name) > 1:
            raise NotYet(f"the node {expected.name} is listed as alive more than once", expected.container)
    unexpected = sorted(set(names) - {node.name for node in session.spec.nodes})
    if unexpected and not session.spec.other_nodes:
        raise NotYet(f"{', '.join(unexpected)} is alive in the cluster but does not belong to this stack")
    session.listed = dict(alive)
    session.leader = next((name for name, node in alive if HEAD_RESOURCE in node["Resources"]), None)
    return ", ".join(f"{name} (head)" if name == session.leader else name for name in sorted(names))


def node_name(listed: dict[str, Any]) -> str:
    """A node's name: the label that entrypoints/ray/command.py gives it, else its host name."""
    return str(listed.get("Labels", {}).get(NODE_LABEL) or listed["NodeManagerHostname"])


def task_on_each_node(session: Session) -> str:
    """A task runs on every expected node, and really there."""
    work = {node.name: submit(session, describe_node, node, False) for node in session.spec.nodes}
    session.facts = collect(session, work, TASK_TIMEOUT, "run a task")
    for name, facts in session.facts.items():
        if facts["node_id"] != session.listed[name]["NodeID"]:
            raise CheckFailed(f"the task for {name} ran on {facts['hostname']}", container_of(session.spec, name))
    return ", ".join(f"{name}: Ray {facts['ray']}" for name, facts in session.facts.items())


def resources(session: Session) -> str:
    """CPUs, GPUs and memory of every node are as configured."""
    for node in session.spec.nodes:
        listed, limit = session.listed[node.name]["Resources"], session.facts[node.name]["memory_limit"]
        if wrong := list(resource_errors(node, listed, limit)):
            raise CheckFailed(f"{node.name}: {'; '.join(wrong)}", node.container)
    sizes = (f"{n.name}: {n.cpus:g} CPU, {n.gpus} GPU, {n.memory / 2**30:.1f} GiB" for n in session.spec.nodes)
    return ", ".join(sizes)


def resource_errors(node: ExpectedNode, listed: dict[str, float], limit: int | None) -> Iterator[str]:
    """Differences of a node's Ray resources and its container's memory `limit` (bytes) from the expectation."""
    if (cpus := listed.get("CPU", 0)) != node.cpus:
        yield f"{cpus:g} CPUs instead of {node.cpus:g}"
    gpus = listed.get("GPU", 0)
    if (gpus < 1) if node.gpus is None else (gpus != node.gpus):
        yield f"{gpus:g} GPUs instead of {'at least 1' if node.gpus is None else node.gpus}"
    usable = listed.get("memory", 0) + listed.get("object_store_memory", 0)
    if not 0 < usable <= node.memory:
        yield f"Ray uses {usable / 2**20:.0f} MiB of a container of {node.memory / 2**20:.0f} MiB"
    # None: this Docker cannot limit memory (it warns about that). The kernel rounds a limit down to whole pages.
    if limit is not None and not node.memory - PAGE < limit <= node.memory:
        yield f"the container is limited to {limit / 2**20:.0f} MiB instead of {node.memory / 2**20:.0f} MiB"


def versions(session: Session) -> str:
    """Every node has the expected versions, and all nodes the same. torch is imported where it should be."""
    work = {node.name: submit(session, describe_node, node, node.torch) for node in session.spec.nodes}
    found = collect(session, work, TORCH_TIMEOUT, "import torch and report its versions")
    session.facts = found
    expected = vars(session.spec.versions)
    for name, facts in found.items():
        if wrong := list(version_errors(expected, facts)):
            raise CheckFailed(f"{name}: {'; '.join(wrong)}", container_of(session.spec, name))
    if wrong := list(version_differences(found)):
        raise CheckFailed("; ".join(wrong))
    common = {key: facts[key] for facts in found.values() for key in expected if facts.get(key)}
    return ", ".join(f"{key} {value}" for key, value in common.items())


def version_errors(expected: dict[str, str | None], facts: dict[str, Any]) -> Iterator[str]:
    """Differences of a node's versions from the expectation; None and packages that the node lacks are not checked."""
    for what, version in expected.items():
        reported = facts.get(what)
        if version is None or what not in facts:
            continue
        plain = str(reported).partition("+")[0] if what in ("torch", "torch_geometric") else reported
        if plain != version:
            yield f"{what} {reported} instead of {version}"


def version_differences(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Versions that are not the same on all nodes that have the package."""
    for what in ("ray", "python", "torch", "torch_cuda", "torch_geometric"):
        by_node = {name: facts[what] for name, facts in found.items() if what in facts}
        if len(set(by_node.values())) > 1:
            yield f"{what} differs: " + ", ".join(f"{name} has {version}" for name, version in by_node.items())


def pyg_training(session: Session) -> str:
    """A graph network learns on the CPU of a node with torch."""
    node = first_with_torch(session)
    work = {node.name: submit(session, train_graph_network, node, ["cpu"], TRAINING_STEPS)}
    trained = collect(session, work, TORCH_TIMEOUT, "train a graph network")[node.name]
    require_learning(trained)
    return f"{node.name}: {describe_training(trained)}"


def gpu_training(session: Session) -> str:
    """A graph network learns on every GPU of every GPU node."""
    nodes = [node for node in session.spec.nodes if has_gpu(node)]
    count = {node.name: session.listed[node.name]["Resources"].get("GPU", 0) for node in nodes}
    work = {n.name: submit(session, train_graph_network, n, [], TRAINING_STEPS, num_gpus=count[n.name]) for n in nodes}
    results = collect(session, work, TORCH_TIMEOUT, "get its GPUs (is something else using them?) and train on them")
    for name, trained in results.items():
        container = container_of(session.spec, name)
        if len(trained) != count[name] or not trained:
            raise CheckFailed(f"{name}: torch sees {len(trained)} GPUs, Ray {count[name]:g}", container)
        if any(one["device"] != "cuda" for one in trained):
            raise CheckFailed(f"{name}: trained on {trained[0]['device']} instead of cuda", container)
        require_learning(trained)
    return ", ".join(f"{name}: {describe_training(trained)}" for name, trained in results.items())


def require_learning(trained: list[dict[str, Any]]) -> None:
    """Raises CheckFailed unless the loss fell clearly on each device."""
    for one in trained:
        if not one["last"] < LEARNED * one["first"]:
            raise CheckFailed(
                f"the loss on {one['name']} went from {one['first']:.3f} to {one['last']:.3f}: no learning"
            )


def describe_training(trained: list[dict[str, Any]]) -> str:
    """One line about a training on some devices."""
    return ", ".join(f"{one['name']}, loss {one['first']:.2f} → {one['last']:.2f}" for one in trained)


def has_gpu(node: ExpectedNode) -> bool:
    """Whether a node is expected to have GPUs (None: as many as there are)."""
    return node.gpus is None or node.gpus > 0


def dashboard(session: Session) -> str:
    """The dashboard's API answers with the token, and refuses without it."""
    url = f"{session.dashboard}/api/version"
    version = http_json("GET", url, token=session.ray_token)["ray_version"]
    if session.ray_token is None:
        return f"Ray {version}, open to everyone on the network"
    status, _ = http("GET", url)
    if status != 401:
        raise CheckFailed(f"{url} answered {status} without a token: it must refuse with 401 (RAY_AUTH_MODE=token)")
    return f"Ray {version}, refuses requests without the token"


def job_submission(session: Session) -> str:
    """A job submitted over HTTP runs, succeeds, and its log can be read."""
    api = f"{session.dashboard}/api/jobs/"
    job = http_json("POST", api, token=session.ray_token, body={"entrypoint": JOB})["submission_id"]
    while (state := http_json("GET", f"{api}{job}", token=session.ray_token))["status"] in ("PENDING", "RUNNING"):
        time.sleep(RETRY_EVERY)
    log = http_json("GET", f"{api}{job}/logs", token=session.ray_token)["logs"]
    if state["status"] != "SUCCEEDED":  # for example because the head moved while it began
        raise NotYet(f"job {job} ended as {state['status']}: {state.get('message', '')} {log[-300:]}".strip())
    if PROOF not in log:
        raise CheckFailed(f"job {job} succeeded, but its log lacks what it printed: {log[-300:]!r}")
    return f"{job} succeeded, log read"


# --- Other services ---------------------------------------------------------------------------------------------------


def mlflow_run(session: Session) -> str:
    """An MLflow run is written and read back: from a Ray node, where experiments run, or from here without one."""
    url = session.mlflow.url
    if not session.listed:
        return f"run {keep_mlflow_run(url)} read back"
    node = session.spec.nodes[0]
    work = {node.name: submit(session, keep_mlflow_run, node, url)}
    doing, container = "write an MLflow run and read it back", session.mlflow.container
    run = collect(session, work, MLFLOW_TIMEOUT, doing, container)[node.name]
    return f"run {run} written by {node.name} and read back"


def mlflow_model(session: Session) -> str:
    """A torch model with an input example is logged to MLflow from a node, and predicts the same when it is loaded."""
    node = first_with_torch(session)
    require_modules(session, node, "mlflow", "torch")
    doing = "log a torch model with an input example to MLflow and load it again"
    uri = on_one(session, submit(session, keep_mlflow_model, node, EXPERIMENT), node, MODEL_TIMEOUT, doing)
    return f"{uri} logged by {node.name} with an input example, loaded, predicts the same"


def data_loader(session: Session) -> str:
    """A DataLoader with two workers loads batches of video clips inside a task, through shared memory."""
    node, began = first_with_torch(session), time.monotonic()
    require_modules(session, node, "torch")
    doing = f"load video clips with a DataLoader of {LOADER_WORKERS} workers"
    work = submit(session, load_clips, node, LOADER_BATCHES, LOADER_WORKERS)
    means = on_one(session, work, node, LOADER_TIMEOUT, doing)
    if means != [float(number) for number in range(LOADER_BATCHES)]:
        raise CheckFailed(f"{node.name}: a DataLoader gave batches with the means {means}", node.container)
    return (
        f"{node.name}: {LOADER_BATCHES} batches of {CLIPS_IN_BATCH} clips from {LOADER_WORKERS} workers "
        f"in {time.monotonic() - began:.1f} s"
    )


def runtime_env_package(session: Session) -> str:
    """A task uses a package that only its own environment has; it is made here, so that no index is needed."""
    node = session.spec.nodes[0]
    require_modules(session, node, "uv")
    version = f"1.{time.time_ns()}"  # another one each time: an environment that Ray kept would prove nothing
    making = submit(session, make_wheel, node, PACKAGE, version)
    wheel, began = on_one(session, making, node, TASK_TIMEOUT, "write a file"), time.monotonic()
    try:
        using = submit(session, use_package, node, PACKAGE, runtime_env={"uv": {"packages": [wheel]}})
        answer = on_one(session, using, node, PACKAGE_TIMEOUT, "use a package of its own (runtime_env with uv)")
    finally:
        submit(session, remove_wheel, node, wheel)
    if answer != version:
        raise CheckFailed(f"{node.name}: {version} of a package was asked for, but the task imported {answer}")
    return f"{node.name}: a package for one task installed and imported in {time.monotonic() - began:.1f} s"


def marimo_answers(session: Session) -> str:
    """Marimo answers, opens no editor without its token and does so with it."""
    url = session.marimo.url
    http_json("GET", f"{url}/health")
    if session.marimo_token is None:
        return "answers"
    for path in ("/", "/api/status"):
        if (status := http("GET", url + path)[0]) < 300:
            raise CheckFailed(
                f"{url}{path} answered {status} without a token: anyone on the network can run code there"
            )
    status, content = http("GET", f"{url}/api/status", token=session.marimo_token)
    if status != 200:
        raise CheckFailed(
            f"{url}/api/status answered {status} to the stack's own token: it was started with another one"
        )
    return f"marimo {json.loads(content)['version']}, refuses requests without the token"


def queue_knows_nodes(session: Session) -> str:
    """The queue refuses strangers, and starts jobs on the nodes of this stack."""
    url = f"{session.queue.url}/api/v1/queue"
    if (status := http("GET", url)[0]) != 401:
        raise CheckFailed(f"{url} answered {status} without a token")
    status, content = http("GET", url, token=session.ray_token)
    if status != 200:
        raise NotYet(f"{url} answered {status}: {content[:200].decode(errors='replace')}")
    found = json.loads(content)
    if not found["ray_answers"]:
        raise NotYet(f"Ray does not answer the queue: {found['ray_message']}")
    up = {node["name"] for node in found["nodes"] if node["up"]}
    if lacking := {node.name for node in session.spec.nodes} - up:
        raise NotYet(f"the queue does not know {', '.join(sorted(lacking))}")
    jobs = f"{len(found['running'])} jobs run and {len(found['waiting'])} wait"
    return f"{len(up)} nodes, {jobs}; refuses requests without the token"


def ssh_greets(session: Session) -> str:
    """The devel container's SSH server answers. That it refuses whoever has no key, its own health check tries."""
    address = urllib.parse.urlsplit(session.devel.url)
    with socket.create_connection((address.hostname, address.port), SSH_TIMEOUT) as connection:
        greeting = connection.makefile("rb").readline(SSH_GREETING).decode(errors="replace").strip()
    if not greeting.startswith("SSH-2.0-"):
        raise NotYet(f"{address.netloc} answers {greeting[:100]!r}, and not as an SSH server")
    people = len(session.devel.keys)
    return f"{greeting.removeprefix('SSH-2.0-')}, {people} key{'s' * (people != 1)} may log in"


# Of the image transcription-backend: what espeak-ng says in it, and words of that.
EXAMPLE = "examples/english.wav"
EXAMPLE_WORDS = ("tomorrow", "sunny", "warm", "south")


def transcription_hears(session: Session) -> str:
    """The transcription service refuses strangers, and hears the words of the spoken sentence that its image holds."""
    url, token = session.transcription.url, session.transcription_token
    if (status := http("GET", f"{url}/v1/models")[0]) != 401:
        raise CheckFailed(f"{url}/v1/models answered {status} without a token")
    status, sound = http("GET", f"{url}/v1/files/content?path={EXAMPLE}", token=token)
    if status != 200:
        raise CheckFailed(f"{url} answered {status} to the question for {EXAMPLE}")
    began, border = time.monotonic(), "cslr-verification"
    fields = {"model": "whisper-1", "language": "en"}
    parts = [f'--{border}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    head = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="example.wav"\r\n\r\n'
    body = "".join([*parts, head]).encode() + sound + f"\r\n--{border}--\r\n".encode()
    status, content = http(
        "POST", f"{url}/v1/audio/transcriptions", body=body, token=token, timeout=HEARING_TIMEOUT,
        content_type=f"multipart/form-data; boundary={border}",
    )  # fmt: skip
    if status != 200:
        raise NotYet(f"{url}/v1/audio/transcriptions answered {status}: {content[:200].decode(errors='replace')}")
    text = str(json.loads(content)["text"])
    if lacking := [word for word in EXAMPLE_WORDS if word not in text.lower()]:
        raise CheckFailed(f"{', '.join(lacking)} of {EXAMPLE} was not heard, but: {text[:100]}")
    return f"heard {text[:80]!r} in {time.monotonic() - began:.1f} s; refuses requests without the token"


def health_agrees(session: Session) -> str:
    """The health service calls the platform healthy and knows the same Ray nodes of this stack.

    Those of other hosts come and go, also since they were listed.
    """
    url = session.health.url
    answer = http_json("GET", f"{url}/status")
    if (version := answer.get("schema_version")) != STATUS_VERSION:
        raise NotYet(f"{url}/status has version {version} of its schema, not {STATUS_VERSION}: another platform's")
    status = cast("Status", with_attributes(json.dumps(answer)))
    if (code := http("GET", f"{url}/health")[0]) != 200:
        down = [f"{part.name}: {part.error}" for part in status.services if part.error]
        raise NotYet(f"{url}/health answered {code}: {'; '.join(down) or status.ray.error or answer['state']}")
    known = {node.node_id: node.name for node in status.ray.nodes if node.alive}
    own_names = {node.name for node in session.spec.nodes}
    own = {node_id: name for node_id, name in known.items() if name in own_names}
    listed = {node["NodeID"]: name for name, node in session.listed.items() if name in own_names}
    if session.listed and set(own) != set(listed):
        names = [", ".join(sorted(nodes.values())) or "none" for nodes in (own, listed)]
        raise NotYet(f"the health service sees the Ray nodes {names[0]}; Ray itself lists {names[1]}")
    return f"healthy, {len(status.services)} services" + (f", {len(known)} Ray nodes" if known else "")


def exporter_knows(session: Session) -> str:
    """The exporter answers with figures of the host and of every container of the stack."""
    url = session.exporter.url
    status, content = http("GET", f"{url}/metrics")
    if status != 200:
        raise NotYet(f"{url}/metrics answered {status}")
    series = [line for line in content.decode(errors="replace").splitlines() if not line.startswith("#")]
    known = {name for line in series for name in re.findall(r'^container_last_seen{.*name="([^"]+)"', line)}
    if unknown := sorted(set(session.spec.listed) - known):
        raise NotYet(f"{url}/metrics does not show {', '.join(unknown)}: the keeper lists containers every 5 s")
    if not any(line.startswith("node_memory_MemTotal_bytes ") for line in series):
        raise NotYet(f"{url}/metrics does not show the host's memory: node_exporter does not run")
    gpus = sum(line.startswith("cslr_gpu_up{") for line in series)
    return f"{len(series)} series, {len(known)} containers, {gpus} GPUs"


def prometheus_collects(session: Session) -> str:
    """Prometheus gets figures from every service of this host, and from the Ray nodes of this stack.

    What other hosts of a cluster have may be down, or come later.
    """
    url = session.prometheus.url
    found = http_json("GET", f"{url}/api/v1/targets?state=active")["data"]["activeTargets"]
    own = {node.name for node in session.spec.nodes}
    targets = {
        str(target["labels"].get("node") or target["labels"]["job"]): target
        for target in found
        if target["scrapePool"] != "discovered" or target["labels"].get("node") in own
    }
    if unknown := sorted(own - targets.keys()):
        raise NotYet(f"{url} does not know {', '.join(unknown)}: the health service tells it of Ray's nodes")
    if down := sorted(name for name, target in targets.items() if target["health"] != "up"):
        why = targets[down[0]]["lastError"] or "not asked yet"
        raise NotYet(f"{url} gets no figures from {', '.join(down)}: {why}")
    rules = http_json("GET", f"{url}/api/v1/rules")["data"]["groups"]
    return f"{len(targets)} targets, {sum(len(group['rules']) for group in rules)} alerts"


# --- The table --------------------------------------------------------------------------------------------------------

# Optional parts of a stack: how to tell whether the stack has the part, and the reason to show if not.
PARTS: dict[str, tuple[Callable[[VerificationSpec], object], str]] = {
    "ray": (lambda spec: spec.nodes, "no Ray node in this stack"),
    "torch": (lambda spec: any(node.torch for node in spec.nodes), "no node with torch"),
    "gpu": (lambda spec: any(has_gpu(node) for node in spec.nodes), "no GPU in this stack"),
    "mlflow": (lambda spec: spec.mlflow, "MLflow is not enabled"),
    "torch and mlflow": (
        lambda spec: spec.mlflow and any(node.torch for node in spec.nodes),
        "no MLflow, or no node with torch",
    ),
    "marimo": (lambda spec: spec.marimo, "Marimo is not enabled"),
    "health": (lambda spec: spec.health, "the health service is not enabled"),
    "exporter": (lambda spec: spec.exporter, "the exporter is not enabled"),
    "prometheus": (lambda spec: spec.prometheus, "metrics are not enabled"),
    "queue": (lambda spec: spec.queue, "the queue is not enabled"),
    "devel": (lambda spec: spec.devel, "the devel container is not enabled"),
    "transcription": (lambda spec: spec.transcription, "transcription is not enabled"),
}

CHECKS = (
    # Ray's server for the first client crashes at times where entrypoints/ray/launcher.py did not start it.
    Check(name="connect", run=connect, part="ray", attempt=60, tries=3, finds_head=True),
    Check(name="nodes_alive", run=nodes_alive, part="ray", after="connect", attempt=15),
    Check(
        name="task_on_each_node",
        run=task_on_each_node,
        part="ray",
        after="nodes_alive",
        attempt=TASK_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(name="resources", run=resources, part="ray", after="task_on_each_node", attempt=5),
    Check(
        name="versions",
        run=versions,
        part="ray",
        after="task_on_each_node",
        attempt=TORCH_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(
        name="pyg_training",
        run=pyg_training,
        part="torch",
        after="task_on_each_node",
        attempt=TORCH_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(
        name="gpu_training",
        run=gpu_training,
        part="gpu",
        after="task_on_each_node",
        attempt=TORCH_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(name="dashboard", run=dashboard, part="ray", after="connect", attempt=15),
    Check(name="job_submission", run=job_submission, part="ray", after="connect", attempt=60),
    Check(
        name="mlflow_run",
        run=mlflow_run,
        part="mlflow",
        container="mlflow",
        attempt=MLFLOW_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(
        name="mlflow_model",
        run=mlflow_model,
        part="torch and mlflow",
        after="task_on_each_node",
        attempt=MODEL_TIMEOUT + TASK_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(
        name="data_loader",
        run=data_loader,
        part="torch",
        after="task_on_each_node",
        attempt=LOADER_TIMEOUT + TASK_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(
        name="runtime_env_package",
        run=runtime_env_package,
        part="ray",
        after="task_on_each_node",
        attempt=PACKAGE_TIMEOUT + 3 * TASK_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(name="marimo_answers", run=marimo_answers, part="marimo", container="marimo", attempt=30),
    Check(name="exporter_knows", run=exporter_knows, part="exporter", container="exporter", attempt=30),
    Check(name="prometheus_collects", run=prometheus_collects, part="prometheus", container="prometheus", attempt=30),
    Check(name="queue_knows_nodes", run=queue_knows_nodes, part="queue", container="queue", attempt=30),
    Check(name="ssh_greets", run=ssh_greets, part="devel", container="devel", attempt=30),
    Check(
        name="transcription_hears",
        run=transcription_hears,
        part="transcription",
        container="transcription",
        attempt=HEARING_TIMEOUT + ATTEMPT_MARGIN,
    ),
    Check(name="health_agrees", run=health_agrees, part="health", container="health", attempt=30),
)


def why_skipped(session: Session, check: Check, results: dict[str, Result]) -> str | None:
    """Why a check is skipped; None if it runs."""
    has, lacking = PARTS[check.part]
    if not has(session.spec):
        return lacking
    if check.after and results.get(check.after) != "pass":
        return f"not run, because {check.after} did not pass"
    return None


def log_container(session: Session, check: Check) -> str | None:
    """The container whose log explains a failure of the check; None if it does not belong to this stack."""
    spec = session.spec
    if check.container != "head":
        service = getattr(spec, check.container)
        return str(service.container) if service else None
    heads = spec.heads and spec.heads.container
    return container_of(spec, session.head or "") or heads or (spec.nodes[0].container if spec.nodes else None)


def within(seconds: float, work: Callable[[], str]) -> str:
    """The result of `work`; raises TimeoutError if it takes too long, and abandons it."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    future = pool.submit(work)
    if not concurrent.futures.wait([future], timeout=seconds).done:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return future.result()


def perform(session: Session, check: Check) -> str:
    """Repeats a check until it passes or the platform had time to settle. Returns the detail or raises CheckFailed."""
    began = told = time.monotonic()
    settled = began + session.spec.settle + (session.heads.patience if check.finds_head else 0.0)

    def reconnect_and_run() -> str:
        connect(session)
        nodes_alive(session)
        return check.run(session)

    attempt: Callable[[], str] = lambda: check.run(session)  # noqa: E731  (it changes below)
    number = 0
    while True:
        number += 1
        try:
            return within(min(check.attempt, session.remaining()), attempt)
        except NotYet as error:
            failure: CheckFailed = error
        except (CheckFailed, Skipped):
            raise
        except Exception as error:  # noqa: BLE001  (whatever a service or Ray throws at us is a failed attempt)
            failure = NotYet(explain(error))
            if session.listed:
                attempt = reconnect_and_run
        now = time.monotonic()
        if now + RETRY_EVERY >= session.deadline or (now >= settled and number >= check.tries):
            raise failure
        if now - told >= WAITING_EVERY:
            told = now
            tell(f"still waiting for {check.name} after {now - began:.0f} s: {failure}")
        time.sleep(RETRY_EVERY)


def tell(line: str) -> None:
    """Print a line for people."""
    print(f"{PROGRESS}{line}", file=sys.stderr, flush=True)


def run_check(session: Session, check: Check, results: dict[str, Result]) -> Outcome:
    """Runs one check and reports on it."""
    began = time.monotonic()
    container = log_container(session, check)
    result: Result
    if reason := why_skipped(session, check, results):
        result, detail = "skip", reason
    elif not session.remaining():
        # One failure says that the time was too short, if none of an earlier check does.
        result = "skip" if "fail" in results.values() else "fail"
        detail = f"not run: the {session.spec.deadline:.0f} s for all checks were over"
    else:
        try:
            result, detail = "pass", perform(session, check)
        except Skipped as nothing:
            result, detail = "skip", str(nothing)
        except CheckFailed as error:
            result, detail = "fail", str(error)
            container = error.container or log_container(session, check)
    return Outcome(check.name, container, result, detail, round(time.monotonic() - began, 2))


def selected(names: Sequence[str]) -> list[Check]:
    """The named checks and their prerequisites, in the table's order; all if none is named. Raises ValueError."""
    by_name = {check.name: check for check in CHECKS}
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(f"unknown check {', '.join(unknown)}; there are {', '.join(by_name)}")
    wanted = set(names or by_name)
    for check in reversed(CHECKS):
        if check.name in wanted and check.after:
            wanted.add(check.after)
    return [check for check in CHECKS if check.name in wanted]


def verify(session: Session, checks: Sequence[Check]) -> dict[str, Any]:
    """Runs the checks and returns the report."""
    began, started = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    outcomes: list[Outcome] = []
    for check in checks:
        outcome = run_check(session, check, {done.name: done.result for done in outcomes})
        outcomes.append(outcome)
        tell(f"{outcome.result} {outcome.name} ({outcome.seconds:.1f} s): {outcome.detail}")
    return {
        "ok": all(outcome.result != "fail" for outcome in outcomes),
        "started": started,
        "seconds": round(time.monotonic() - began, 2),
        "head": session.leader or session.head,
        "checks": [asdict(outcome) for outcome in outcomes],
        "nodes": session.facts,
    }


def read_token(variable: str) -> str | None:
    """The token in the file that the environment variable names; None without one."""
    path = os.environ.get(variable)
    return Path(path).read_text(encoding="utf-8").strip() if path else None


def with_attributes(text: str) -> Json:
    """A JSON document with its keys as attributes, like the class that it was written from."""
    return json.loads(text, object_hook=lambda part: SimpleNamespace(**part))


def open_session() -> Session:
    """Reads the environment. Raises LookupError, OSError or ValueError if it is invalid."""
    spec = cast("VerificationSpec", with_attributes(os.environ["CSLR_VERIFICATION"]))
    return Session(
        spec=spec,
        deadline=time.monotonic() + spec.deadline,
        ray_token=read_token("RAY_AUTH_TOKEN_PATH"),
        marimo_token=read_token("CSLR_MARIMO_TOKEN_PATH"),
        transcription_token=read_token("CSLR_TRANSCRIPTION_TOKEN_PATH"),
    )


def main() -> int:
    """Runs the checks and prints the report. Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checks", default="", metavar="A,B", help="only these checks, and those they need")
    arguments = parser.parse_args()
    # Whatever Ray or a library prints must not mix with the report.
    report_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        checks = selected([name for name in arguments.checks.split(",") if name])
        session = open_session()
    except (LookupError, OSError, ValueError) as error:
        tell(f"cannot run: {explain(error)}")
        return COULD_NOT_RUN
    report = verify(session, checks)
    with report_to:
        print(json.dumps(report), file=report_to)
    with contextlib.suppress(TimeoutError):
        within(HTTP_TIMEOUT, disconnect)
    return PASSED if report["ok"] else FAILED


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a lost request may hold a thread for ever
