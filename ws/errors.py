"""Errors that end a command with one clear message instead of a traceback."""

from coordination.printable import printable


class WsError(Exception):
    """A command cannot do its work; the message says why and what to do."""


SERVER_ERROR = 500  # and above: HTTP status of an answer
REFUSALS = {404: "did not find it", 409: "refused because of a conflict"}
# Full names, so that showing an error of one part imports no other part.
KNOWN = frozenset(
    {
        "build_report.records.ReportError",
        "config.problems.SettingsError",
        "stack.secrets.SecretError",
        "config.problems.ConfigError",
        "embedded_engine.deployment.UnknownTypeError",
        "docker_api.api.DockerError",
        "docker_api.registry.errors.RegistryError",
        "images.budgets.BudgetError",
        "images.dockerfile_syntax.DockerfileError",
        "coordination.errors.NodeError",
        "embedded_engine.lock.LockedError",
        "embedded_engine.changes.ProgramError",
        "ws.errors.WsError",
    }
)


def message(error: BaseException) -> str | None:
    """The message to show; None for a defect of this program."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if kinds & KNOWN:
        return str(error)
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:  # an argument of other bytes
        return f"{printable(error.object[:60])}: is not text in UTF-8."
    if "docker.errors.APIError" in kinds:
        return _refusal(error)
    if {"docker.errors.DockerException", "requests.exceptions.RequestException"} & kinds:
        return f"Docker does not answer: {error}\n  Run `ws doctor`."
    if isinstance(error, OSError) and error.strerror:
        # A full or read-only disk, a file where a folder should be, or no right to write there.
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return None


def _refusal(error: BaseException) -> str:
    """Docker's answer to a call that it refused."""
    status: int = getattr(error, "status_code", None) or 0
    said = str(getattr(error, "explanation", None) or error).strip()
    if status >= SERVER_ERROR:
        return f"Docker failed: {said}\n  Run `ws doctor`."
    return f"Docker {REFUSALS.get(status, 'refused the request')}: {said}"
