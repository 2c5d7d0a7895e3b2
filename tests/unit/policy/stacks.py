"""The stacks whose resources keep the rules: one of each kind that a stack file can ask for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from config.cluster import Membership
from config.cluster_file import parse
from config.load import load
from policy.declared import Surroundings
from stack.advertised_facts import MACHINE
from testing.harness import CLUSTER, LOGIN, MATRIX, PLATFORM, SOCKET, Deployed, deploy, merged, stack_settings
from tests.unit.everything import EVERYTHING, HELD_BY_ALPHA, SECRETS, SINGLE

PULLED = {"image": {"source": "pull", "reference": "registry.example.org/lab/image:1"}}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What a test deploys."""

    settings: dict[str, Any]
    name: str = "dev"
    key: str = PLATFORM
    preview: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)
    cluster: dict[str, Any] | None = None

    def deploy(self, state_home: Path) -> tuple[Deployed, Surroundings]:
        """Its resources, and what its files say about it."""
        deployed = deploy(
            self.settings,
            state_home=state_home,
            stack=self.name,
            key=self.key,
            preview=self.preview,
            secrets=dict(self.secrets),
            cluster=self.cluster,
        )
        made = deployed.generated_secrets() if (deployed.state / "generated").is_dir() else {}
        secrets = made | json.loads(self.secrets.get("envSecrets", "{}"))
        secrets.pop(MACHINE, None)  # it is made in the same way, but hosts tell it to each other
        return deployed, replace(self.surroundings(), state=str(deployed.state), secrets=secrets)

    def surroundings(self) -> Surroundings:
        """What its file says about it."""
        cluster = parse(self.cluster, file="", key="") if self.cluster else None
        membership = Membership(cluster=cluster, host=self.name, file="", key="") if cluster else None
        settings = load(self.settings if self.key == PLATFORM else {}, stack_file="", membership=membership)
        return Surroundings(settings=settings, socket=SOCKET.path)


GRAFANA: dict[str, Any] = {"metrics": {"grafana": {"enabled": True}}}
HOSTS = {
    f"cluster, {host}": Stack(settings=merged(EVERYTHING, GRAFANA), name=host, cluster=HELD_BY_ALPHA, secrets=SECRETS)
    for host in CLUSTER["hosts"]
}
OFF_BY_DEFAULT = {"exporter", "metrics", "queue", "transcription", "transcription_frontend"}
STACKS = {
    "dev": Stack(settings=stack_settings("dev")),
    "gpu": Stack(settings=stack_settings("gpu"), name="gpu"),
    "everything": Stack(settings=SINGLE, secrets=SECRETS),  # people's notebooks, own Dockerfiles, devel, queue, …
    "everything, before the first deployment": Stack(settings=SINGLE, secrets=SECRETS, preview=True),
    **HOSTS,
    "open to other machines": Stack(settings=merged(SINGLE, {"network": {"bind_address": "0.0.0.0"}}), secrets=SECRETS),
    "with TLS, open to other machines": Stack(
        settings=merged(SINGLE, GRAFANA, {"network": {"bind_address": "0.0.0.0"}, "tls": {"source": "generated"}}),
        secrets=SECRETS,
    ),
    "everything that is off by default, transcription on a GPU": Stack(
        settings=merged(
            {name: {"enabled": True} for name in OFF_BY_DEFAULT},
            GRAFANA,
            {"transcription": {"variant": "cuda"}},
            {"gpu": {"enabled": True}, "images": {"cuda": "12.8.1"}, "ray": {"gpu": {"enabled": False}}},
            LOGIN,
        )
    ),
    "transcription jobs on Ray": Stack(
        settings=merged(
            {"transcription": {"enabled": True, "jobs": {"run_on": "ray", "cpus": 1, "gpus": 0}}},
            {"ray": {"cpu": {**PULLED, "torch": False}, "gpu": {"enabled": True, **PULLED}}, "gpu": {"enabled": True}},
        )
    ),
    "with Ray's own TLS": Stack(settings=merged(SINGLE, {"ray": {"tls": True}}), secrets=SECRETS),
    "pulled images": Stack(
        settings=merged(
            dict.fromkeys(("firewall", "redis", "postgres", "mlflow", "marimo", "health"), PULLED),
            {"ray": {"cpu": PULLED, "gpu": {"enabled": True, **PULLED}}, "gpu": {"enabled": True}},
            merged({"metrics": {"enabled": True}}, GRAFANA),
            LOGIN,
        )
    ),
    "pulled images, on a host of a cluster": Stack(settings={"ray": {"cpu": PULLED}}, name="alpha", cluster=CLUSTER),
    "image family": Stack(settings=stack_settings("matrix", MATRIX), name="matrix", key=MATRIX),
}
