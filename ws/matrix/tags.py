"""One more tag for each image of a run, such as the commit that it was built of: `ws matrix --also-tag`."""

import re
from collections.abc import Callable

from components.image import FAMILY_REPOSITORY, REPOSITORY
from docker_api.api import DockerApi, DockerError
from docker_api.registry import RegistryError, push, tag_image
from images.base.recipe import platform_suffix
from images.family import BuildTarget
from ws.errors import WsError
from ws.matrix.plan import Plan
from ws.matrix.run import Outcome

TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")


def check(text: str | None) -> None:
    """Passes if it can end a tag. Raises `WsError`."""
    if text is not None and not TEXT.fullmatch(text):
        raise WsError(
            f"--also-tag {text[:60]!r} cannot be part of a tag: letters, digits, '_', '.' and '-', at most 60 of them."
        )


def names(planned: Plan, outcome: Outcome, text: str) -> dict[str, tuple[str, str]]:
    """Image → its tag by content, and the further one, of the images that were built."""
    place = planned.args.settings.registry or REPOSITORY
    return {
        wanted.name: (tag, _further(wanted, place, text))
        for wanted, tag in planned.tags
        if wanted.name not in outcome.failures
    }


def _further(wanted: BuildTarget, place: str, text: str) -> str:
    if wanted.variant_key:
        return f"{place}/{FAMILY_REPOSITORY}:{wanted.name}-{text}"
    return f"{place}/{wanted.image.name}:{text}{platform_suffix(wanted.platform)}"


def also(planned: Plan, outcome: Outcome, text: str, say: Callable[[str], None]) -> None:
    """Tags the images, and pushes the tags where the images are pushed. What fails is among the failures."""
    api = DockerApi()
    for name, (tag, further) in names(planned, outcome, text).items():
        try:
            tag_image(api, tag, further)
            if planned.args.settings.push:
                push(api, further, lambda _: None)
            say(f"{further} is {tag}")
        except (DockerError, RegistryError) as error:
            outcome.failures[f"{name}-{text}"] = str(error)
