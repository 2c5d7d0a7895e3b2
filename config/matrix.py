"""Stack config of a stack that builds images and deploys nothing: the object ``cslr:matrix``, validated.

Cross-field validation and the selection of images are in ``matrix_rules.py``.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from config.builds import BuildSettings
from config.cluster import KEY as CLUSTER_KEY
from config.explain import explained
from config.load import config_value
from config.platform import KEY as PLATFORM_KEY
from config.problems import Problem, Remove, SettingsError
from config.types import AsTuple, Glob, KeyPath
from images.base.recipe import PLATFORM, Platform

KEY = "cslr:matrix"

BOTH = Problem(
    (),
    f"is in this file beside {KEY}, with which a stack only builds images and deploys nothing",
    "Keep one of the two, in a stack file of its own:",
    (Remove(()),),
)

Phase = Literal[1, 2, 3, 4]
Globs = Annotated[tuple[Glob, ...], AsTuple]


class MatrixSettings(BuildSettings):
    """Which images to build: those of the family that match all of these keys, and those of `services`."""

    cuda: Globs = Field(default=("*",), description="CUDA versions, as patterns: `12.*`.")
    python: Globs = Field(default=("*",), description="Python versions, as patterns, in quotes.")
    targets: Globs = Field(
        default=("*",),
        description="Images of the family, as patterns: `*-runtime`. With `services`, it may be empty: `[]`.",
    )
    phases: Annotated[tuple[Phase, ...], AsTuple] = Field(
        default=(1, 2, 3, 4),
        description="Parts of the family: 1 `runtime`, 2 `ray-runtime`, 3 `marimo-runtime`, 4 the `devel` ones.",
    )
    services: Globs = Field(
        default=(), description="Images of services, as patterns: `*` for all, `transcription-*`. Unset: none."
    )
    minimal: bool = Field(default=False, description="Whether to build only one image of each target.")
    without: Globs = Field(
        default=(), description="Images to leave out, as patterns of whole names: `devel-cuda12.8.1-*`."
    )
    platforms: Annotated[tuple[Platform, ...], AsTuple] = Field(
        default=(PLATFORM,),
        description="`linux/amd64`, `linux/arm64`, or both. An image of the family is left out on a platform for which "
        "PyTorch has no CUDA build. When pushed, an image has one name for all platforms.",
    )
    signing_key: KeyPath | None = Field(
        default=None,
        description="OpenSSH key with which `ws matrix` signs a list of the images that it pushed (docs/images.md). "
        "Unset: nothing is signed.",
    )
    push: bool = Field(default=False, description="Whether to push the images. Needs `registry`.")


def refuse_beside(text: Callable[[str], str | None], *, stack_file: str) -> None:
    """Passes unless ``cslr:platform`` or ``cslr:cluster`` asks for something: such a stack deploys nothing. `text` is
    that of a key of this project.

    Raises:
        SettingsError: one does.
    """
    for key in (PLATFORM_KEY, CLUSTER_KEY):
        if config_value(text(key.partition(":")[2])):  # Pulumi adds the project's default, which says nothing
            raise SettingsError([BOTH], stack_file, key)


def parse(raw: object, *, stack_file: str) -> MatrixSettings:
    """The settings in ``raw``, the value of ``cslr:matrix`` in ``stack_file``.

    Raises:
        SettingsError: with every key that is not valid on its own.
    """
    try:
        return MatrixSettings.model_validate(raw)
    except ValidationError as error:
        raise explained(error, MatrixSettings, stack_file, KEY) from None
