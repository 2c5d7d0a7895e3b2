"""An image's layers, from the Engine API: digests, sizes, and their purpose."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from build_report.records import Layer
from docker_api.api import DockerApi, Json
from images.layers import BASE, OTHER, layer_of

BASE_LABEL = "cslr.base.source"  # every base image has it, and what is built on it inherits it
BASE_REPOSITORY = re.compile(r"(^|/)base:")  # of a tag
BUILDKIT = re.compile(r"^(RUN|COPY|ADD|WORKDIR) ")  # what makes a layer, be it empty
LEGACY = re.compile(r"^/bin/sh -c (?!#\(nop\))|#\(nop\) +(COPY|ADD|WORKDIR) ")  # what may


def image_layers(api: DockerApi, found: Json) -> tuple[Layer, ...]:
    """The layers of an image, `found` by the Engine; the lowest first."""
    diff_ids: list[str] = found["RootFS"]["Layers"] or []
    history = _history(api, found["Id"])
    base = _base(api, diff_ids, found["Id"])
    below = _history(api, base.image_id) if base else []
    count = len(base.diff_ids) if base else 0
    # Each half is matched by itself: a doubt about one does not shift the other.
    entries = (*_lasting(below, count), *_lasting(history[len(below) :], len(diff_ids) - count))
    return tuple(
        Layer(
            diff_id=diff_id,
            chain_id=chain_id,
            name=BASE if position < count else layer_of(entry["CreatedBy"]) or OTHER,
            size=entry["Size"],
            created=entry["Created"],
        )
        for position, (diff_id, chain_id, entry) in enumerate(zip(diff_ids, chain_ids(diff_ids), entries, strict=True))
    )


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain ID of each layer, by the OCI image specification: the same only on the same layers."""
    chain: list[str] = []
    for diff_id in diff_ids:
        text = f"{chain[-1]} {diff_id}" if chain else ""
        chain.append(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if chain else diff_id)
    return chain


def unique(images: Iterable[Sequence[Layer]]) -> int:
    """Bytes that a daemon needs for these images: each chain of layers once."""
    return sum({layer.chain_id: layer.size for layers in images for layer in layers}.values())


def shared(layers: Sequence[Layer], others: Iterable[Sequence[Layer]]) -> int:
    """Bytes of an image that at least one of the others has too."""
    elsewhere = {layer.chain_id for other in others for layer in other}
    return sum(layer.size for layer in layers if layer.chain_id in elsewhere)


@dataclass(frozen=True, kw_only=True)
class _Base:
    image_id: str
    diff_ids: list[str]


def _base(api: DockerApi, diff_ids: Sequence[str], image_id: str) -> _Base | None:
    """The base image below these layers, if it is still here; the uppermost of several."""
    found = []
    for image in api.labelled("/images/json", "", [BASE_LABEL]):
        if any(BASE_REPOSITORY.search(tag) for tag in image["RepoTags"] or ()) and image["Id"] != image_id:
            layers = api.call("GET", f"/images/{image['Id']}/json")["RootFS"]["Layers"]
            if layers == diff_ids[: len(layers)]:
                found.append(_Base(image_id=image["Id"], diff_ids=layers))
    return max(found, key=lambda base: len(base.diff_ids), default=None)


def _history(api: DockerApi, image_id: str) -> list[Json]:
    """The history of an image, oldest first."""
    return list(reversed(api.call("GET", f"/images/{image_id}/history")))


def _lasting(history: Sequence[Json], count: int) -> list[Json]:
    """Those `count` entries of a history that made the layers. The Engine does not tell which they are."""
    certain = [position for position, entry in enumerate(history) if entry["Size"] or _by_buildkit(entry)]
    empty = [position for position in certain if not history[position]["Size"]]
    possible = [
        position
        for position, entry in enumerate(history)
        if position not in certain and (LEGACY.search(entry["CreatedBy"]) or not entry["CreatedBy"])
    ]
    missing = count - len(certain)
    chosen = {*certain, *possible[:missing]} if missing >= 0 else {*certain} - {*empty[:-missing]}
    # Layers that no entry explains (an image that was squashed or imported) are at the top and of unknown size.
    unknown: Json = {"Size": 0, "Created": 0, "CreatedBy": ""}
    return [*(history[position] for position in sorted(chosen)), *[unknown] * count][:count]


def _by_buildkit(entry: Json) -> bool:
    return entry["Comment"].startswith("buildkit") and BUILDKIT.match(entry["CreatedBy"]) is not None
