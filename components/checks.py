"""What the keys of a stack config demand of each other. Nothing here looks at the host (that is ``host.py``)."""

from components.problems import Problem


def run(settings: object) -> list[Problem]:
    return []
