"""The verification's specification: shared by the component that derives it and the programs that check it.

It travels as JSON in the environment variable `ENVIRONMENT`. It holds paths of secret files, never a secret.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ENVIRONMENT = "CSLR_VERIFICATION"

Name = Annotated[str, Field(min_length=1)]
HostPath = Annotated[str, Field(pattern=r"^/")]  # on the host that runs Docker
Url = Annotated[str, Field(pattern=r"^https?://[^/]+(/[^/]+)*$")]  # no trailing slash
Port = Annotated[int, Field(ge=1, le=65535)]


class Model(BaseModel):
    """Strict and frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class ExpectedNode(Model):
    """One Ray node that must be alive."""

    name: Name  # host name inside the network, which is how Ray lists it
    container: Name
    cpus: Annotated[float, Field(ge=0)]
    gpus: Annotated[int, Field(ge=0)] | None = 0  # Gpus.count
    memory: Annotated[int, Field(gt=0)]  # bytes, the container's limit
    torch: bool = True  # the image has torch and torch-geometric


class ExpectedVersions(Model):
    """The versions that every node must report; None is not checked (a pulled image has its own)."""

    ray: str | None = None  # "2.60.0"
    python: str | None = None  # minor version: "3.14"
    torch: str | None = None  # "2.13.0", without the build suffix
    torch_cuda: str | None = None  # what torch.version.cuda answers; not checked for CPU wheels
    torch_geometric: str | None = None


class Service(Model):
    """A service reached over the network, and the container whose log explains a failure."""

    url: Url
    container: Name


class Published(Model):
    """MLflow as browsers reach it: from outside its network, by each published address."""

    origins: Annotated[
        tuple[Url, ...], Field(min_length=1)
    ]  # of its pages; their hosts are addresses, or names of the first
    prefix: str = ""  # path before all others
    port: Port
    container: Name
    trusted: HostPath | None = None  # certificates, if it is served with TLS
    logins: bool = False  # whether MLflow asks for a name and a password, once it accepts where a request comes from


class Heads(Model):
    """Where clients look for the Ray head: every whitelisted node, one address, or the gateway of this host."""

    hosts: tuple[Name, ...]
    dashboard_port: Port = 8265
    client_port: Port = 10001
    container: Name | None = None  # whose log explains a missing head, if not a node's
    patience: Annotated[float, Field(ge=0)] = 0.0  # seconds for other hosts to start one, beyond `settle`


class Client(Model):
    """The container that checks from inside the network."""

    image: Name  # ID or tag; needs Ray of the cluster's version
    program: HostPath  # entrypoints/verify_cluster.py
    with_python: HostPath  # entrypoints/with_python.sh
    user: Name = "1000:1000"
    labels: dict[str, str] = {}
    environment: dict[str, str] = {}  # proxies, as in user programs


class SecretFiles(Model):
    """Paths of the secrets on the host; mounted, never read here. None: the service needs no token."""

    ray_token: HostPath | None = None
    ray_certificate: dict[str, HostPath] = {}  # file in /run/secrets → path, with Ray's own TLS
    marimo_token: HostPath | None = None
    transcription_token: HostPath | None = None
    mlflow_password: HostPath | None = None


class Devel(Service):
    """The devel container."""

    keys: tuple[str, ...] = ()  # whose they are, and their fingerprints: a change of them is a change of the stack


class VerificationSpec(Model):
    """Everything the verification expects of one stack."""

    project: Name
    stack: Name
    network: Name  # of Docker; ``host`` for that of the host itself
    client: Client
    heads: Heads | None = None  # None: this stack has no Ray
    nodes: tuple[ExpectedNode, ...] = ()
    other_nodes: bool = False  # nodes of other hosts may be in the cluster
    versions: ExpectedVersions = ExpectedVersions()
    mlflow: Service | None = None
    mlflow_published: Published | None = None  # None: only inside the network
    marimo: Service | None = None
    health: Service | None = None
    exporter: Service | None = None
    prometheus: Service | None = None
    queue: Service | None = None
    devel: Devel | None = None
    transcription: Service | None = None
    listed: tuple[str, ...] = ()  # containers that the exporter must know by name; none where no keeper lists them
    secrets: SecretFiles = SecretFiles()
    deadline: Annotated[float, Field(gt=0)] = 300.0  # seconds for the whole run
    settle: Annotated[float, Field(ge=0)] = 60.0  # seconds in which services may still be joining

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.nodes and self.heads is None:
            raise ValueError("nodes are expected but heads is missing: name the hosts where the Ray head may be")
        if len({node.name for node in self.nodes}) < len(self.nodes):
            raise ValueError("two nodes have the same name: Ray lists nodes by host name, so give each its own")
        return self
