"""How old the base images of this host are, and when they were renewed last.

The day of the last renewal is part of every base's tag. It is kept beside the stacks' state, for all stacks of the
user, so that they go on sharing images.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from config.project import state_root
from docker_api.api import DockerApi, Json
from images.base.recipe import PLATFORMS, SUITES, Source, base_tag
from images.layers import BASE_DATE
from stack.state import write_atomically

FILE = "base-edition"
OLD_DAYS = 30
DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, kw_only=True)
class BaseAge:
    """One base image on this host."""

    tag: str
    made: date

    def days(self, today: date) -> int:
        """Its age."""
        return max(0, (today - self.made).days)


def edition() -> str:
    """The day on which bases were renewed last; empty where they never were."""
    try:
        text = (state_root() / FILE).read_text().strip()
    except OSError:
        return ""
    return text if DAY.fullmatch(text) else ""


def renew(today: date) -> bool:
    """From now on all bases are of today. Returns whether they were not before."""
    if edition() == today.isoformat():
        return False
    write_atomically(state_root() / FILE, f"{today.isoformat()}\n".encode(), 0o600)
    return True


def ages(api: DockerApi, source: Source, mirror: str | None) -> Iterator[BaseAge]:
    """The bases of this recipe that are on this host."""
    for suite in SUITES:
        for platform in PLATFORMS:
            tag = base_tag(suite, source, mirror, platform, edition())
            if found := api.find(f"/images/{tag}/json"):
                yield BaseAge(tag=tag, made=made(found))


def made(found: Json) -> date:
    """The day of a base by its label, or else as Docker has it."""
    labels = (found.get("Config") or {}).get("Labels") or {}
    day = labels.get(BASE_DATE, "")
    return date.fromisoformat(day) if DAY.fullmatch(day) else datetime.fromisoformat(found["Created"]).date()


def warning(found: BaseAge, today: date) -> str:
    """What to say of a base; nothing while it is young."""
    days = found.days(today)
    if days <= OLD_DAYS:
        return ""
    return (
        f"The base image {found.tag} is {days} days old, and so are its security updates. "
        "`ws matrix --refresh-bases --no-build` renews all bases; the next `ws up` of each stack rebuilds its images"
    )
