"""Resolves keys that people write after `ws set`: to a key of stack config, and whether it is a secret."""

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from config.explain import submodel
from config.keys import ENV_SECRETS, KNOWN, SECRET_TEXTS
from config.platform import PlatformSettings
from config.problems import Path, dotted
from config.project import NAME
from config.remedies import PLATFORM, short_key
from ws.errors import WsError

STEP = re.compile(r'\.?([A-Za-z_][\w-]*)|\[(\d{1,6})\]|\[("(?:[^"\\]|\\.)*")\]')
OWN_KEYS = tuple(key.removeprefix(f"{NAME}:") for key in KNOWN)


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key: the one of the stack's config that holds it (``cslr:platform``), and the path below that."""

    full: str
    below: Path = ()

    @classmethod
    def parse(cls, text: str) -> "Key":
        """Parses a key: ``redis.port``, ``cslr:platform.redis.port``, ``rayToken``, ``docker:host``.

        Raises:
            WsError: the text names no key.
        """
        namespace, colon, rest = text.rpartition(":") if re.match(r"[\w-]+:", text) else ("", "", text)
        steps = _steps(rest)
        if not steps or isinstance(steps[0], int):
            raise WsError(f"{text[:80]!r} is not a key: write, for example, redis.port or 'marimo.volumes[0].source'.")
        if colon and namespace != NAME:
            return cls(full=f"{namespace}:{steps[0]}", below=tuple(steps[1:]))
        if colon or steps[0] in OWN_KEYS:
            return cls(full=f"{NAME}:{steps[0]}", below=tuple(steps[1:]))
        return cls(full=PLATFORM, below=tuple(steps))

    @property
    def shown(self) -> str:
        """The key as errors show it: ``cslr:platform.redis.port``."""
        return dotted(self.below, self.full)

    @property
    def short(self) -> str:
        """The key as `ws set` takes it."""
        return short_key(self.shown)

    @property
    def is_secret(self) -> bool:
        """Whether the value is a secret."""
        secret = self.full in SECRET_TEXTS
        return secret or (self.full == ENV_SECRETS and len(self.below) == 1)

    @property
    def default(self) -> Any:  # noqa: ANN401 - whatever the key holds
        """The default of a platform key; None if there is none, or no such key."""
        value: object = PlatformSettings() if self.full == PLATFORM else None
        for step in self.below:
            # Fields alone: it has methods as well.
            known = type(value).model_fields if isinstance(value, BaseModel) else {}
            value = getattr(value, step) if isinstance(step, str) and step in known else None
        return value

    @property
    def is_text(self) -> bool:
        """Whether its default is text, so that a value that looks like a number is text too."""
        return isinstance(self.default, str)

    @property
    def is_group(self) -> bool:
        """Whether it is a platform key that only holds others, such as ``redis``."""
        model: type[BaseModel] | None = PlatformSettings if self.full == PLATFORM else None
        for step in self.below:
            field = model.model_fields.get(step) if model and isinstance(step, str) else None
            model = submodel(field.annotation) if field and isinstance(field.default, BaseModel) else None
        return model is not None


def _steps(text: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        match = STEP.match(text, at)
        if match is None:
            return []
        name, index, quoted = match.groups()
        try:
            steps.append(name if name is not None else int(index) if index is not None else str(json.loads(quoted)))
        except ValueError:  # no text of JSON: a backslash before anything
            return []
        at = match.end()
    return steps
