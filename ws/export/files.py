"""What `ws export kuberay` writes, and what it says."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from components.image import REPOSITORY
from config.project import FOLDER
from embedded_engine.changes import CONTAINER
from images.packages_lock import held
from preflight.gpu_facts import GpuFacts
from stack.secrets import SECRETS_TARGET
from ws.deploy import Session
from ws.display import display_on
from ws.errors import WsError
from ws.export.kuberay import NEEDED_VERSION, PASSWORD_KEY, TOKEN_KEY, Exported, ray_nodes, text_of
from ws.generate.files import Written, shown
from ws.generate.program import Declared, declared

WITHOUT_TLS = "The manifests leave out ray.tls: certificates of pods are a matter of the Kubernetes cluster."


def write(session: Session, path: Path, *, registry: str | None, replicas: int | None, gpus: int | None) -> Written:
    """Writes the manifests. Raises `WsError`, and what the program refuses."""
    stack = session.identity.stack
    if session.only_builds:
        raise WsError(f"stack {stack} only builds images: it has no Ray cluster to export")
    settings, membership = session.stack.deployable, session.stack.membership
    nodes = ray_nodes(settings)
    if not nodes:
        raise WsError(f"stack {stack} has no Ray node: enable one with `ws set ray.cpu.enabled true --stack {stack}`")
    if not settings.redis.enabled:
        raise WsError(f"Redis of stack {stack} runs on another host: export the stack of that host")
    with display_on(session.console) as display, session.program_speaks():
        found = declared(FOLDER, session.stack.file.config, display, build=False)
    containers = {one.inputs["hostname"]: one.inputs for one in found.of_type(CONTAINER)}
    names = {name: found.tags.get(containers[name]["image"], containers[name]["image"]) for name in (*nodes, "redis")}
    exported = Exported(
        name=session.identity.object_name("").rstrip("-"),
        settings=settings,
        images={name: _moved(image, registry) for name, image in names.items()},
        ray=held(settings.variant)["ray"],
        gpus=gpus or settings.gpu.offered.count or len(GpuFacts.probe().gpus or ()) or 1,
        replicas=replicas or (len(membership.cluster.hosts) if membership else 1),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text_of(exported, header=_header(found)), encoding="utf-8")
    files = {TOKEN_KEY: _secret(containers[nodes[0]], "ray-token")}
    files |= {PASSWORD_KEY: _secret(containers["redis"], "redis-password")}
    from_files = [f"--from-file={key}={file}" for key, file in files.items()]
    secret = shlex.join(["kubectl", "create", "secret", "generic", exported.secret, *from_files])
    return Written(
        paths=(path,),
        notes=(*_notes(exported.images, found, registry), *([WITHOUT_TLS] if settings.ray.tls else [])),
        next_step=f"Apply it: {secret} && kubectl apply -f {shown(path)}",
    )


def _header(found: Declared) -> str:
    return (
        f"Ray cluster of stack {found.stack} of the CSLR experiment platform, for KubeRay {NEEDED_VERSION} or newer.\n"
        f"Written by `ws export kuberay` from Pulumi.{found.stack}.yaml. Change that, and run it again."
    )


def _notes(images: Mapping[str, str], found: Declared, registry: str | None) -> list[str]:
    """What the Kubernetes nodes may lack."""
    local = sorted(set(images.values()) & found.local_images)
    if not local:
        return [f"Push the images there first: {', '.join(sorted(set(images.values())))}"] if registry else []
    return [f"Only this host has {', '.join(local)}. Push them, and name the registry: --registry PREFIX"]


def _moved(image: str, registry: str | None) -> str:
    """The name of an image below another prefix, if it is one that is built here."""
    local = f"{REPOSITORY}/"
    return f"{registry.rstrip('/')}/{image.removeprefix(local)}" if registry and image.startswith(local) else image


def _secret(container: Mapping[str, list[dict[str, str]]], name: str) -> str:
    """The file of this host with a secret that a container mounts."""
    return next(mount["source"] for mount in container["mounts"] if mount["target"] == f"{SECRETS_TARGET}/{name}")
