"""What the page is made of besides its HTML, all from this service: style, scripts, and uPlot from a package of PyPI.

The style stands in the page, so that the first paint waits for no other file; the policy allows it by its hash.
"""

import gzip
import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

FOLDER = Path(__file__).with_suffix("")
# A package that carries uPlot's files as its authors built them (docs/decisions/0037-home-page.md).
UPLOT_PACKAGE, UPLOT_FOLDER = "metaflow-card-uplot", "metaflow_extensions/card_uplot/plugins/cards/uplot/uplot"
STYLE = (FOLDER / "page.css").read_text(encoding="utf-8")
STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# For the header Content-Security-Policy of a page with this style.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' 'sha256-{STYLE_HASH}'",
        "img-src data:",
        "connect-src 'self'",
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
    )
)
TYPES = {".css": "text/css", ".js": "text/javascript"}


@dataclass(frozen=True)
class Asset:
    """A file by its name, as it is sent."""

    name: str
    content: bytes

    @property
    def content_type(self) -> str:
        """For browsers."""
        return TYPES[Path(self.name).suffix]

    @cached_property
    def compressed(self) -> bytes:
        """Its content by gzip."""
        return gzip.compress(self.content, mtime=0)

    @cached_property
    def version(self) -> str:
        """Another for another content."""
        return hashlib.sha256(self.content).hexdigest()[:12]

    @property
    def address(self) -> str:
        """Relative to the page's; another content has another address, so browsers may keep the file."""
        return f"assets/{self.name}?{self.version}"


def assets() -> Mapping[str, Asset]:
    """All files that the page loads, by name.

    Raises PackageNotFoundError or OSError where uPlot's package is not installed.
    """
    own = [own_asset(path.name) for path in sorted(FOLDER.glob("*.js"))]
    package = distribution(UPLOT_PACKAGE)
    uplot = [Path(str(package.locate_file(f"{UPLOT_FOLDER}/uPlot.{end}"))) for end in ("iife.min.js", "min.css")]
    return {one.name: one for one in (*own, *(Asset(path.name, path.read_bytes()) for path in uplot))}


def own_asset(name: str) -> Asset:
    """A file of ours."""
    return Asset(name, (FOLDER / name).read_bytes())
