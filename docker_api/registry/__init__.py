"""Registries: push and pull through the Engine, manifests over the registry API. Credentials come from Docker."""

from docker_api.registry.errors import RegistryError
from docker_api.registry.manifests import index, manifest_sizes
from docker_api.registry.transfer import has_login, is_pushed, pull, push, tag_image

__all__ = ["RegistryError", "has_login", "index", "is_pushed", "manifest_sizes", "pull", "push", "tag_image"]
