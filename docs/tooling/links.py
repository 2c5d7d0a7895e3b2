"""The relative links and the anchors of this repository's Markdown files.

Shared by the test that checks them and by the hook that makes them work on the documentation site.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

_LINK = re.compile(r"(?P<text>\]\()(?P<target>[^()\s]*)(?P<end>\))")
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+?)\s*$")
_ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)")


def pages() -> list[Path]:
    """All Markdown files that people read: those at the top and those in docs/."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def slug(title: str) -> str:
    """The anchor that a Git forge gives a heading."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def anchors(markdown: str) -> set[str]:
    """The anchors of all headings. A repeated heading gets a number."""
    found: set[str] = set()
    seen: dict[str, int] = {}
    for line in _outside_fences(markdown):
        if heading := _HEADING.match(line):
            anchor = slug(heading["title"])
            count = seen[anchor] = seen.get(anchor, -1) + 1
            found.add(f"{anchor}-{count}" if count else anchor)
    return found


def relative_links(markdown: str) -> list[str]:
    """The targets of all links that stay in the repository, such as ``images.md#build-them``."""
    found: list[str] = []

    def keep(target: str) -> str:
        found.append(target)
        return target

    rewritten(markdown, keep)
    return found


def rewritten(markdown: str, change: Callable[[str], str]) -> str:
    """The text with ``change`` applied to the target of each link that stays in the repository."""
    lines = markdown.splitlines(keepends=True)
    fenced = _fenced(lines)
    return "".join(line if inside else _line(line, change) for line, inside in zip(lines, fenced, strict=True))


def _line(line: str, change: Callable[[str], str]) -> str:
    code = [match.span() for match in _CODE.finditer(line)]

    def replaced(match: re.Match[str]) -> str:
        target = match["target"]
        if _ELSEWHERE.match(target) or any(start < match.start() < end for start, end in code):
            return match[0]
        return match["text"] + change(target) + match["end"]

    return _LINK.sub(replaced, line)


def _outside_fences(markdown: str) -> Iterator[str]:
    lines = markdown.splitlines()
    return (line for line, inside in zip(lines, _fenced(lines), strict=True) if not inside)


def _fenced(lines: list[str]) -> list[bool]:
    inside, result = False, []
    for line in lines:
        marker = line.lstrip().startswith(("```", "~~~"))
        result.append(inside or marker)
        inside ^= marker
    return result
