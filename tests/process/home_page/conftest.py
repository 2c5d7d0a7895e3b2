"""The health service, a stand-in of what it asks, and a browser that looks at its page."""

import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from contracts.document import SETTINGS_VARIABLE
from testing.browser import DESK, PATIENCE, started
from testing.harness import PROJECT
from testing.servers import free_port, server_process
from tests.process.home_page.recorded import StandIn, settings_of


@pytest.fixture
def world() -> Iterator[StandIn]:
    """What the service asks."""
    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def origin(world: StandIn, tmp_path: Path) -> Iterator[str]:
    """The health service with everything enabled."""
    port = free_port()
    settings = {**settings_of(world, tmp_path), "port": port}
    environment = {**os.environ, SETTINGS_VARIABLE: json.dumps(settings)}
    command = [sys.executable, "-m", "entrypoints.health.server"]
    with server_process(command, port, cwd=PROJECT, env=environment):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, from a package that carries it."""
    package = distribution("axe-playwright-python")
    return Path(str(package.locate_file("axe_playwright_python/axe.min.js"))).read_text()


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """One for each module, since it occupies the thread's event loop."""
    with started(chromium) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    """The page. Fails the test where it throws, breaks its policy, or asks any other server."""
    context = browser.new_context(viewport=DESK, base_url=origin)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda request: None if request.url.startswith((origin, "data:")) else wrong.append(request.url))
    page.goto("/")
    yield page
    context.close()
    assert not wrong
