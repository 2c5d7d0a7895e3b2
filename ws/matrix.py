"""What `ws matrix` is going to build: the images that stack file and options select, and what they will take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from components.build_host import SPARE, BuildHost, room
from components.estimate import GB, estimate, layer_budgets
from components.image_family import ImageFamilyArgs, family_args, planned_tags
from components.matrix_settings import KEY
from components.selection import Wanted
from components.stack_file import stack_file
from ws.deploy import Session
from ws.errors import WsError
from ws.project import FOLDER
from ws.stack_settings import matrix_of

# What `--all` says, whatever the stack file says.
WHOLE: Mapping[str, Any] = {
    "cuda": ["*"],
    "python": ["*"],
    "targets": ["*"],
    "phases": [1, 2, 3, 4],
    "minimal": False,
    "without": [],
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be built."""

    args: ImageFamilyArgs
    tags: Sequence[tuple[Wanted, str]]
    host: BuildHost

    def without(self, names: Sequence[str]) -> dict[str, object]:
        """The config of a run that leaves these images out."""
        settings = self.args.settings
        return {KEY: {**settings.model_dump(mode="json"), "without": [*settings.without, *names]}}


def plan(session: Session, options: Mapping[str, Any]) -> Plan:
    """What the stack file selects, and the `options`: keys of ``cslr:matrix`` for this run. Raises `SettingsError`."""
    file = stack_file(FOLDER, session.identity.stack).name
    value = matrix_of(session.identity.stack)
    if value is None:
        raise WsError(
            f"{file}: has no {KEY}, so there is nothing to select from.\n"
            "  Choose a stack that builds images: ws matrix --stack matrix"
        )
    args = family_args(
        {**value, **options} if isinstance(value, dict) else value,
        stack_file=file,
        python="python",
        choose=session.sources,
    )
    return Plan(args=args, tags=planned_tags(args), host=BuildHost.probe())


def table(planned: Plan) -> Table:
    """The images, what each is built on, and what it adds."""
    shown = Table(box=None, pad_edge=False)
    for column in ("Image", "CUDA", "Python", "Platform", "Built on", "Tag"):
        shown.add_column(column, overflow="fold")
    shown.add_column("Here", justify="right")
    there = [wanted for wanted, tag in planned.tags if tag in planned.host.tags]
    budgets = layer_budgets()
    for wanted, tag in planned.tags:
        here = tag in planned.host.tags
        adds = estimate([wanted], there, budgets)
        there.append(wanted)
        state = Text("yes", style="green") if here else Text(f"+ {adds / GB:.1f} GB", style="yellow")
        variant = wanted.variant
        row = (wanted.image.name, variant.cuda, variant.python, wanted.platform, wanted.image.parent or "base", tag)
        shown.add_row(*row, state)
    return shown


def in_words(planned: Plan) -> str:
    """How much there is to do."""
    missing, needed = room(planned.tags, planned.host)
    if not missing:
        return f"All {len(planned.tags)} images are here"
    free = (
        f"; {planned.host.free / GB:.0f} GB are free, of which {SPARE / GB:.0f} GB must stay"
        if planned.host.free
        else ""
    )
    return f"{missing} of {len(planned.tags)} images are to be built, about {needed / GB:.1f} GB{free}"
