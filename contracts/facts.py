"""Facts that commands on the host learn, and that the health service shows as series: one JSON document for each.

A site's own programs may write `backup.json` and `certificates.json` too (docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERIFICATION, BUILDS, BASES = "verification", "builds", "bases"
BACKUP, CERTIFICATES = "backup", "certificates"


@dataclass(frozen=True, kw_only=True)
class VerificationFact:
    """The last verification of a stack."""

    time: float  # when it ended, in seconds since the epoch
    passed: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class BuildFact:
    """The last build of an image."""

    time: float
    succeeded: bool


@dataclass(frozen=True, kw_only=True)
class Builds:
    """The last build of each image of this host's user."""

    images: Mapping[str, BuildFact]


@dataclass(frozen=True, kw_only=True)
class Times:
    """When something happened or will: name → seconds since the epoch.

    Of `bases`, when a base image was made; of `backup`, when one last succeeded; of `certificates`, when one expires.
    """

    times: Mapping[str, float]
