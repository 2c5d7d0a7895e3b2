"""Checks that images which services pull from the stack's registry are in a signed list, before anything changes."""

from collections.abc import Iterator

from config.platform import KEY, PlatformSettings
from config.problems import Path, Problem, Remove, Set, SettingsError
from config.services import SERVICES, image_owner
from docker_api.registry import RegistryError
from docker_api.registry.names import parse
from stack.image_list import repository
from stack.signed_images import Found, look, path_of, place
from stack.ssh_signature import SignatureError, check_signers

SIGNERS: Path = ("images", "signers")


def check(settings: PlatformSettings, stack_file: str, key: str = KEY) -> None:
    """Passes if signatures are not asked for, or every such image has one that counts.

    Raises:
        SettingsError: with every reason why not.
    """
    if problems := [*_problems(settings)]:
        raise SettingsError(problems, stack_file, key)


def pulled(settings: PlatformSettings) -> dict[Path, str]:
    """The images that services pull from the stack's registry, by the keys that name them."""
    owners = dict.fromkeys(image_owner(service) for service in settings.services())
    images = {(*SERVICES[owner], "image", "reference"): settings.service(owner).image for owner in owners}
    registry = settings.images.registry
    return {
        path: f"{registry}/{name}"
        for path, image in images.items()
        if registry and image.source == "pull" and image.reference and (name := _below(registry, image.reference))
    }


def _below(registry: str, reference: str) -> str:
    """What follows a registry's prefix in the name of an image, however Docker lets both be spelt; empty: nothing."""
    above, name = parse(f"{registry}/a/b"), parse(reference)
    prefix, whole = f"{above.host}/{above.repository.removesuffix('a/b')}", f"{name.host}/{name.repository}"
    end = f"{'@' if '@' in reference else ':'}{name.reference}"
    return f"{whole.removeprefix(prefix)}{end}" if whole.startswith(prefix) else ""


def _problems(settings: PlatformSettings) -> Iterator[Problem]:
    registry, entry = settings.images.registry, settings.images.signers
    if not (registry and entry):
        return
    signers = path_of(entry)
    try:
        check_signers(signers)
    except SignatureError as error:
        advice = "Each line of the file is a name and a public key; or do without signatures:"
        yield Problem(SIGNERS, error.reason, advice, (error.remedy, Remove(SIGNERS)))
        return
    wanted = pulled(settings)
    if not wanted:
        return
    digests = {reference: _by_digest(reference) for reference in wanted.values()}
    names = [reference for reference, by_digest in digests.items() if not by_digest]
    try:
        found = look(registry, signers, [one for one in digests.values() if one], names)
    except RegistryError as error:
        reason = f"the signed lists in {place(registry)} cannot be read: {error}"
        yield Problem(SIGNERS, reason, "Try again when the registry answers, or do without:", (Remove(SIGNERS),))
        return
    for path, reference in wanted.items():
        by_digest = digests[reference]
        if not by_digest:
            yield _by_tag(path, reference, found)
        elif by_digest not in found.images:
            yield _unsigned(path, f"{by_digest} is in no signed list of {place(registry)}", found)


def _by_digest(reference: str) -> str:
    """The image by digest; empty where its name has none."""
    _, at, digest = reference.partition("@")
    return f"{repository(reference)}@{digest}" if at else ""


def _by_tag(path: Path, reference: str, found: Found) -> Problem:
    signed = found.named(reference)
    if signed is None:
        return _unsigned(path, f"{reference} is in no signed list of the registry", found)
    return Problem(
        path,
        f"{reference} is signed, but is named by a tag, which the registry can give to another image",
        "Name it by the digest that was signed:",
        (Set(path, signed.by_digest),),
    )


def _unsigned(path: Path, reason: str, found: Found) -> Problem:
    why = f" ({found.refused[0]})" if found.refused else ""
    advice = "Push it with `ws matrix --push` and a signing_key, name another image, or do without signatures:"
    return Problem(path, f"{reason}{why}", advice, (Remove(SIGNERS),))
