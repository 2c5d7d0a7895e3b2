"""Names base images by their recipe: the same recipe at the same site gives the same tag.

Reads only this folder and the host's certificates; needs neither Docker nor root.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

Suite = Literal["trixie", "forky"]
Source = Literal["registry", "bootstrap"]
SUITES: tuple[Suite, ...] = get_args(Suite)
SOURCES: tuple[Source, ...] = get_args(Source)
Platform = Literal["linux/amd64", "linux/arm64"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)
# The platform that lock files are made for. Builds always name it: the default would be that of the build host.
PLATFORM: Platform = "linux/amd64"

REPOSITORY = "cslr/base"
# The public keys of Debian's releases; of the package debian-archive-keyring, on every distribution that has it.
DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FOLDER = Path(__file__).parent
RECIPE_FILES = ("Dockerfile", "bootstrap.py", "rootfs/**/*")

BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))
DISTRIBUTED = (Path("/usr/share/ca-certificates"),)
ANCHORS = (  # where Debian, Fedora and SUSE keep the site's own authorities
    Path("/usr/local/share/ca-certificates"),
    Path("/etc/pki/ca-trust/source/anchors"),
    Path("/etc/pki/trust/anchors"),
)
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)


def base_tag(
    suite: Suite, source: Source, mirror: str | None = None, platform: Platform = PLATFORM, edition: str = ""
) -> str:
    """Name the base image of ``suite``: ``cslr/base:<suite>-<12 hex digits>``, ``…-arm64`` for another processor.

    The digits cover the recipe's files, the source, the Debian mirror, the site's certificate authorities and the
    edition, so that a change of any of them is a new image and everything built on it follows. The edition is the day
    on which bases were last renewed; empty where they never were.
    """
    digest = hashlib.sha256()
    certificates = (text for _, text in sorted(site_certificates().items()))
    for part in (suite, source, mirror or "", *certificates, *filter(None, [edition])):
        digest.update(part.encode() + b"\0")
    for path in recipe_files():
        digest.update(str(path.relative_to(FOLDER)).encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{REPOSITORY}:{suite}-{digest.hexdigest()[:12]}{platform_suffix(platform)}"


def platform_suffix(platform: Platform, *, always: bool = False) -> str:
    """End the tag of an image for one platform: with nothing for the usual one, unless ``always``."""
    return f"-{architecture(platform)}" if always or platform != PLATFORM else ""


def architecture(platform: Platform) -> str:
    """Name the processor as Docker, Go and Debian do: ``amd64``, ``arm64``."""
    return platform.partition("/")[2]


def recipe_files() -> list[Path]:
    """List the files of this folder that decide what a base image holds, sorted."""
    found = (path for pattern in RECIPE_FILES for path in FOLDER.glob(pattern))
    return sorted(path for path in found if path.is_file())


def site_certificates() -> dict[str, str]:
    """Return the authorities that this host trusts beyond its distribution's own list: file name → PEM text.

    These are the anchors that an administrator installed, and on Debian also whatever else was put into the bundle.
    The distribution's list itself is left out: the image has its own, and an older host must not bring back
    authorities that were dropped since.
    """
    site = set(_certificates(ANCHORS))
    distributed = set(_certificates(DISTRIBUTED))
    if distributed:
        site |= set(_certificates(BUNDLES)) - distributed
    return {f"site-{hashlib.sha256(text.encode()).hexdigest()[:12]}.crt": text for text in site}


def _certificates(places: tuple[Path, ...]) -> Iterator[str]:
    """Yield every PEM certificate in these files and folders, in one spelling."""
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file():
                for found in CERTIFICATE.findall(path.read_text(encoding="utf-8", errors="ignore")):
                    yield "\n".join(line.strip() for line in found.splitlines()) + "\n"
