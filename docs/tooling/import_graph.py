"""Draws docs/imports.svg from the code: which folder imports which.

Each row may import the rows below it. An arrow down that follows from others is left out. An arrow that does not go
down breaks the rules, and is always drawn, dashed.

    python -m docs.tooling.import_graph
"""

import ast
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from docs.tooling.links import ROOT

PICTURE = ROOT / "docs" / "imports.svg"
# Not part of the architecture: tests, measurements, and this.
LEFT_OUT = {"tests", "testing", "bench", "docs", "build", "examples"}

# What is not a layer to import-linter, and the folder above whose row, or beside which, it is drawn.
ABOVE, BESIDE = {"components": "program"}, {"config": "entrypoints"}


def rows() -> Iterator[tuple[str, ...]]:
    """The layers of import-linter's contract (pyproject.toml), top row first."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in rules["contracts"] if contract["type"] == "layers")
    for layer in layers:
        row = [name.strip() for name in layer.split("|")]
        yield from ((ABOVE[name],) for name in row if name in ABOVE)
        if drawn := (
            *(name for name in row if name not in LEFT_OUT),
            *(BESIDE[name] for name in row if name in BESIDE),
        ):
            yield drawn


ROWS = tuple(rows())
LEVEL = {name: -number for number, row in enumerate(ROWS) for name in row}

Graph = Mapping[str, Collection[str]]

_BOX_WIDTH, _BOX_HEIGHT, _GAP, _ROW, _MARGIN = 150, 40, 26, 92, 24

_STYLE = """
    .page { fill: #ffffff; }
    .box { fill: #ddf4ff; stroke: #54aeff; }
    text { fill: #1f2328; font-weight: 600; }
    .arrow { stroke: #57606a; stroke-width: 1.2; fill: none; marker-end: url(#head); }
    .up { stroke: #cf222e; stroke-width: 1.6; stroke-dasharray: 5 4; fill: none; marker-end: url(#head); }
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


def upward(graph: Graph) -> list[tuple[str, str]]:
    """The imports that do not go down."""
    return sorted((name, other) for name in graph for other in graph[name] if LEVEL[other] >= LEVEL[name])


def essential(graph: Graph) -> list[tuple[str, str]]:
    """The imports down that do not follow from others: A → C goes where there are A → B and B → … → C."""
    down = {name: {other for other in graph[name] if LEVEL[other] < LEVEL[name]} for name in graph}

    def reached(name: str) -> set[str]:
        return down[name].union(*(reached(other) for other in down[name]))

    return sorted(
        (name, other) for name in down for other in down[name] if not any(other in reached(via) for via in down[name])
    )


def picture(graph: Graph) -> str:
    """The graph as SVG, top level first."""
    rows = [[name for name in row if name in graph] for row in ROWS]
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
    for name, other in essential(graph):
        lines.append(_arrow(x[name], y[name], x[other], y[other]))
    for name, other in upward(graph):
        lines.append(_up(x[name], y[name], x[other], y[other]))
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


def _up(x: int, y: int, to_x: int, to_y: int) -> str:
    start, end = x + _BOX_WIDTH - 12, to_x + _BOX_WIDTH - 12
    below = to_y + _BOX_HEIGHT
    return f'  <path class="up" d="M{start} {y} C{start + 60} {y - 40} {end + 60} {below + 40} {end} {below}"/>'


def main(path: Path = PICTURE) -> None:
    """Write the picture."""
    path.write_text(picture(imports()))


if __name__ == "__main__":
    main()
