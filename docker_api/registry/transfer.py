"""Push and pull through the Engine, with progress in bytes."""

from collections.abc import Callable, Iterable, Iterator

from docker_api.api import DockerApi, DockerError, Json
from docker_api.registry.errors import RegistryError, explained
from docker_api.registry.names import LoginError, Name, header, login, parse

Progress = Callable[[str], None]


def push(api: DockerApi, tag: str, progress: Progress) -> str:
    """Pushes an image; returns its name by digest, ``<repository>@sha256:…``. Raises `RegistryError`."""
    name = parse(tag)
    digest = ""
    progress(f"pushing to {name.host}")
    for message in _transfer(api, name, f"/images/{name.local}/push", {"tag": name.reference}, "pushed", progress):
        digest = (message.get("aux") or {}).get("Digest") or digest
    if not digest:
        raise RegistryError(f"{name.host} accepted {tag} but did not return a digest")
    return f"{name.local}@{digest}"


def pull(api: DockerApi, reference: str, progress: Progress, platform: str = "") -> None:
    """Pulls an image. Raises `RegistryError`."""
    name = parse(reference)
    # Without a tag or digest, Docker would pull every tag of the repository.
    query = {"fromImage": name.local, "tag": name.reference, **({"platform": platform} if platform else {})}
    for _ in _transfer(api, name, "/images/create", query, "pulled", progress):
        pass


def tag_image(api: DockerApi, image: str, tag: str) -> None:
    """Adds a tag to a local image."""
    name = parse(tag)
    api.call("POST", f"/images/{image}/tag", query={"repo": name.local, "tag": name.reference})


def is_pushed(api: DockerApi, found: Json, tag: str) -> str | None:
    """The name by digest under which an image (as the Engine inspects it) was pushed as `tag`; None: it was not."""
    name = parse(tag)
    by_digest = next((one for one in found.get("RepoDigests") or () if one.startswith(f"{name.local}@")), None)
    # With the containerd image store (it reports a descriptor), images that were never pushed have digests too.
    if by_digest and found.get("Descriptor") and _digest_there(api, name) != by_digest.rpartition("@")[2]:
        return None
    return by_digest


def has_login(reference: str) -> bool:
    """Whether Docker is logged in at the registry of a name. Raises `RegistryError` if that cannot be told."""
    try:
        return login(parse(reference).host) is not None
    except LoginError as error:
        raise RegistryError(str(error)) from error


def _digest_there(api: DockerApi, name: Name) -> str | None:
    """What the registry has under a name; None where it does not tell, which a push will explain."""
    try:
        answer = api.call("GET", f"/distribution/{name.text}/json", headers=header(name.host))
    except (DockerError, LoginError):
        return None
    return str(answer["Descriptor"]["digest"])


def _transfer(api: DockerApi, name: Name, path: str, query: Json, done: str, progress: Progress) -> Iterator[Json]:
    try:
        messages = api.stream(path, query=query, headers=header(name.host))
        yield from _shown(messages, done, progress)
    except LoginError as error:
        raise RegistryError(str(error)) from error
    except DockerError as error:
        raise explained(name, str(error)) from error


def _shown(messages: Iterable[Json], done: str, progress: Progress) -> Iterator[Json]:
    layers: dict[str, tuple[int, int]] = {}
    for message in messages:
        if "error" in message:
            raise DockerError(message["error"])
        detail = message.get("progressDetail") or {}
        if detail.get("total"):
            layers[message["id"]] = (detail["current"], detail["total"])
            so_far, total = (sum(part) / 1e6 for part in zip(*layers.values(), strict=True))
            progress(f"{done} {so_far:.0f} of {total:.0f} MB")
        yield message
