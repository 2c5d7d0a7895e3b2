"""The programs that run inside images, and the checks in each.

Read from the source, because they can be imported only where their subject is. The folder of a program is the layer
that it needs; an image runs the programs of all its layers, and thereby those of the images that it is built on.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.images.inside.run_checks import DEVICES, PREFIX

INSIDE = Path(__file__).parent / "inside"
STRANGER = "4242:4242"  # a user that no image knows: what works for it works for everybody
SECONDS = 90


@dataclass(frozen=True, kw_only=True)
class Program:
    """One file below inside/."""

    layer: str
    path: Path
    user: str  # as Docker takes it; empty: the image's own
    seconds: int  # within which it must end
    checks: tuple[str, ...]

    @property
    def name(self) -> str:
        """For example ``torch/operations``."""
        return f"{self.layer}/{self.path.stem}"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of a program. Its result is one test."""

    program: Program
    name: str

    def __str__(self) -> str:
        return f"{self.program.name}.{self.name}"


def read_program(path: Path) -> Program:
    """Return what a program's source says of it: its checks, and where it differs from the rule, USER and SECONDS."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith(PREFIX)]
    constants = {
        target.id: node.value.value
        for node in body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets if isinstance(target, ast.Name)
    }  # fmt: skip
    return Program(
        layer=path.parent.name,
        path=path.relative_to(INSIDE),
        user=str(constants.get("USER", STRANGER)),
        seconds=int(str(constants.get("SECONDS", SECONDS))),
        checks=tuple(name for function in functions for name in _names(function)),
    )


def _names(function: ast.FunctionDef) -> Iterator[str]:
    name = function.name.removeprefix(PREFIX)
    if any(argument.arg == "device" for argument in function.args.args):
        yield from (f"{name}-{device}" for device in DEVICES)
    else:
        yield name


PROGRAMS = tuple(read_program(path) for path in sorted(INSIDE.glob("*/*.py")))


def checks_for(layers: tuple[str, ...]) -> Iterator[Check]:
    """The checks that hold for what has these layers, in the layers' order."""
    for program in sorted((p for p in PROGRAMS if p.layer in layers), key=lambda p: layers.index(p.layer)):
        yield from (Check(program=program, name=name) for name in program.checks)
