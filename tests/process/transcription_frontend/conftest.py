"""The built page, the stand-in of the service, and a browser that looks at it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from images.catalog import CATALOG
from testing.browser import DESK, PATIENCE, started
from testing.harness import PROJECT
from tests.process.transcription_frontend.recorded import MEDIUM, TOKEN, Running, Service

FOLDER = CATALOG["transcription-frontend"].folder
WORKSHOP = PROJECT / "build" / "transcription-frontend"  # kept from run to run, unknown to Git
MODULES = "node_modules"


@pytest.fixture(scope="session")
def workshop(node: Path) -> Path:
    """A copy of the page's sources with what it is made and checked with, as the lock has it.

    Beside the project's own folders, since those are copied, and searched for files of build contexts.
    """
    assert node.exists()
    WORKSHOP.mkdir(parents=True, exist_ok=True)
    for old in WORKSHOP.iterdir():
        if old.name != MODULES:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(FOLDER, WORKSHOP, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MODULES, "dist"))
    lock, installed = (FOLDER / "package-lock.json").read_bytes(), WORKSHOP / MODULES / "of-this-lock"
    if not installed.exists() or installed.read_bytes() != lock:
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=WORKSHOP, check=True, timeout=600)
        installed.write_bytes(lock)
    return WORKSHOP


@pytest.fixture(scope="session")
def axe(workshop: Path) -> str:
    """The script of axe-core."""
    return (workshop / MODULES / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def site(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as the image has it."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        ["npm", "run", "--silent", "build", "--", "--outDir", folder, "--emptyOutDir"], cwd=workshop, check=True
    )
    return folder


@pytest.fixture
def running(site: Path) -> Iterator[Running]:
    """The stand-in with one job that is done."""
    service = Service(site=site)
    service.add_job("job-a", [MEDIUM])
    running = Running(service)
    yield running
    running.stop()


@pytest.fixture
def service(running: Running) -> Service:
    """Its state."""
    return running.service


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """One for each module, since it occupies the thread's event loop."""
    with started(chromium) as browser:
        yield browser


@pytest.fixture
def stranger(browser: Browser, running: Running) -> Iterator[Page]:
    """The page, not signed in. Fails the test where the page throws, or asks any other server."""
    context = browser.new_context(viewport=DESK, base_url=running.origin)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith((running.origin, "data:", "blob:")) else wrong.append(request.url)
        ),
    )
    page.goto("/")
    yield page
    context.close()
    assert not wrong


@pytest.fixture
def page(stranger: Page) -> Page:
    """The page, signed in by a link with the token."""
    stranger.goto(f"/#token={TOKEN}")
    stranger.reload()
    expect(stranger.get_by_role("heading", name="New transcription")).to_be_visible()
    return stranger


@pytest.fixture
def editor(page: Page) -> Page:
    """The transcript of the job that is done."""
    page.goto("/#/jobs/job-a/0")
    expect(page.get_by_text("Vorhersage")).to_be_visible()
    return page
