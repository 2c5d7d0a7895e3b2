"""Derives the verification's specification from a deployment."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from config.addresses import connectable, origin, prefix_of
from config.notation import person_of
from config.platform import PlatformSettings
from config.ports import DEVEL, EXPORTER, HEALTH, MARIMO, MLFLOW, PROMETHEUS, QUEUE, TRANSCRIPTION
from config.types import EVERYWHERE
from contracts import mlflow_login
from images.catalog import CATALOG
from stack.http_proxy import HttpProxy
from stack.identity import StackIdentity
from stack.programs import ENTRYPOINTS
from stack.ray_tls import RayCertificate
from stack.secrets import SecretFiles, user_id
from stack.sources import Sources
from stack.state import HostFiles
from stack.tls import trusted_file
from verification import spec as expected

# Seconds. Hosts of a cluster start in any order, and the leader may have to build its images first.
LAN_SETTLE, LAN_DEADLINE = 180.0, 480.0
BUILDING = 900.0


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Derives the specification from the declared resources. Plain values only."""

    settings: PlatformSettings
    identity: StackIdentity
    files: HostFiles
    secrets: SecretFiles
    sources: Sources
    services: Collection[str]  # names of those that run
    head_hosts: tuple[str, ...]  # where clients look for the Ray head
    node_name: Callable[[str], str]  # service → name of its Ray node
    proxy: HttpProxy
    own_addresses: tuple[str, ...] = ()  # of this host
    ray_certificate: RayCertificate | None = None

    @property
    def client(self) -> str | None:
        """The service whose image the client container runs: one with Python, and with Ray if there is one.

        None without such a service: then Docker's health checks are the verification.
        """
        preferred = (*self.settings.ray_nodes, self._notebooks, "health", "mlflow")
        return next((name for name in preferred if name in self.services), None)

    def spec(self, client: str, image: str) -> expected.VerificationSpec:
        """The specification, once the ID of the image of the service `client` is known."""
        user, membership = self.settings.service(client).user, self.settings.membership
        heads = self._heads() if self.settings.ray_nodes else None
        patience = heads.patience if heads else 0.0
        return expected.VerificationSpec(
            project=self.identity.project,
            stack=self.identity.stack,
            network="host" if membership else self.settings.network.name,
            client=expected.Client(
                image=image,
                program=self.files.program(ENTRYPOINTS / "verify_cluster.py"),
                with_python=self.files.program(ENTRYPOINTS / "with_python.sh"),
                user=user,
                labels=self.identity.labels("verification"),
                environment=self.proxy.of_client(self.settings.service(client).env, self._notebooks),
            ),
            heads=heads,
            nodes=tuple(self._node(name) for name in self.settings.ray_nodes),
            other_nodes=membership is not None or self.settings.ray.head_address is not None,
            versions=self._versions(),
            mlflow=self._service("mlflow", MLFLOW),
            mlflow_published=self._published(),
            marimo=self._service(self._notebooks, MARIMO),
            health=self._service("health", HEALTH),
            exporter=self._service("exporter", EXPORTER),
            prometheus=self._service("prometheus", PROMETHEUS),
            queue=self._service("queue", QUEUE),
            devel=self._devel(),
            transcription=self._service("transcription", TRANSCRIPTION),
            listed=tuple(map(self.identity.object_name, self.services)) if "keeper" in self.services else (),
            secrets=expected.SecretFiles(
                ray_token=self.secrets.path("ray-token", uid=user_id(user)),
                ray_certificate=self._ray_certificate(user_id(user)),
                marimo_token=self.secrets.notebook_token_path(person_of(self._notebooks), uid=user_id(user)),
                transcription_token=self.secrets.path("transcription-token", uid=user_id(user))
                if "transcription" in self.services
                else None,
                mlflow_password=self.secrets.path(mlflow_login.SERVICE_SECRET, uid=user_id(user))
                if self.settings.mlflow.logins
                else None,
            ),
            **({"settle": LAN_SETTLE, "deadline": LAN_DEADLINE + patience} if membership else {}),
        )

    def _ray_certificate(self, uid: int) -> dict[str, str]:
        files = self.ray_certificate.files if self.ray_certificate else {}
        return {name: self.files.secret(name, text, uid=uid) for name, text in files.items()}

    @property
    def _notebooks(self) -> str:
        """The notebooks that are checked: where each person has their own, the first one's, since all are alike."""
        return self.settings.notebooks[0]

    def _heads(self) -> expected.Heads:
        membership = self.settings.membership
        if membership is None:
            return expected.Heads(hosts=self.head_hosts)
        alone = not membership.peers or membership.cluster.head_address is not None
        return expected.Heads(
            hosts=self.head_hosts,
            container=self.identity.object_name("ray-gateway"),
            patience=0.0 if alone else BUILDING,
        )

    def _service(self, name: str, port: int) -> expected.Service | None:
        """A service as the client reaches it: inside the bridge network, or from the host's own where it is published.

        MLflow has its address on the network of the hosts there, since the nodes use the same.
        """
        if name not in self.services:
            return None
        address = f"{name}:{port}"
        if self.settings.membership:
            (published,) = self.settings.service(name).host_ports.values()
            address = f"{connectable(self.settings.bind_address(name))}:{published}"
        url = f"http://{address}{prefix_of(self.settings.base_url(name))}"
        return expected.Service(url=url, container=self.identity.object_name(name))

    def _devel(self) -> expected.Devel | None:
        found = self._service("devel", DEVEL)
        if found is None:
            return None
        keys = tuple(key.words for key in self.settings.login_keys)
        return expected.Devel(url=found.url, container=found.container, keys=keys)

    def _published(self) -> expected.Published | None:
        """MLflow as browsers on this and other hosts reach it."""
        reach = self.settings.reach("mlflow", self.own_addresses)
        if "mlflow" not in self.services or reach is None:
            return None
        bound = self.settings.bind_address("mlflow")
        loopback = (origin(reach.scheme, "127.0.0.1", reach.port),) if bound in ("127.0.0.1", *EVERYWHERE) else ()
        return expected.Published(
            origins=(*loopback, *reach.origins),
            prefix=reach.prefix,
            port=reach.port,
            container=self.identity.object_name("mlflow"),
            trusted=str(trusted_file(self.files.folder)) if reach.scheme == "https" else None,
            logins=self.settings.mlflow.logins,
        )

    def _node(self, name: str) -> expected.ExpectedNode:
        node = self.settings.ray_nodes[name]
        return expected.ExpectedNode(
            name=self.node_name(name),
            container=self.identity.object_name(name),
            cpus=node.logical_cpus,
            gpus=self.settings.gpus_of(name).count,
            memory=node.memory,
            torch=node.torch,
        )

    def _versions(self) -> expected.ExpectedVersions:
        """The locked versions if every node's image was built from them; a pulled image has its own, and one's own
        Dockerfile may bring another PyTorch, but neither another Ray nor another Python.
        """
        images = [node.image for node in self.settings.ray_nodes.values()]
        if any(image.source == "pull" for image in images):
            return expected.ExpectedVersions()
        variant, flavour = self.settings.variant, self.sources.torch
        locked, wheel = CATALOG["ray-runtime"].versions(variant, flavour), self.settings.images.ray
        ray = wheel.version if wheel else locked["ray"]
        if any(image.is_own for image in images):
            return expected.ExpectedVersions(ray=ray, python=variant.python)
        return expected.ExpectedVersions(
            ray=ray,
            python=variant.python,
            torch=variant.torch,
            torch_cuda=variant.torch_cuda if flavour == "cuda" else None,
            torch_geometric=locked["torch-geometric"],
        )
