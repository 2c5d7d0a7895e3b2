"""Parses the arguments of `ws packages add`, by the same rules as the stack file."""

from pydantic import BaseModel, ValidationError

from config.builds import ImagesSettings
from config.explain import explain
from config.problems import Problem, Set
from ws.errors import WsError
from ws.packages.packages import Wanted


def checked(packages: list[str], apt: list[str]) -> Wanted:
    """The packages, as the stack file would take them. Raises WsError."""
    model: type[BaseModel] = ImagesSettings
    try:
        found = ImagesSettings.model_validate({"packages": packages, "apt": apt})
    except ValidationError as error:
        raise WsError("\n".join(map(_in_words, explain(error, model)))) from None
    return Wanted(packages=found.packages, apt=found.apt)


def _in_words(problem: Problem) -> str:
    examples = [str(command.value) for command in problem.commands if isinstance(command, Set)]
    return f"{problem.reason}.\n  {problem.advice} {', '.join(examples)}".rstrip()
