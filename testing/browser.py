"""Debian's Chromium, for tests that look at pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

DESK = {"width": 1280, "height": 800}
PATIENCE = 20_000  # milliseconds, on a busy machine


@contextmanager
def started(chromium: Path) -> Iterator[Browser]:
    """A browser; while it is there, this thread runs an event loop, and can run no other."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        # Its sandbox wants a user that is not root, and a kernel that lets it make namespaces.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
