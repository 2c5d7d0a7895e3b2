"""Keeps tests/unit pure: a test there that starts a process or opens a server fails with that reason.

Nor does one depend on the machine's Docker Engine: whether one runs or not, a unit test finds none.
"""

import errno
import os
import sys
from collections.abc import Iterator

import pytest

from docker_api.address import SOCKET

FORBIDDEN = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.system", "socket.bind")
ENGINE = SOCKET.removeprefix("unix://")
_seen: list[str] | None = None  # what the test that runs now did; None outside of tests


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is not None and event in FORBIDDEN:
        _seen.append(f"{event} {arguments[1] if len(arguments) > 1 else ''}"[:200])
    if _seen is not None and event == "socket.connect" and arguments[1] == ENGINE:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), ENGINE)


def install() -> None:
    """Watches this process from now on: an audit hook cannot be removed."""
    sys.addaudithook(_watch)


@pytest.fixture(autouse=True)
def pure() -> Iterator[None]:
    """Fails the test that did what a unit test does not."""
    global _seen
    _seen = []
    yield
    seen, _seen = _seen, None
    if seen:
        pytest.fail(
            f"a unit test must not start a process or a server; move it to tests/process: {seen}", pytrace=False
        )
