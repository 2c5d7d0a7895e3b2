"""Shell completion: looks up names when they are needed."""

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
