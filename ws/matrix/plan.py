"""The plan of `ws matrix`: the images that stack file and options select, and their expected size and time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from components.image_family import ImageFamilyArgs, family_args, planned_tags
from config.matrix import KEY
from config.problems import Problem, Remove, Set, SettingsError
from images.family import BuildTarget
from preflight.build_host import SPARE, BuildHost, room
from preflight.disk import GB, estimate, layer_budgets
from ws.deploy import Session
from ws.display import GAP, widths
from ws.errors import WsError
from ws.tables import plain_table

# What `--all` says of the family, whatever the stack file says.
WHOLE: Mapping[str, Any] = {
    "cuda": ["*"],
    "python": ["*"],
    "targets": ["*"],
    "phases": [1, 2, 3, 4],
    "minimal": False,
    "without": [],
}


PRESENT = "yes"  # said of an image that is on this host
# Key of the stack file → the option that says the same for one run.
OPTIONS = {
    "cuda": "--cuda",
    "python": "--python",
    "targets": "--target",
    "services": "--service",
    "phases": "--phase",
    "platforms": "--platform",
    "registry": "--registry",
    "minimal": "--minimal",
    "push": "--push",
    "signing_key": "--signing-key",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The images to build."""

    args: ImageFamilyArgs
    tags: Sequence[tuple[BuildTarget, str]]
    host: BuildHost

    def without(self, names: Sequence[str]) -> dict[str, object]:
        """The config of a run that leaves these images out."""
        settings = self.args.settings
        return {KEY: {**settings.model_dump(mode="json"), "without": [*settings.without, *names]}}


def plan(session: Session, options: Mapping[str, Any]) -> Plan:
    """Selects images by the stack file and the `options`: keys of ``cslr:matrix`` for this run.

    Raises:
        SettingsError: the stack file selects nothing.
        WsError: the options do, or there is nothing to select from.
    """
    file, value = session.stack.file.name, session.stack.matrix
    if value is None:
        raise WsError(
            f"{file}: has no {KEY}, so there is nothing to select from.\n"
            "  Choose a stack that builds images: ws matrix --stack matrix"
        )
    laid_over = {**value, **options} if isinstance(value, dict) else value
    try:
        args = family_args(laid_over, stack_file=file, python="python", choose=session.sources)
    except SettingsError as error:
        if not any(problem.path[0] in options for problem in error.problems if problem.path):
            raise
        texts = [_in_options(problem, options) or problem.text(file, KEY) for problem in error.problems]
        raise WsError("\n".join(texts)) from None
    return Plan(args=args, tags=planned_tags(args), host=BuildHost.probe())


def refuse(problem: Problem | None, session: Session, options: Mapping[str, Any]) -> None:
    """Passes if there is no problem. Raises `WsError` in words of the options, `SettingsError` in those of the file."""
    if problem is None:
        return
    if text := _in_options(problem, options):
        raise WsError(text)
    raise SettingsError([problem], session.stack.file.name, KEY)


def selected(named: Mapping[str, Any], services: Sequence[str], *, whole: bool = False) -> dict[str, Any]:
    """The keys that options say: those `named` of the family, or the `whole` of it, and `services`.

    Who names images of one kind wants none of the other, whatever the stack file says.
    """
    family = {key: value for key, value in named.items() if value}
    if whole:
        return {**WHOLE, **family, "services": list(services)}
    if services and not family.keys() & {"targets", "phases"}:
        family["targets"] = []  # a CUDA or a Python says which images of services
    return {**family, "services": list(services)} if family else {}


def _in_options(problem: Problem, options: Mapping[str, Any]) -> str | None:
    """A problem in words of the options; None for one of the stack file."""
    key = str(problem.path[0]) if problem.path else ""
    if key not in options:
        return None
    lines = [f"ws matrix {OPTIONS[key]}: {problem.reason}."]
    lines += [f"  {line}" for line in problem.advice.splitlines()]
    lines += [f"    {line}" for line in _remedies(problem)]
    return "\n".join(lines)


def _remedies(problem: Problem) -> Iterator[str]:
    """The options that change what the problem's commands change in the stack file."""
    for command in problem.changes:
        if isinstance(command, str):
            yield command
            continue
        option = OPTIONS.get(str(command.path[0])) if isinstance(command, Set | Remove) else None
        value = command.value if isinstance(command, Set) else None
        if option and isinstance(value, str | list | tuple):
            yield " ".join(f"{option} {one}" for one in ([value] if isinstance(value, str) else value))
        elif option and problem.advice.endswith(":"):
            yield f"leave {option} out"


def table(planned: Plan, width: int) -> Table:
    """The images, what each is built on, and what it adds. On a narrow terminal without what follows from the name."""
    columns: tuple[str, ...] = ("Image", "CUDA", "Python", "Platform", "Built on", "Tag", "Here")
    lines: list[tuple[str, ...]] = list(_lines(planned))
    if sum(widths([columns, *lines])) - GAP > width:
        columns = ("Image", "Built on", "Here")
        lines = [(wanted.name, line[4], line[-1]) for (wanted, _), line in zip(planned.tags, lines, strict=True)]
    shown = plain_table(columns, right=("Here",))
    for *line, here in lines:
        shown.add_row(*line, Text(here, style="green" if here == PRESENT else "yellow"))
    return shown


def _lines(planned: Plan) -> Iterator[tuple[str, ...]]:
    there = [wanted for wanted, tag in planned.tags if tag in planned.host.tags]
    budgets = layer_budgets()
    for wanted, tag in planned.tags:
        adds = estimate([wanted], there, budgets)
        there.append(wanted)
        image, variant = wanted.image, wanted.variant
        cuda, python = (variant.cuda, variant.python) if wanted.variant_key else ("-", "-")
        here = PRESENT if tag in planned.host.tags else f"+ {adds / GB:.1f} GB"
        yield image.name, cuda, python, wanted.platform, image.parent or "base", tag, here


def in_words(planned: Plan) -> str:
    """A summary of the plan."""
    missing, needed = room(planned.tags, planned.host)
    number = len(planned.tags)
    if not missing:
        return "The image is here" if number == 1 else f"All {number} images are here"
    free = (
        f"; {planned.host.free / GB:.0f} GB are free, of which {SPARE / GB:.0f} GB must stay"
        if planned.host.free
        else ""
    )
    verb = "image is" if number == 1 else "images are"
    return f"{missing} of {number} {verb} to be built, about {needed / GB:.1f} GB{free}"
