"""Why a service is not up: a reason for programs, and a clause for people."""

import errno
import os

import aiohttp
import psycopg
import redis.exceptions

from contracts.health import WatchedService
from contracts.status import Reason, State

LONGEST_MESSAGE = 300  # characters


class FailureError(Exception):
    """A service does not work; the message is a clause for people."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def state(self) -> State:
        """The state of a service that fails so."""
        return State.STARTING if self.reason is Reason.STARTING else State.DOWN


def failure_of(error: Exception, service: WatchedService) -> FailureError:
    """Translate an exception of a probe; libraries describe the same refused connection in many ways."""
    if isinstance(error, FailureError):
        return error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return _of_connection(cause, f"{service.host}:{service.port}")
        cause = cause.__cause__ or cause.__context__
    return FailureError(_reason(error), in_one_line(error))


def in_one_line(error: Exception) -> str:
    """Return the first line of an error's text, or else its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:LONGEST_MESSAGE]


def _of_connection(error: OSError, address: str) -> FailureError:
    if error.errno is not None and error.errno < 0:  # getaddrinfo's numbers
        return FailureError(Reason.NAME_UNKNOWN, f"{address}: {error.strerror}")
    reason = Reason.TIMEOUT if error.errno == errno.ETIMEDOUT else Reason.UNREACHABLE
    return FailureError(reason, f"{address}: {os.strerror(error.errno or 0)}")


def _reason(error: Exception) -> Reason:
    """The reason of an error that does not come from the operating system."""
    if isinstance(error, redis.exceptions.AuthenticationError | redis.exceptions.NoPermissionError):
        return Reason.ACCESS_DENIED
    if isinstance(error, aiohttp.ServerDisconnectedError | redis.exceptions.ConnectionError):
        return Reason.UNREACHABLE
    if isinstance(error, aiohttp.ClientError | psycopg.Error | redis.exceptions.RedisError | UnicodeError):
        return Reason.WRONG_ANSWER
    return Reason.FAILED
