"""Draws docs/imports.svg from the code: which folder imports which.

Each folder is one level above the highest folder that it imports. An arrow that follows from others is left out.

    python -m docs.tooling.import_graph
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from docs.tooling.links import ROOT

PICTURE = ROOT / "docs" / "imports.svg"
# Not part of the architecture: tests, measurements, and this.
LEFT_OUT = {"tests", "testing", "bench", "docs", "build"}

Graph = Mapping[str, Collection[str]]

_BOX_WIDTH, _BOX_HEIGHT, _GAP, _ROW, _MARGIN = 150, 40, 26, 92, 24

_STYLE = """
    .page { fill: #ffffff; }
    .box { fill: #ddf4ff; stroke: #54aeff; }
    text { fill: #1f2328; font-weight: 600; }
    .arrow { stroke: #57606a; stroke-width: 1.2; fill: none; marker-end: url(#head); }
    #head path { fill: #57606a; }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117; }
      .box { fill: #0c2d4a; stroke: #388bfd; }
      text { fill: #e6edf3; }
      .arrow { stroke: #9da7b3; }
      #head path { fill: #9da7b3; }
    }
"""


def folders() -> list[str]:
    """The platform's top folders with Python code, and the modules beside them."""
    return sorted(
        path.stem
        for path in ROOT.iterdir()
        if path.name not in LEFT_OUT
        and not path.name.startswith((".", "__"))
        and (path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py"))))
    )


def imports() -> dict[str, set[str]]:
    """The folders that each folder imports. Imports for type checks alone do not count."""
    names = folders()
    return {name: {other for file in _files(name) for other in _imported(file)} & set(names) - {name} for name in names}


def _files(name: str) -> Iterator[Path]:
    yield from (ROOT / name).rglob("*.py")
    if (module := ROOT / f"{name}.py").is_file():
        yield module


def _imported(file: Path) -> Iterator[str]:
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        waiting += ast.iter_child_nodes(node)


def levels(graph: Graph) -> dict[str, int]:
    """The level of each folder, 0 for those that import nothing. A circle is an error."""
    found: dict[str, int] = {}

    def level(name: str, path: tuple[str, ...]) -> int:
        if name in path:
            raise ValueError(f"folders import each other: {' → '.join((*path, name))}")
        if name not in found:
            found[name] = max((level(other, (*path, name)) + 1 for other in graph[name]), default=0)
        return found[name]

    for name in graph:
        level(name, ())
    return found


def essential(graph: Graph) -> dict[str, list[str]]:
    """The arrows that do not follow from others: A → C goes where there are A → B and B → … → C."""

    def reached(name: str) -> set[str]:
        return set(graph[name]).union(*(reached(other) for other in graph[name]))

    return {
        name: sorted(other for other in graph[name] if not any(other in reached(via) for via in graph[name]))
        for name in graph
    }


def picture(graph: Graph) -> str:
    """The graph as SVG, top level first."""
    level, arrows = levels(graph), essential(graph)
    rows = [sorted(name for name in graph if level[name] == row) for row in range(max(level.values()), -1, -1)]
    width = max(len(row) for row in rows) * (_BOX_WIDTH + _GAP) - _GAP + 2 * _MARGIN
    height = (len(rows) - 1) * _ROW + _BOX_HEIGHT + 2 * _MARGIN
    x, y = {}, {}
    for number, row in enumerate(rows):
        start = (width - len(row) * (_BOX_WIDTH + _GAP) + _GAP) // 2
        for place, name in enumerate(row):
            x[name], y[name] = start + place * (_BOX_WIDTH + _GAP), _MARGIN + number * _ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="system-ui, \'DejaVu Sans\', sans-serif" font-size="14">',
        "  <!-- Drawn by `python -m docs.tooling.import_graph` from the code. Do not edit. -->",
        "  <title>Which folder imports which</title>",
        f"  <style>{_STYLE}  </style>",
        '  <defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 10 5 0 10z"/></marker></defs>',
        f'  <rect class="page" width="{width}" height="{height}" rx="12"/>',
    ]
    for name in sorted(graph):
        for other in arrows[name]:
            lines.append(_arrow(x[name], y[name], x[other], y[other]))
    for name in sorted(graph):
        lines.append(
            f'  <rect class="box" x="{x[name]}" y="{y[name]}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="8"/>'
            f'<text x="{x[name] + _BOX_WIDTH // 2}" y="{y[name] + 25}" text-anchor="middle">{name}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    start, end = x + _BOX_WIDTH // 2, to_x + _BOX_WIDTH // 2
    start += max(-50, min(50, (end - start) // 6))
    end += max(-50, min(50, (start - end) // 6))
    bottom = y + _BOX_HEIGHT
    bend = (to_y - bottom) // 2
    return f'  <path class="arrow" d="M{start} {bottom} C{start} {bottom + bend} {end} {to_y - bend} {end} {to_y}"/>'


def main(path: Path = PICTURE) -> None:
    """Write the picture."""
    path.write_text(picture(imports()))


if __name__ == "__main__":
    main()
