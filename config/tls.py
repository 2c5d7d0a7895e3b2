"""TLS in front of a stack's web services: its settings, and which services it is for."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.notation import listed_as
from config.ports import (
    ALERTMANAGER,
    EXPORTER,
    GRAFANA,
    HEALTH,
    MARIMO,
    MLFLOW,
    PROMETHEUS,
    QUEUE,
    RAY_DASHBOARD,
    TRANSCRIPTION,
    TRANSCRIPTION_FRONTEND,
)
from config.problems import Path, Problem, Remove, Set
from config.services import MIB, CpuLimit, MemoryLimit, ServiceSettings

# Service → its port inside the network. Redis, Postgres, SSH, the Ray Client (gRPC) and Ray's GCS are no web servers.
WEB = {
    "mlflow": MLFLOW,
    "health": HEALTH,
    "ray-cpu": RAY_DASHBOARD,
    "ray-gpu": RAY_DASHBOARD,
    "marimo": MARIMO,
    "queue": QUEUE,
    "transcription": TRANSCRIPTION,
    "transcription-frontend": TRANSCRIPTION_FRONTEND,
    "exporter": EXPORTER,
    "alertmanager": ALERTMANAGER,
    "prometheus": PROMETHEUS,
    "grafana": GRAFANA,
}
SOURCE: Path = ("tls", "source")
CERTIFICATE: Path = ("tls", "certificate")
KEY: Path = ("tls", "key")
RAY_TLS: Path = ("ray", "tls")
FILES = {CERTIFICATE: "/etc/ssl/site/fullchain.pem", KEY: "/etc/ssl/site/privkey.pem"}  # examples

PemPath = Annotated[str, Field(min_length=1, max_length=1000)]


class TlsSettings(ServiceSettings):
    """TLS for all published web services: nginx takes over their ports. Off unless `source` is set."""

    enabled: bool = Field(default=False, description="Whether TLS is on. Unset: if `source` is set.")
    cpus: CpuLimit = 1
    memory: MemoryLimit = 128 * MIB
    source: Literal["generated", "files"] = Field(
        default="generated",
        description="Where the certificate comes from: `generated` by an authority of this stack, or `files` of the "
        "site.",
    )
    certificate: PemPath | None = Field(
        default=None,
        description="Path of the certificate of the site, followed by those of its authorities. With `source: files`.",
    )
    key: PemPath | None = Field(
        default=None, description="Path of its private key, without a passphrase. With `source: files`."
    )

    @model_validator(mode="before")
    @classmethod
    def _enable_with_source(cls, value: object) -> object:
        """Whoever names a source wants TLS."""
        return {"enabled": True, **value} if isinstance(value, dict) and "source" in value else value


def web_port(service: str) -> int | None:
    """The port of a web service inside the network; None for any other service."""
    return WEB.get(listed_as(service))


def ray_tls_has_one_authority(*, several_hosts: bool, head_address: str | None) -> Iterator[Problem]:
    """Ray's own TLS only where all nodes and clients have certificates of this stack's authority."""
    remedy = "Encrypt what is between the hosts in another way, such as WireGuard, and leave the key out:"
    keys = (Remove(RAY_TLS),)
    if several_hosts:
        reason = (
            "Ray's TLS is for a stack on one host, and this host is part of a cluster: Ray Clients reach the head by "
            "the address of any host, and one certificate for all of them would replace every node with each host added"
        )
        yield Problem(RAY_TLS, reason, remedy, keys)
    elif head_address is not None:
        reason = f"the head at {head_address} (ray.head_address) has no certificate of this stack's authority"
        yield Problem(RAY_TLS, reason, remedy, keys)


def files_are_named(settings: TlsSettings, *, several_hosts: bool) -> Iterator[Problem]:
    """The keys of files are there if they are used, and TLS only where it works."""
    if not settings.enabled:
        return
    if several_hosts:
        yield Problem(
            SOURCE,
            "TLS is for a stack on one host, and this host is part of a cluster",
            "Leave it out, and use a reverse proxy in front of the hosts (docs/reverse-proxy.md):",
            (Remove(("tls",)),),
        )
    given = {CERTIFICATE: settings.certificate, KEY: settings.key}
    for path, value in given.items():
        if settings.source == "files" and value is None:
            yield Problem(
                path,
                "is missing, but tls.source is files",
                "Name the file, or let the stack make its certificate:",
                (Set(path, FILES[path]), Set(SOURCE, "generated")),
            )
        if settings.source == "generated" and value is not None:
            yield Problem(
                path,
                f"{value[:200]} would be ignored, since tls.source is generated",
                "Use the site's files, or remove the key:",
                (Set(SOURCE, "files"), Remove(path)),
            )
