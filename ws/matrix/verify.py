"""`ws matrix --verify`: whether a registry's images are in a signed list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from components.image_family import pushed_names
from docker_api.registry import MissingError, pushed_digest
from stack.image_list import repository
from stack.signed_images import Found, look, path_of
from stack.ssh_signature import SignatureError, check_signers
from ws.errors import WsError
from ws.matrix.plan import Plan
from ws.tables import plain_table

SIGNED, DIFFERS, UNLISTED, ABSENT = "signed", "digest differs", "not in list", "not in the registry"
DIGEST_SHOWN = len("sha256:") + 12


@dataclass(frozen=True)
class Verdict:
    """On one name."""

    reference: str
    digest: str  # in the registry; empty for nothing
    verdict: str


def verdicts(planned: Plan, signers: str | None) -> tuple[list[Verdict], Found]:
    """On every name that the plan selects. Raises `WsError`, `RegistryError`."""
    settings = planned.args.settings
    if not settings.registry:
        raise WsError("ws matrix --verify: no registry is named.\n  Name it: --registry registry.example.org:5000/cslr")
    pushed = replace(planned.args, settings=settings.model_copy(update={"push": True}))
    digests = {name.reference: _digest(name.reference) for name in pushed_names(pushed)}
    wanted = {f"{repository(reference)}@{digest}" for reference, digest in digests.items() if digest}
    found = look(settings.registry, _file(signers or settings.signers), wanted)
    return [Verdict(*one, _verdict(*one, found)) for one in digests.items()], found


def table(found: Sequence[Verdict]) -> Table:
    """The verdicts for a terminal."""
    shown = plain_table(("Image", "Digest", "Verdict"))
    for one in found:
        style = "green" if one.verdict == SIGNED else "red"
        shown.add_row(one.reference, one.digest[:DIGEST_SHOWN] or "-", Text(one.verdict, style=style))
    return shown


def _file(entry: str | None) -> Path:
    if not entry:
        raise WsError(
            "ws matrix --verify: nobody is named whose signatures count.\n"
            "  Name OpenSSH's file of allowed signers: --signers FILE, or the key `signers` in the stack file."
        )
    path = path_of(entry)
    try:
        check_signers(path)
    except SignatureError as error:
        raise WsError(f"ws matrix --verify: {error.reason}.\n    {error.remedy}") from None
    return path


def _digest(reference: str) -> str:
    try:
        return pushed_digest(reference)
    except MissingError:
        return ""


def _verdict(reference: str, digest: str, found: Found) -> str:
    if not digest:
        return ABSENT
    if f"{repository(reference)}@{digest}" in found.images:
        return SIGNED
    return DIFFERS if found.named(reference) else UNLISTED
