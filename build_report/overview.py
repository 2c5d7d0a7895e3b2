"""A run of builds and the preceding trend: the numbers of every view, computed once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch

from build_report.compare import Comparison, with_previous
from build_report.layers import shared, unique
from build_report.phases import Cache, cache_state, phases
from build_report.records import Build, Image, Layer
from build_report.store import Store
from images.base.recipe import PLATFORM
from images.catalog import CATALOG


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build, and what is derived from it."""

    build: Build
    image: Image | None  # None: it failed, or its image was never measured
    phases: dict[str, float]  # seconds
    cache: Cache
    shared: int | None  # bytes shared with the newest builds of other images
    comparison: Comparison | None  # with the previous build of the same image
    note: str = ""  # what a person remarked on its run


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Some images together, in bytes."""

    images: int
    size: int  # sum
    unique: int  # on one disk: each chain of layers once
    compressed: int | None  # sum over layers of different content, as a registry keeps them; None: not all measured


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One run, with earlier runs and the current state."""

    run: str
    rows: tuple[Row, ...]  # its builds
    trend: tuple[Row, ...]  # builds of the last runs, including this one, oldest first
    family: tuple[Row, ...]  # the newest build of every image
    totals: Totals  # of this run's images
    family_totals: Totals
    cache_bytes: tuple[int, int | None] | None = None  # of the builder, before and after the run

    @property
    def indexes(self) -> dict[str, dict[str, int]]:
        """The images of the run that exist for several platforms: title → platform → bytes."""
        found: dict[str, dict[str, int]] = {}
        for row in self.rows:
            if row.image:
                title = replace(row.build.subject, platform=PLATFORM).title
                found.setdefault(title, {})[row.build.subject.platform] = row.image.size
        return {title: sizes for title, sizes in found.items() if len(sizes) > 1}

    @property
    def started(self) -> float:
        """When its first build began."""
        return min(row.build.started for row in self.rows)

    @property
    def seconds(self) -> float:
        """From the beginning of the first build to the end of the last, with its push."""
        return max(row.build.finished for row in self.rows) - self.started

    @property
    def built(self) -> list[Row]:
        """Builds that succeeded, within their budget."""
        return [row for row in self.rows if row.build.result == "built"]

    @property
    def not_built(self) -> list[Row]:
        """Builds that failed, or whose image is over its budget."""
        return [row for row in self.rows if row.build.result != "built"]


def overview(store: Store, *, runs: int = 10, image: str = "*", run: str | None = None) -> Overview | None:
    """The last run (or `run`) of images whose name or title matches; None if there is none."""
    work = _Work(store, image)
    trend = work.rows(store.builds_since(runs))
    run = run or work.last_run()
    rows = work.rows(store.builds_of_run(run)) if run else ()
    if run is None or not rows:
        return None
    family = tuple(sorted(work.rows(store.newest()), key=_in_order))
    return Overview(
        run=run,
        rows=rows,
        trend=trend,
        family=family,
        totals=totals(rows),
        family_totals=totals(family),
        cache_bytes=store.cache_sizes(run),
    )


def totals(rows: Iterable[Row]) -> Totals:
    """The images of these builds together, each once."""
    images = {row.image.image_id: row.image for row in rows if row.image}.values()
    contents = {layer.diff_id: layer.compressed for image in images for layer in image.layers}
    return Totals(
        images=len(images),
        size=sum(image.size for image in images),
        unique=unique(image.layers for image in images),
        compressed=sum(size or 0 for size in contents.values()) if None not in contents.values() and contents else None,
    )


def _in_order(row: Row) -> tuple[str, str, str, int]:
    """By variant, then in the order of the catalog: parents before children."""
    subject = row.build.subject
    place = list(CATALOG).index(subject.image) if subject.image in CATALOG else len(CATALOG)
    return subject.variant or "", subject.flavour, subject.platform, place


class _Work:
    """Makes rows; reads each image once."""

    def __init__(self, store: Store, image: str) -> None:
        self._store = store
        self._pattern = image
        self._images: dict[str | None, Image | None] = {None: None}
        self._notes = store.notes()
        newest = ((build, self._image(build.image_id)) for build in store.newest())
        self._layers = [(build.subject, image.layers) for build, image in newest if image]

    def rows(self, builds: Iterable[Build]) -> tuple[Row, ...]:
        """Builds of the images asked for, with what follows from them."""
        return tuple(self._row(build) for build in builds if self._asked_for(build))

    def last_run(self) -> str | None:
        """The last run in which such an image was built."""
        builds = [build for build in self._store.newest(failed=True) if self._asked_for(build)]
        return builds[-1].run if builds else None

    def _asked_for(self, build: Build) -> bool:
        title = build.subject.title
        # With hyphens, images are called in stacks and files of the report.
        return any(fnmatch(name, self._pattern) for name in (build.subject.image, title, title.replace(" ", "-")))

    def _row(self, build: Build) -> Row:
        image = self._image(build.image_id)
        return Row(
            build=build,
            image=image,
            phases=phases(build, image),
            cache=cache_state(build, image),
            shared=shared(image.layers, self._others(build)) if image else None,
            comparison=with_previous(build, image, self._store, self._image) if image else None,
            note=self._notes.get(build.run, ""),
        )

    def _others(self, build: Build) -> list[Sequence[Layer]]:
        return [layers for subject, layers in self._layers if subject != build.subject]

    def _image(self, image_id: str | None) -> Image | None:
        if image_id not in self._images:
            self._images[image_id] = self._store.image(image_id)
        return self._images[image_id]
