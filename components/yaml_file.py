"""YAML as people may write it in files of config: without a key that silently replaces an earlier one."""

from pathlib import Path
from typing import Any

import yaml


class InvalidYamlError(Exception):
    """A file's text is no YAML that can be taken as it stands; says why and where, without the file's name."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Before merge keys (<<) are resolved, which an own key may well replace.
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                twice = f"the key {key.value[:60]!r} is there twice"
                raise yaml.constructor.ConstructorError(problem=twice, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> Any:  # noqa: ANN401
    """The content of a file.

    Raises:
        InvalidYamlError: it is not valid, or has a key twice.
        OSError: it cannot be read.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except RecursionError as error:
        raise InvalidYamlError("it is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, a date in month 13
        raise InvalidYamlError(" ".join(str(error).replace('"<unicode string>", ', "").split())) from error
