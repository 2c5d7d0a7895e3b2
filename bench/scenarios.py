"""Scenarios of work with the image family, as a table: each with its preparation and its goal."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.family import Family, Run
from images.variants import DEFAULT_VARIANT
from images.versions import versions

RAY_RUNTIME = ("--target", "ray-runtime", "--cuda", DEFAULT_VARIANT.cuda)
RAY, OTHER_RAY = versions().packages["ray"], "2.59.0"
OWN_STAGE = "FROM mlflow AS ray-runtime\n"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One thing that people do, and how long their images may take afterwards."""

    name: str
    means: str
    select: tuple[str, ...]  # options of `ws matrix`
    prepare: Callable[[Family], None]
    goal: float | None  # seconds
    former: str  # what it took with hand-built images


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a scenario took."""

    scenario: Scenario
    run: Run


def other_ray(family: Family) -> None:
    """Another version of Ray, with its lock files: what `make lock` does. Resolving is not part of the rebuild."""
    family.edit("images/versions.toml", lambda text: text.replace(f'"{RAY}"', f'"{OTHER_RAY}"'))
    family.call("-m", "images.lock")


SCENARIOS = (
    Scenario(
        name="family",
        means="all 18 images, cold",
        select=("--all",),
        prepare=Family.forget,
        goal=720,
        former="62 min for 9",
    ),
    Scenario(
        name="nothing",
        means="all 18 again, nothing changed",
        select=("--all",),
        prepare=lambda _: None,
        goal=None,
        former="-",
    ),
    Scenario(
        name="config",
        means="all 18 after a change of the stack's config",
        select=("--all",),
        prepare=lambda family: family.edit("Pulumi.matrix.yaml", lambda text: f"{text}    parallel_builds: 3\n"),
        goal=2,
        former="58 s",
    ),
    Scenario(
        name="code",
        means="all 18 after a change of an entry program",
        select=("--all",),
        prepare=lambda family: family.edit("entrypoints/ray/node.py", lambda text: f"{text}# another line\n"),
        goal=5,
        former="83 s",
    ),
    Scenario(
        name="recipe",
        means="ray-runtime after a change of its own stage of the Dockerfile",
        select=RAY_RUNTIME,
        prepare=lambda family: family.edit(
            "images/ml/Dockerfile", lambda text: text.replace(OWN_STAGE, f"{OWN_STAGE}ENV BENCH=1\n")
        ),
        goal=5,
        former="83 s",
    ),
    Scenario(
        name="dependency",
        means=f"ray-runtime after a change of Ray's version, {RAY} to {OTHER_RAY}",
        select=RAY_RUNTIME,
        prepare=other_ray,
        goal=60,
        former="192 s",
    ),
    Scenario(
        name="cold",
        means="ray-runtime, cold",
        select=RAY_RUNTIME,
        prepare=Family.forget,
        goal=180,
        former="26 min",
    ),
)  # fmt: skip
