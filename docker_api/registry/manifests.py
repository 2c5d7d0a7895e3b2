"""Manifests and indexes in registries."""

import hashlib
import json
from collections.abc import Sequence

from docker_api.api import Json
from docker_api.registry.client import call, call_json
from docker_api.registry.errors import DamagedError, RegistryError
from docker_api.registry.names import Name, parse

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker.distribution.manifest."
MANIFESTS = (f"{OCI}manifest.v1+json", f"{DOCKER}v2+json")
OCI_INDEX, DOCKER_LIST = f"{OCI}index.v1+json", f"{DOCKER}list.v2+json"
ACCEPT = ", ".join((*MANIFESTS, OCI_INDEX, DOCKER_LIST))


def index(tag: str, members: Sequence[str]) -> str:
    """Puts an index of images for several platforms, which are in the same repository already; returns its digest.

    A Docker manifest list where all members are Docker's, else an OCI index. Raises `RegistryError`.
    """
    name = parse(tag)
    kind, body = _index(name, tag, members)
    call(name, "PUT", f"manifests/{name.reference}", "pull,push", data=body, headers={"Content-Type": kind})
    return digest_of(body)


def index_digest(tag: str, members: Sequence[str]) -> str:
    """The digest that `index` gives these members. Puts nothing. Raises `RegistryError`."""
    return digest_of(_index(parse(tag), tag, members)[1])


def pushed_digest(tag: str) -> str:
    """The digest of what the registry has under a name, computed here. Raises `RegistryError`, `MissingError`."""
    name = parse(tag)
    return digest_of(call(name, "GET", f"manifests/{name.reference}", "pull", headers={"Accept": ACCEPT}).content)


def _index(name: Name, tag: str, members: Sequence[str]) -> tuple[str, bytes]:
    """Type and content of an index."""
    entries: list[Json] = []
    for member in members:
        other = parse(member)
        if (other.host, other.repository) != (name.host, name.repository):
            raise RegistryError(
                f"{member} is not in the repository of {tag}; an index can only hold images of its own repository"
            )
        entries += _entries(other)
    platforms = [entry["platform"] for entry in entries]
    if twice := [platform for platform in platforms if platforms.count(platform) > 1]:
        raise RegistryError(f"{tag} would hold {twice[0]['os']}/{twice[0]['architecture']} more than once: {members}")
    oci = any(entry["mediaType"].startswith(OCI) for entry in entries)
    kind = OCI_INDEX if oci else DOCKER_LIST
    return kind, json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()


def manifest_sizes(tag: str) -> dict[str, int]:
    """Bytes of each layer as the registry holds it (compressed), by the layer's diff ID, the lowest first.

    Of an index: those of its first image. Raises `RegistryError`.
    """
    name = parse(tag)
    manifest, _ = _manifest(name, name.reference)
    if "manifests" in manifest:
        manifest, _ = _manifest(name, manifest["manifests"][0]["digest"])
    config = _config(name, manifest)
    sizes = [layer["size"] for layer in manifest["layers"]]
    return dict(zip(config["rootfs"]["diff_ids"], sizes, strict=True))


def _entries(name: Name) -> list[Json]:
    """An image as an index lists it. A tag that is an index itself gives its images, without attestations."""
    manifest, body = _manifest(name, name.reference)
    if "manifests" in manifest:
        return [entry for entry in manifest["manifests"] if entry.get("platform", {}).get("os", "unknown") != "unknown"]
    config = _config(name, manifest)
    platform = {key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}
    return [{"mediaType": manifest["mediaType"], "digest": digest_of(body), "size": len(body), "platform": platform}]


def _manifest(name: Name, reference: str) -> tuple[Json, bytes]:
    manifest, answer = call_json(name, f"manifests/{reference}", "pull", headers={"Accept": ACCEPT})
    if ":" in reference:  # a digest: of a tag, nobody else knows what it means
        check_digest(name, reference, answer.content)
    manifest.setdefault("mediaType", answer.headers.get("Content-Type", MANIFESTS[0]))
    return manifest, answer.content


def _config(name: Name, manifest: Json) -> Json:
    digest = manifest["config"]["digest"]
    config, answer = call_json(name, f"blobs/{digest}", "pull")
    check_digest(name, digest, answer.content)
    return config


def check_digest(name: Name, digest: str, content: bytes) -> None:
    """Passes if a content is the one of that digest. Raises `DamagedError`."""
    if digest_of(content) != digest:
        raise DamagedError(f"{name.text}: the registry has another content under {digest}")


def digest_of(body: bytes) -> str:
    """The name of a content in a registry."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
