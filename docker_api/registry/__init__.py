"""Registries: push and pull through the Engine, manifests over the registry API. Credentials come from Docker."""

from docker_api.registry.artifacts import fetch_artifact, push_artifact, tags
from docker_api.registry.errors import DamagedError, MissingError, RegistryError
from docker_api.registry.manifests import index, index_digest, manifest_sizes, pushed_digest
from docker_api.registry.transfer import has_login, is_pushed, pull, push, tag_image

__all__ = [
    "DamagedError",
    "MissingError",
    "RegistryError",
    "fetch_artifact",
    "has_login",
    "index",
    "index_digest",
    "is_pushed",
    "manifest_sizes",
    "pull",
    "push",
    "push_artifact",
    "pushed_digest",
    "tag_image",
    "tags",
]
