"""What a caller is told when something cannot be done: an HTTP status and OpenAI's shape of an error."""

from __future__ import annotations

from typing import Any


class RefusedError(Exception):
    """A request cannot be carried out. The message is a sentence for people."""

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """As JSON."""
        return error_body(self.status, self.code, str(self), self.param)


class CancelledError(Exception):
    """The caller no longer wants the result."""


def error_body(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's shape."""
    kinds = {401: "authentication_error", 403: "permission_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def not_kept(error: OSError) -> RefusedError:
    """Return the refusal of what cannot be written, such as on a full disk."""
    return RefusedError(507, "not_kept", f"It cannot be kept: {error.strerror or error}.")


def not_found(path: str) -> RefusedError:
    """Return the refusal of a path that leads to nothing that may be seen."""
    return RefusedError(404, "not_found", f"There is no file or folder {path!r}.", param="path")
