"""Phases of a build: the duration of each, and its share of cached steps."""

import itertools
import re
from collections.abc import Container, Iterable, Sequence
from typing import Literal

from build_report.records import PUSHING, Build, Image, Layer
from images.layers import ALL, BASE, OTHER, layer_of

Cache = Literal["cold", "partly", "warm", "unknown", "here"]  # here: nothing was built
EXPORT, PUSH = "export", "push"
ORDER = (*dict.fromkeys((BASE, *ALL)), OTHER, EXPORT, PUSH)

FROM = re.compile(r"^\[[^\]]*\] FROM ")
EXPORTING = re.compile(r"^(exporting|preparing .*cache|writing .*cache|pushing) ")
MAKING = re.compile(r"^\[[^\]]*\] (RUN|COPY|ADD|WORKDIR) ")


def phase_of(step: str) -> str:
    """The phase of a BuildKit step, by its name."""
    if step.startswith(PUSHING):  # a step of its own, after the build
        return PUSH
    if EXPORTING.match(step):
        return EXPORT
    if FROM.match(step):
        return BASE
    return layer_of(step) or OTHER


def phases(build: Build, image: Image | None) -> dict[str, float]:
    """Seconds by phase, in the order of the layers; of phases that took no time, nothing.

    Of steps that ran at the same time in one phase, the time counts once. Phases may overlap each other.
    """
    if build.timing == "none":
        return {}
    if build.timing == "history":
        found = _by_layers(image.layers, build.started) if image else {}
    else:
        found = _by_steps(build)
    return {name: found[name] for name in ORDER if found.get(name, 0) > 0}


def cache_state(build: Build, image: Image | None) -> Cache:
    """How much of a build came from the cache."""
    if build.timing == "none":
        return "here"
    if build.timing == "history":
        there = [layer.created <= build.started for layer in image.layers if layer.name != BASE] if image else []
    else:
        # A step that never began because another failed says nothing.
        there = [step.cached for step in build.steps if MAKING.match(step.name) and (step.cached or step.started)]
    if not there:
        return "unknown"
    return "warm" if all(there) else "partly" if any(there) else "cold"


def from_history(
    layers: Sequence[Layer], tagged: float, run_began: float, known: Container[str]
) -> tuple[float, float]:
    """Start and end of a build, derived from the image alone.

    `tagged`: when the image got its name; `known`: chain IDs of layers that other builds made. Exact to the end. The
    beginning is not known: it is not before the run, nor before the layers that the build stands on.
    """
    there = [layer.created for layer in layers if layer.name == BASE or layer.chain_id in known]
    there += [layer.created for layer in layers if layer.created < run_began]
    return min(tagged, max([run_began, *there])), tagged


def _by_steps(build: Build) -> dict[str, float]:
    spans: dict[str, list[tuple[float, float]]] = {}
    for step in build.steps:
        if step.started is not None and step.completed is not None:
            phase = phase_of(step.name)
            # The image is not there before the build ends; what Pulumi tells of a build has no end of this step.
            completed = build.ended if phase == EXPORT else min(step.completed, build.ended)
            completed = step.completed if phase == PUSH else completed
            # A step that another build began is there with its own times.
            spans.setdefault(phase, []).append((max(step.started, build.started), completed))
    return {name: _covered(parts) for name, parts in spans.items()}


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in at least one of the spans."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def _by_layers(layers: Sequence[Layer], started: float) -> dict[str, float]:
    """The time between a layer and the one below, for layers of this build."""
    found: dict[str, float] = {}
    for below, layer in itertools.pairwise(layers):
        if layer.name != BASE and layer.created > started:
            found[layer.name] = found.get(layer.name, 0) + max(0.0, layer.created - max(below.created, started))
    return found
