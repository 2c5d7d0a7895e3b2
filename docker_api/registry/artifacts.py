"""Small files in registries: OCI artifacts, each a manifest whose layers are the files."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import urljoin

from docker_api.api import Json
from docker_api.registry.client import call
from docker_api.registry.errors import DamagedError
from docker_api.registry.manifests import MANIFESTS, digest_of
from docker_api.registry.names import Name, parse

NAME = "org.opencontainers.image.title"  # annotation with a file's name, under which `oras pull` writes it
EMPTY, EMPTY_TYPE = b"{}", "application/vnd.oci.empty.v1+json"
LARGEST = 4 * 2**20  # bytes of a file


def push_artifact(repository: str, references: Sequence[str], kind: str, files: Mapping[str, bytes]) -> None:
    """Puts files into a repository under each of these tags. Raises `RegistryError`."""
    name = parse(repository)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFESTS[0],
        "artifactType": kind,
        "config": _blob(name, EMPTY, EMPTY_TYPE),
        "layers": [
            {**_blob(name, content, "text/plain"), "annotations": {NAME: title}} for title, content in files.items()
        ],
    }
    body, headers = json.dumps(manifest).encode(), {"Content-Type": MANIFESTS[0]}
    for reference in references:
        call(name, "PUT", f"manifests/{reference}", "pull,push", data=body, headers=headers)


def fetch_artifact(repository: str, reference: str, kind: str) -> dict[str, bytes]:
    """The files under a tag. Raises `RegistryError`: `MissingError` where there are none, `DamagedError`."""
    name = parse(repository)
    answer = call(name, "GET", f"manifests/{reference}", "pull", headers={"Accept": MANIFESTS[0]})
    try:
        manifest = answer.json()
        if manifest["artifactType"] != kind:
            raise ValueError
        layers = [
            (str(layer["annotations"][NAME]), layer["digest"], int(layer["size"])) for layer in manifest["layers"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedError(f"{repository}:{reference} is no {kind}") from None
    return {title: _content(name, digest, size) for title, digest, size in layers}


def tags(repository: str) -> list[str]:
    """The tags of a repository. Raises `RegistryError`, and `MissingError` where there is no such repository."""
    name, path = parse(repository), "tags/list"
    found: list[str] = []
    while path:
        answer = call(name, "GET", path, "pull")
        found += answer.json().get("tags") or []
        following = answer.links.get("next", {}).get("url")
        path = urljoin(answer.url, following) if following else ""
    return found


def _blob(name: Name, content: bytes, kind: str) -> Json:
    """Puts a blob; returns its descriptor."""
    begun = call(name, "POST", "blobs/uploads/", "pull,push")
    place = urljoin(begun.url, begun.headers["Location"])
    digest = digest_of(content)
    headers = {"Content-Type": "application/octet-stream"}
    call(name, "PUT", place, "pull,push", params={"digest": digest}, data=content, headers=headers)
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _content(name: Name, digest: str, size: int) -> bytes:
    if size > LARGEST:
        raise DamagedError(f"{name.text}: a file of {size} bytes is more than the {LARGEST} that one can have")
    content = call(name, "GET", f"blobs/{digest}", "pull").content
    if digest_of(content) != digest:
        raise DamagedError(f"{name.text}: the registry has another content under {digest}")
    return content
