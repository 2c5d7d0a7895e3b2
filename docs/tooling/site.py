"""MkDocs hook: makes links that leave docs/ work on the site.

The pages are written for a Git forge, where they link to the README and to source files. The site holds what they link
to: Markdown files of the repository's top folder as pages, other files as they are, below ``source/``.
"""

import posixpath
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # MkDocs loads this file by its path

from docs.tooling.links import ROOT, pages, relative_links, rewritten

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

NAMES_ON_THE_SITE = {"README.md": "overview.md", "SECURITY.md": "security-policy.md"}  # docs/ has pages of these names


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add every file that a page links to and that is outside of docs/."""
    from mkdocs.structure.files import File

    linked = {_target(page.relative_to(ROOT), link) for page in pages() for link in relative_links(page.read_text())}
    for path in sorted(linked | {page.relative_to(ROOT) for page in pages()}):
        if path.parts[0] != "docs" and (ROOT / path).is_file():
            files.append(File.generated(config, _place(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: "Page", **_context: object) -> str:
    """Point the page's links at the places of their targets on the site."""
    source = Path(page.file.abs_src_path or "").relative_to(ROOT)

    def change(link: str) -> str:
        path, mark, anchor = link.partition("#")
        place = _place(_target(source, path)) if path else ""
        return (posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".") if place else "") + mark + anchor

    return rewritten(markdown, change)


def _target(source: Path, link: str) -> Path:
    path = Path(posixpath.normpath((source.parent / link.partition("#")[0]).as_posix() if link[:1] != "#" else source))
    return path / "README.md" if (ROOT / path / "README.md").is_file() and path != Path() else path


def _place(path: Path) -> str:
    """Where a file of the repository is on the site."""
    if path.parts[0] == "docs":
        return path.relative_to("docs").as_posix()
    if path.suffix == ".md" and len(path.parts) == 1:
        return NAMES_ON_THE_SITE.get(path.name, path.name.lower())
    return "source/" + "/".join(part.lstrip(".") for part in path.parts)  # MkDocs leaves hidden files out
