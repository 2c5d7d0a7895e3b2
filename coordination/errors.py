"""NodeError, which programs in containers show as one sentence, and reading secrets from files."""

from __future__ import annotations

from pathlib import Path


class NodeError(Exception):
    """A mistake or a failure that the user can act on: one sentence, shown without a traceback."""


def read_secret(path: Path, purpose: str) -> str:
    """Return the secret in the file without its line end; raise NodeError when there is none."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NodeError(f"{path} ({purpose}) cannot be read: {error.strerror}; mount it into this container.") from None
    if not secret:
        raise NodeError(f"{path} ({purpose}) is empty; write the secret into it.")
    return secret
