"""Stack files as they may be kept: without secrets. Encrypted values stay; those in plain text are taken out."""

from collections.abc import Iterator
from typing import Any

from config.keys import ENV_SECRETS, SECRET_TEXTS
from config.project import NAME
from config.stack_file import StackFile
from config.yaml_file import dump_yaml

MASK = "[secret]"
SECRET_KEYS = frozenset({*SECRET_TEXTS, ENV_SECRETS})


def masked(file: StackFile) -> tuple[str, tuple[str, ...]]:
    """The file's text without plain secrets, and the keys as they are written whose values were taken out.

    The text is the file's own if it has none; otherwise it loses its comments, which may repeat them. What other
    programs' keys hold, such as a registry's password, is not known here: it counts as secret.
    """
    config = file.content.get("config") or {}
    secret = tuple(_plain_secrets(config)) if isinstance(config, dict) else ()
    if not secret:
        return file.text, ()
    content = {**file.content, "config": {key: MASK if key in secret else value for key, value in config.items()}}
    return dump_yaml(content, allow_unicode=True), secret


def _plain_secrets(config: dict[Any, Any]) -> Iterator[str]:
    for key, value in config.items():
        full = str(key) if ":" in str(key) else f"{NAME}:{key}"
        if (full in SECRET_KEYS or not full.startswith(f"{NAME}:")) and not encrypted_throughout(value):
            yield key


def encrypted_throughout(value: object) -> bool:
    """Whether nothing in a value is in plain text."""
    if isinstance(value, dict):
        return list(value) == ["secure"] or all(map(encrypted_throughout, value.values()))
    return isinstance(value, list) and all(map(encrypted_throughout, value))


def comparable(content: Any) -> Any:  # noqa: ANN401 - what YAML holds
    """The content of a stack file to be compared and shown: of an encrypted value only that it is another one."""
    if isinstance(content, dict):
        if list(content) == ["secure"]:
            return f"{MASK} {str(content['secure'])[-8:]}"
        return {str(key): comparable(value) for key, value in content.items()}
    return [comparable(item) for item in content] if isinstance(content, list) else content
