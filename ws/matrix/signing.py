"""The signed list of what `ws matrix` pushed: made, kept on this host, and put beside the images."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from components.image_family import PushedName, pushed_names
from config.problems import Problem, Remove
from docker_api.api import DockerApi, DockerError
from docker_api.registry import RegistryError, index_digest, push_artifact, pushed_digest
from stack.image_list import ImageList, SignedImage, repository
from stack.signed_images import KIND, LATEST, LIST, REPOSITORY, SIGNATURE, path_of, place
from stack.ssh_signature import SignatureError, sign
from stack.state import stack_folder, write_atomically
from ws.deploy import Session
from ws.matrix import tags
from ws.matrix.plan import Plan
from ws.matrix.run import Outcome

KEY = "signing_key"
PROBE = b"cslr: whether this key can sign\n"


def folder_of(session: Session) -> Path:
    """Where this host keeps the lists that it signed."""
    return stack_folder(session.identity) / REPOSITORY


def key_problem(planned: Plan, *, asked: bool) -> Problem | None:
    """Why the key cannot sign, or would sign nothing though it is `asked` to; found before anything is built."""
    settings = planned.args.settings
    if asked and not settings.push:
        reason = "signs what is pushed, and this run pushes nothing"
        return Problem((KEY,), reason, "Push the images, or do without:", ("add --push", Remove((KEY,))))
    if settings.push and settings.signing_key:
        try:
            sign(PROBE, path_of(settings.signing_key))
        except SignatureError as error:
            return Problem((KEY,), error.reason, "Nothing was built:", (error.remedy, Remove((KEY,))))
    return None


def sign_pushed(planned: Plan, outcome: Outcome, also: str | None, folder: Path, say: Callable[[str], None]) -> None:
    """Signs a list of what was pushed, and pushes it. What fails is among the failures."""
    settings = planned.args.settings
    if not (settings.push and settings.signing_key and settings.registry):
        return
    images = _pushed(planned, outcome, also)
    if not images:
        return
    now = datetime.now(UTC)
    run = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    listed = ImageList(registry=settings.registry, made=f"{now:%Y-%m-%dT%H:%M:%SZ}", images=tuple(images))
    text, file = listed.text().encode(), folder / f"{run}.txt"
    try:
        signature = sign(text, path_of(settings.signing_key))
        write_atomically(file, text, 0o644)
        write_atomically(file.with_name(f"{file.name}.sig"), signature, 0o644)
        push_artifact(place(settings.registry), (run, LATEST), KIND, {LIST: text, SIGNATURE: signature})
        say(f"Signed {len(images)} names of images: {place(settings.registry)}:{run}, {file}")
    except SignatureError as error:
        outcome.failures[KEY] = f"{error.reason}: the images are pushed and not signed. {error.remedy}"
    except OSError as error:
        outcome.failures[KEY] = f"the images are pushed and not signed: {error}"
    except (DockerError, RegistryError) as error:
        outcome.failures[KEY] = f"the images are pushed, but not their signed list {file}: {error}"


def _pushed(planned: Plan, outcome: Outcome, also: str | None) -> list[SignedImage]:
    """What was pushed, by the digests that this host's Docker gave it: the registry's word would prove nothing."""
    api = DockerApi()
    found: dict[str, SignedImage] = {}
    for name in _names(planned, outcome, also):
        try:
            digest = _index_digest(name, found) if name.members else _digest(api, name.reference)
        except (DockerError, RegistryError) as error:
            outcome.failures[f"{name.resources[-1]}-signature"] = str(error)
            continue
        found[name.reference] = SignedImage(digest, name.reference, name.platforms)
    return list(found.values())


def _names(planned: Plan, outcome: Outcome, also: str | None) -> list[PushedName]:
    names = [one for one in pushed_names(planned.args) if not outcome.failures.keys() & set(one.resources)]
    if also:
        platforms = {wanted.name: wanted.platform for wanted, _ in planned.tags}
        names += [
            PushedName(reference=further, platforms=platforms[name], resources=(f"{name}-{also}",))
            for name, (_, further) in tags.names(planned, outcome, also).items()
            if f"{name}-{also}" not in outcome.failures
        ]
    return names


def _digest(api: DockerApi, reference: str) -> str:
    """The digest under which this host pushed an image. Raises `DockerError`, `RegistryError`."""
    own = f"{repository(reference)}@"
    image = api.call("GET", f"/images/{reference}/json")
    digests = [one.removeprefix(own) for one in image.get("RepoDigests") or () if one.startswith(own)]
    if len(digests) == 1:
        return str(digests[0])
    there = pushed_digest(reference)  # one of several, or of none
    if there not in digests:
        raise RegistryError(f"{reference} is not signed: the registry has {there}, which this host has not pushed")
    return there


def _index_digest(name: PushedName, images: dict[str, SignedImage]) -> str:
    """The digest of an index of images that are signed. Raises `RegistryError`."""
    if missing := [member for member in name.members if member not in images]:
        raise RegistryError(f"{name.reference} is not signed: neither is {missing[0]}, which it holds")
    return index_digest(name.reference, [images[member].by_digest for member in name.members])
