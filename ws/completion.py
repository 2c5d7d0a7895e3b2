"""Shell completion: looks up names when they are needed."""

import typer

from config.project import FOLDER


def stacks(incomplete: str) -> list[str]:
    """The names of all stacks with a stack file."""
    names = (path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in FOLDER.glob("Pulumi.*.yaml"))
    return sorted(name for name in names if name.startswith(incomplete))


def services(incomplete: str) -> list[str]:
    """The services of a host."""
    from config.services import SERVICES

    return [name for name in SERVICES if name.startswith(incomplete)]


def keys(incomplete: str) -> list[str]:
    """The keys of a stack file."""
    from config.explain import keys as below
    from config.platform import PlatformSettings
    from config.problems import dotted
    from ws.config.keys import OWN_KEYS

    found = [*OWN_KEYS, *map(dotted, below(PlatformSettings))]
    return sorted(key for key in found if key.startswith(incomplete))


def history(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The numbers of a stack's history, with what they are."""
    from config.project import NAME
    from stack.history import History
    from stack.identity import StackIdentity

    identity = StackIdentity(project=NAME, stack=context.params.get("stack") or "dev")
    found = [(str(one.number), f"{one.operation}, {one.outcome}") for one in History(identity).records()]
    return [(number, text) for number, text in found if number.startswith(incomplete)]
