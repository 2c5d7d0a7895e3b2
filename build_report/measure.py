"""`python -m build_report.measure`: measures the image that CSLR_BUILD describes and checks its budget.

Runs after every image build (components/image.py), on both engines. Each image is measured once: for a known image it
costs the start of Python and one query of the store. Stdout gets exactly one JSON document.
Exit code: 0 within the budget, 1 over it, 2 wrong call or budget table.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, TypeGuard

from build_report.records import Build, BuildRecord, Image, ReportError, Subject
from build_report.store import Store, StoreError
from config.project import FOLDER

if TYPE_CHECKING:
    from build_report.budget import Excess
    from docker_api.api import DockerApi, Json

ENVIRONMENT = "CSLR_BUILD"
IMAGE_ID = "CSLR_IMAGE_ID"  # where it is known, Docker need not be asked
WITHIN, OVER, WRONG_CALL = 0, 1, 2

TEXTS, OPTIONAL = ("tag", "image", "flavour", "platform"), ("target", "variant", "budget", "limit", "limit_key")


class MeasureError(ReportError):
    """An image cannot be measured. The message is one sentence."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The image to measure."""

    tag: str
    subject: Subject
    budget: Path | None  # the table of budgets, if there is one
    limit: tuple[str, int] | None = None  # of the layers above the platform's: the key that says it, and bytes


def read_spec(text: str | None) -> Spec:
    """Reads the spec. Raises MeasureError if it is missing or wrong."""
    if text is None:
        raise MeasureError(f"{ENVIRONMENT} is not set: give the image to measure there, as JSON")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise MeasureError(f"{ENVIRONMENT} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise MeasureError(f"{ENVIRONMENT} must be an object with {', '.join((*TEXTS, *OPTIONAL))}")
    wrong = [f"{key} must be a string" for key in TEXTS if not (isinstance(values.get(key), str) and values[key])]
    wrong += [f"{key} must be a string or null" for key in OPTIONAL if not isinstance(values.get(key), str | None)]
    limit = values.get("limit")
    wrong += ["limit must be a number of bytes, with limit_key"] if limit and not _is_limit(limit, values) else []
    wrong += [f"{key} is unknown" for key in values if key not in (*TEXTS, *OPTIONAL)]
    if wrong:
        raise MeasureError(f"{ENVIRONMENT} does not describe an image: {'; '.join(wrong)}")
    subject = Subject(
        image=values["image"],
        target=values.get("target"),
        variant=values.get("variant"),
        # An image that does not depend on the variant is the same in every flavour.
        flavour=values["flavour"] if values.get("variant") else "cuda",
        platform=values["platform"],
    )
    return Spec(
        tag=values["tag"],
        subject=subject,
        budget=Path(values["budget"]) if values.get("budget") else None,
        limit=(values.get("limit_key") or "", int(limit)) if limit else None,
    )


def _is_limit(limit: object, values: dict[str, object]) -> bool:
    return isinstance(limit, str) and limit.isdecimal() and bool(values.get("limit_key"))


def measure(spec: Spec, image_id: str | None, store: Store) -> int:
    """Measures the image unless that was done before, stores the result, checks the budget. Returns the exit code."""
    build, image = _known(spec, image_id, store) or _examine(spec, store)
    text = _over_budget(spec, build, image, store)
    store.amend_build(
        build.number,
        subject=spec.subject,
        image_id=image.image_id,
        result="over budget" if text else "built",
        error=text,
    )
    said = {"build": build.number, "image_id": image.image_id, "size": image.size, "within_budget": not text}
    print(json.dumps(said))
    if text:
        print(text, file=sys.stderr)
    return OVER if text else WITHIN


def _known(spec: Spec, image_id: str | None, store: Store) -> tuple[Build, Image] | None:
    """The build and its image, if it was measured before."""
    image, build = store.image(image_id), store.build_of_tag(spec.tag)
    return (build, image) if image and _made(build, image.image_id) else None


def _made(build: Build | None, image_id: str) -> TypeGuard[Build]:
    """Whether this build made the image."""
    return build is not None and build.image_id in (None, image_id)


def _examine(spec: Spec, store: Store) -> tuple[Build, Image]:
    """Inspects the image and its contents."""
    from docker_api.api import DockerApi, DockerError

    try:
        api = DockerApi()
        found = api.find(f"/images/{spec.tag}/json")
        if found is None:
            raise MeasureError(f"{spec.tag} is not on this Docker host, so it cannot be measured: build it first")
        image = store.image(found["Id"])
        if image is None:
            print(f"measuring {spec.tag}", file=sys.stderr)
            image = _image(api, found, spec.subject.platform)
            store.add_image(image)
        _ask_registry(api, spec.tag, found, store)
        build = store.build_of_tag(spec.tag)
        if not _made(build, image.image_id):
            build = store.add_build(*_unrecorded(api, spec, found, image, store))
    except DockerError as error:
        raise MeasureError(f"{spec.tag} cannot be measured: {error}") from error
    return build, image


def _ask_registry(api: "DockerApi", tag: str, found: "Json", store: Store) -> None:
    """Stores the compressed sizes of a pushed image."""
    if not found.get("RepoDigests"):
        return
    from docker_api.registry import RegistryError, is_pushed, manifest_sizes

    try:
        if name := is_pushed(api, found, tag):
            store.add_compressed(manifest_sizes(name).items(), "registry")
    except RegistryError as error:
        print(f"{str(error).rstrip('.')}. Compressed sizes are missing in the build report.", file=sys.stderr)


def _image(api: "DockerApi", found: "Json", platform: str) -> Image:
    from build_report.contents import Contents, ContentsError, contents
    from build_report.layers import image_layers

    layers = image_layers(api, found)
    labels: dict[str, str] = found["Config"].get("Labels") or {}
    try:
        said = contents(found["Id"], platform)
    except ContentsError as error:
        # Sizes are known anyway, and a gap in the report must not fail the build.
        print(f"{str(error).rstrip('.')}. Its packages are missing in the build report.", file=sys.stderr)
        said = Contents()
    return Image(
        image_id=found["Id"],
        created=_seconds(found["Created"]),
        labels=labels,
        distribution=said.distribution,
        python=said.python,
        torch=said.torch or labels.get("cslr.torch", ""),
        torch_cuda=said.torch_cuda or labels.get("cslr.torch.cuda", ""),
        layers=layers,
        packages=said.packages,
    )


def _unrecorded(api: "DockerApi", spec: Spec, found: "Json", image: Image, store: Store) -> tuple[BuildRecord, str]:
    """Derives a build that no engine reported (Pulumi does not) from the image itself; returns it with its run.

    An image that had its tag before the run was built by another user or checkout, or loaded.
    """
    from build_report.ancestry import outer_run
    from build_report.phases import from_history

    run, began = outer_run()
    tagged = max(_seconds((found.get("Metadata") or {}).get("LastTagTime") or found["Created"]), image.created)
    now = time.time()
    record = BuildRecord(
        tag=spec.tag,
        subject=spec.subject,
        engine="elsewhere",
        started=now,
        ended=now,
        image_id=image.image_id,
        timing="none",
    )
    if tagged < began:
        return record, run
    started, ended = from_history(image.layers, tagged, began, store.chain_ids(other_than=image.image_id))
    record = replace(
        record,
        engine="pulumi",
        started=started,
        ended=ended,
        builder=api.call("GET", "/version")["Version"],
        usage=store.usage(run, started, ended),
        timing="history",
    )
    return record, run


def _over_budget(spec: Spec, build: Build, image: Image, store: Store) -> str:
    """The message for an image over its budget; empty for others."""
    excesses = list(_excesses(spec, image))
    if not excesses:
        return ""
    from build_report.compare import with_previous

    comparison = with_previous(replace(build, subject=spec.subject), image, store, store.image)
    return "\n".join(
        (
            f"{spec.tag} is over its size budget:",
            *(f"  {excess.text}" for excess in excesses),
            f"  {comparison.text if comparison else 'There is no earlier build to compare with.'}",
            f"  Remove what grew, or raise {spec.limit[0] if spec.limit else f'the limit in {spec.budget}'}.",
        )
    )


def _excesses(spec: Spec, image: Image) -> Iterator["Excess"]:
    if spec.budget is None and spec.limit is None:
        return  # and nothing needs to be imported
    from build_report.budget import exceeded, over_limit
    from images.budgets import BudgetError, load
    from images.catalog import CATALOG

    if spec.limit:
        yield from over_limit(*spec.limit, image)
    if spec.budget:
        try:
            budgets = load(FOLDER / spec.budget, frozenset(CATALOG))
        except BudgetError as error:
            raise MeasureError(str(error)) from None
        yield from exceeded(budgets, spec.subject, image)


def _seconds(text: str) -> float:
    """The Engine's timestamp, which has nanoseconds, as seconds since the epoch."""
    from datetime import datetime

    return max(0.0, datetime.fromisoformat(text).timestamp())


def _end(number: int, _: FrameType | None) -> NoReturn:
    """Ends on a signal, after all clean-up."""
    sys.exit(128 + number)


def main() -> int:
    """Measures one image. Returns the exit code."""
    signal.signal(signal.SIGTERM, _end)
    image_id = os.environ.get(IMAGE_ID, "")
    try:
        spec = read_spec(os.environ.get(ENVIRONMENT))
        # Pulumi identifies a pushed image by its name in the registry.
        return measure(spec, image_id if image_id.startswith("sha256:") else None, Store())
    except StoreError as error:
        print(f"the build is not recorded, and its budget is not checked: {error}", file=sys.stderr)
        return WITHIN
    except ReportError as error:
        print(error, file=sys.stderr)
        return WRONG_CALL
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
