"""Compares a build with the previous one of the same image: what grew, and which package caused it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from build_report.records import Build, Image, Package
from build_report.store import Store
from build_report.units import delta, moment, size

MOST = 8  # packages named in a text


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """A layer whose size changed; 0 where it is missing."""

    name: str
    before: int
    after: int

    @property
    def growth(self) -> int:
        """Bytes, negative where it shrank."""
        return self.after - self.before


@dataclass(frozen=True, kw_only=True)
class PackageChange:
    """A package that was added, removed or changed."""

    kind: str
    name: str
    change: Literal["added", "removed", "version", "size"]
    before: Package | None
    after: Package | None

    @property
    def growth(self) -> int:
        """Bytes, negative where it shrank."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)

    @property
    def text(self) -> str:
        """``ray 2.55.1 → 2.60.0 +12 MB``."""
        match self.before, self.after:
            case None, Package() as after:
                what = f"{after.version} added"
            case Package() as before, None:
                what = f"{before.version} removed"
            case Package() as before, Package() as after if before.version != after.version:
                what = f"{before.version} → {after.version}"
            case _:
                what = "rebuilt"
        return f"{self.name} {what} ({delta(self.growth)})"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Changes since the previous build. Sizes are unpacked."""

    previous: Build
    size: int  # bytes more, negative: less
    seconds: float | None  # None: one of the images was not built, but present
    layers: list[LayerChange] = field(default_factory=list)  # the most grown first
    packages: list[PackageChange] = field(default_factory=list)

    @property
    def since(self) -> str:
        """``since the build of 2026-11-20 10:12``."""
        return f"since the build of {moment(self.previous.started)}"

    @property
    def text(self) -> str:
        """In one line what changed, and by which packages."""
        if not self.layers and not self.packages:
            return f"no difference {self.since}"
        parts = [f"{delta(self.size)} {self.since}"]
        if self.layers:
            parts.append(
                "layers "
                + ", ".join(f"{layer.name} {delta(layer.growth)} to {size(layer.after)}" for layer in self.layers)
            )
        if self.packages:
            more = len(self.packages) - MOST
            named = ", ".join(package.text for package in self.packages[:MOST])
            parts.append(f"packages {named}" + (f" and {more} more" if more > 0 else ""))
        return "; ".join(parts)


def compare(build: Build, image: Image, previous: Build, before: Image) -> Comparison:
    """Compares a build with the previous one of the same subject."""
    return Comparison(
        previous=previous,
        size=image.size - before.size,
        seconds=_less(build.seconds, previous.seconds),
        layers=_layers(image, before),
        packages=_packages(image.packages, before.packages),
    )


def with_previous(
    build: Build, image: Image, store: Store, image_of: Callable[[str | None], Image | None]
) -> Comparison | None:
    """Compares a build with the one before it; None if there is none."""
    previous = store.previous(build)
    before = image_of(previous.image_id) if previous else None
    return compare(build, image, previous, before) if previous and before else None


def _layers(image: Image, before: Image) -> list[LayerChange]:
    now, then = image.layer_sizes, before.layer_sizes
    changes = (LayerChange(name=name, before=then.get(name, 0), after=now.get(name, 0)) for name in {**then, **now})
    return sorted((change for change in changes if change.growth), key=lambda change: -change.growth)


def _packages(now: Iterable[Package], then: Iterable[Package]) -> list[PackageChange]:
    after, before = ({(package.kind, package.name): package for package in packages} for packages in (now, then))
    changes = []
    for kind, name in {**before, **after}:
        old, new = before.get((kind, name)), after.get((kind, name))
        change: Literal["added", "removed", "version", "size"]
        if old is None or new is None:
            change = "added" if old is None else "removed"
        elif old.version != new.version:
            change = "version"
        elif old.size != new.size:
            change = "size"
        else:
            continue
        changes.append(PackageChange(kind=kind, name=name, change=change, before=old, after=new))
    return sorted(changes, key=lambda one: (-one.growth, one.name))


def _less(seconds: float | None, than: float | None) -> float | None:
    return None if seconds is None or than is None else seconds - than
