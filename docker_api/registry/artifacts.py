"""Small files in registries: OCI artifacts, each a manifest whose layers are the files."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import urljoin, urlsplit

from docker_api.api import Json
from docker_api.registry.client import call, call_json
from docker_api.registry.errors import DamagedError, MissingError
from docker_api.registry.manifests import MANIFESTS, check_digest, digest_of
from docker_api.registry.names import Name, parse

NAME = "org.opencontainers.image.title"  # annotation with a file's name, under which `oras pull` writes it
EMPTY, EMPTY_TYPE = b"{}", "application/vnd.oci.empty.v1+json"
# Most that is taken of a registry: a file's bytes, an artifact's files, a repository's tags and the pages of them.
LARGEST, MOST_FILES, MOST_TAGS, MOST_PAGES = 4 * 2**20, 16, 100_000, 1000


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
    manifest, _ = call_json(name, f"manifests/{reference}", "pull", headers={"Accept": MANIFESTS[0]})
    try:
        if manifest["artifactType"] != kind or len(manifest["layers"]) > MOST_FILES:
            raise ValueError
        layers = [
            (str(layer["annotations"][NAME]), str(layer["digest"]), int(layer["size"])) for layer in manifest["layers"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise DamagedError(f"{repository}:{reference} is not an artifact of type {kind}") from None
    return {title: _content(name, digest, size) for title, digest, size in layers}


def tags(repository: str) -> list[str]:
    """The tags of a repository. Raises `RegistryError`, and `MissingError` where there is no such repository."""
    name, path = parse(repository), "tags/list"
    found: list[str] = []
    for _ in range(MOST_PAGES):
        listed, answer = call_json(name, path, "pull")
        names = listed.get("tags")
        found += [tag for tag in names if isinstance(tag, str)] if isinstance(names, list) else []
        following = answer.links.get("next", {}).get("url")
        if not following:
            return found
        path = urljoin(answer.url, following)
        if urlsplit(path).netloc != urlsplit(answer.url).netloc:
            raise DamagedError(
                f"{repository}: its list of tags goes on at another server, {urlsplit(path).netloc[:100]}"
            )
        if len(found) > MOST_TAGS:
            break
    raise DamagedError(f"{repository}: its list of tags does not end after {len(found)} of them")


def _blob(name: Name, content: bytes, kind: str) -> Json:
    """Puts a blob; returns its descriptor."""
    begun = call(name, "POST", "blobs/uploads/", "pull,push")
    place = urljoin(begun.url, begun.headers.get("Location", ""))
    digest = digest_of(content)
    headers = {"Content-Type": "application/octet-stream"}
    call(name, "PUT", place, "pull,push", params={"digest": digest}, data=content, headers=headers)
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _content(name: Name, digest: str, size: int) -> bytes:
    if size > LARGEST:
        raise DamagedError(f"{name.text}: a file of {size} bytes is more than the {LARGEST} that one can have")
    try:
        content = call(name, "GET", f"blobs/{digest}", "pull").content
    except MissingError as error:
        raise DamagedError(str(error)) from error
    check_digest(name, digest, content)
    return content
