"""The home page in a real browser, against answers as the services give them."""

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect

from testing.live.reverse_proxy import ReverseProxy, running
from testing.live.reverse_proxy import Route as ProxyRoute
from testing.servers import free_port
from tests.process.home_page.recorded import ALERT, SECRET_ARGUMENT, SECRETS, StandIn, job

PHONE = {"width": 390, "height": 844}
WEIGHT = 150_000  # bytes, of everything that the browser loads


def charts(page: Page) -> None:
    """Waits until they are drawn."""
    expect(page.locator("#chart-gpu canvas")).to_be_visible()


class TestLive:
    def test_what_changes_appears_without_loading_the_page_again(self, page: Page, world: StandIn):
        expect(page.get_by_text("Every service is up.")).to_be_visible()
        page.evaluate("window.same = true")
        world.world.mlflow_up = False
        world.world.alerts = [ALERT]
        world.world.jobs.append(job("just-now", "PENDING", 1))
        expect(page.get_by_text("Not up: mlflow", exact=True)).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_contain_text("unhealthy")
        expect(page.get_by_text("GPU 2 of gpu1 is at 91 °C")).to_be_visible()
        expect(page.get_by_role("rowheader", name="just-now")).to_be_visible()
        expect(page).to_have_title("✕ gpu: unhealthy")
        expect(page.get_by_role("status").first).to_contain_text("unhealthy")
        assert page.evaluate("window.same")

    def test_pause_holds_it_and_goes_on(self, page: Page, world: StandIn):
        button = page.get_by_role("button", name="Pause")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_text("Paused", exact=True)).to_be_visible()
        world.world.mlflow_up = False
        page.wait_for_timeout(6000)  # longer than between two events
        expect(page.get_by_text("Every service is up.")).to_be_visible()
        button.click()
        expect(page.get_by_text("Not up: mlflow", exact=True)).to_be_visible()

    def test_focus_and_what_is_unfolded_stay(self, page: Page, world: StandIn):
        page.get_by_text("3 that ended").click()
        link = page.locator("#section-nodes a")
        link.focus()
        world.world.nodes[1]["node_ip"] = "172.28.0.99"
        expect(page.get_by_role("cell", name="172.28.0.99")).to_be_visible()
        expect(link).to_be_focused()
        assert page.locator("#old-nodes").get_attribute("open") is not None

    def test_that_brings_nothing_is_noticed_and_opened_anew(self, page: Page):
        (server,) = [one for one in psutil.Process().children() if "entrypoints.health.server" in one.cmdline()]
        page.clock.install()
        page.reload()
        expect(page.locator("#pulse")).to_contain_text("Live")
        server.suspend()  # no connection ends by that
        try:
            page.clock.fast_forward(21_000)
            expect(page.locator("#pulse")).to_contain_text("Not connected")
        finally:
            server.resume()
        expect(page.locator("#pulse")).to_contain_text("Live")

    def test_page_of_another_version_loads_itself_again_once(self, browser: Browser, origin: str):
        page = browser.new_context().new_page()
        loads: list[str] = []
        page.on("domcontentloaded", lambda _: loads.append(page.url))

        def old(route: Route) -> None:
            answer = route.fetch()
            route.fulfill(response=answer, body=re.sub('data-version="[^"]*"', 'data-version="old"', answer.text()))

        page.route(f"{origin}/", old)
        page.goto(origin)
        expect(page.locator("#pulse")).to_contain_text("Live")
        while len(loads) < 2:  # the test's own time limit ends it
            page.wait_for_timeout(100)
        page.wait_for_timeout(6000)  # longer than between two events
        assert len(loads) == 2
        page.unroute(f"{origin}/")
        page.reload()
        expect(page.locator("#pulse")).to_contain_text("Live")
        assert len(loads) == 3
        page.context.close()

    def test_below_a_path_behind_a_reverse_proxy(self, browser: Browser, origin: str, world: StandIn):
        context, port = browser.new_context(), free_port()
        route = ProxyRoute(port=int(origin.rpartition(":")[2]), keeps_prefix=False)
        with running(ReverseProxy(routes={"/home": route}), port):
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}/home/")
            charts(page)
            world.world.mlflow_up = False
            expect(page.get_by_text("Not up: mlflow", exact=True)).to_be_visible()
            context.close()

    def test_without_scripts_it_says_the_same(self, browser: Browser, page: Page):
        context = browser.new_context(java_script_enabled=False)
        plain = context.new_page()
        plain.goto(page.url)
        expect(plain.get_by_role("rowheader", name="nightly-train")).to_be_visible()
        expect(plain.get_by_role("button")).to_have_count(0)
        context.close()


class TestCharts:
    def test_show_the_last_hour_day_and_week(self, page: Page):
        charts(page)
        expect(page.locator(".charts figure:visible")).to_have_count(9)
        legend = page.locator("#chart-gpu .legend")
        expect(legend).to_contain_text("gpu1 GPU 0")
        expect(legend).to_contain_text("%")
        for name in ("Day", "Week"):
            with page.expect_response(lambda answer: f"range={name.lower()}" in answer.url) as answered:  # noqa: B023
                page.get_by_label(name, exact=True).check()
            assert answered.value.ok
        charts(page)

    def test_by_keyboard(self, page: Page):
        charts(page)
        page.get_by_label("Hour", exact=True).focus()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_label("Day", exact=True)).to_be_checked()
        charts(page)
        page.locator("#chart-gpu .plot").focus()
        column = page.locator("#chart-gpu .legend thead th").first
        expect(column).to_have_text("Now")
        page.keyboard.press("ArrowLeft")
        expect(column).not_to_have_text("Now")
        with page.expect_response(lambda answer: "range=hour" in answer.url):
            page.evaluate("document.querySelector('.ranges input').click()")
        page.wait_for_function("document.querySelector('#chart-gpu .plot') === document.activeElement")
        expect(column).not_to_have_text("Now")
        page.keyboard.press("Escape")
        expect(column).to_have_text("Now")

    def test_are_told_in_words_too(self, page: Page):
        charts(page)
        plot = page.locator("#chart-gpu .plot")
        figure = r"\d+(\.\d+)? %"
        told = (
            rf"GPU use over the last hour\. gpu1 GPU 0: now {figure}, lowest {figure}, highest {figure}; gpu1 GPU 1: "
        )
        expect(plot).to_have_attribute("aria-label", re.compile(told))
        expect(page.get_by_role("table", name="GPU use, figures").get_by_role("columnheader")).to_have_text(
            ["Now", "Lowest", "Highest"]
        )
        plot.focus()
        page.keyboard.press("Home")
        said = page.get_by_role("status").first
        expect(said).to_have_text(re.compile(rf"\d\d:\d\d: gpu1 GPU 0 {figure}, gpu1 GPU 1 {figure}"))

    def test_that_fail_say_why(self, page: Page, world: StandIn):
        charts(page)
        world.world.prometheus_up = False
        page.get_by_label("Day", exact=True).check()
        expect(page.locator("#charts-note")).to_contain_text("Prometheus does not answer")


class TestReach:
    def test_every_control_is_reached_by_tab_and_shows_it(self, page: Page):
        charts(page)
        reached = []
        for _ in range(80):
            page.keyboard.press("Tab")
            here = page.evaluate(
                """() => { const at = document.activeElement, style = getComputedStyle(at);
                const shown = at.matches("input") ? getComputedStyle(at.nextElementSibling) : style;
                const name = at.textContent.trim().slice(0, 30) || at.value || at.id;
                return [at === document.body ? "" : name, shown.outlineStyle]; }"""
            )
            reached.append(here)
        assert not [name for name, outline in reached if outline == "none" and name]
        names = {name for name, _ in reached}
        assert {"Skip to the content", "MLflow", "Pause", "hour", "3 that ended", "/status"} <= names

    @pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
    def test_nothing_is_wider_than_the_screen(self, page: Page, world: StandIn, width: int):
        world.world.alerts = [ALERT]
        page.set_viewport_size({"width": width, "height": 844})
        expect(page.get_by_text("GPU 2 of gpu1 is at 91 °C")).to_be_visible()
        charts(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = (
            "[...document.querySelectorAll('main *')].filter((at) => at.getBoundingClientRect().right > innerWidth + 1)"
        )
        assert page.evaluate(f"{wide}.map((at) => at.outerHTML.slice(0, 120))") == []
        beyond = """[...document.querySelectorAll('.card :is(table, p, dl)')].filter((at) =>
            at.getBoundingClientRect().right > at.closest('.card').getBoundingClientRect().right)"""
        assert page.evaluate(f"{beyond}.map((at) => at.outerHTML.slice(0, 120))") == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, PHONE], ids=["desk", "phone"])
    def test_axe_finds_no_fault(self, page: Page, world: StandIn, axe: str, scheme: str, size: dict[str, int]):
        world.world.alerts, world.world.gpu_up = [ALERT], False
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size(size)  # type: ignore[arg-type]
        expect(page.get_by_text("✕ lost")).to_be_visible()
        expect(page.get_by_text("GPU 2 of gpu1 is at 91 °C")).to_be_visible()
        charts(page)
        page.get_by_text("3 that ended").click()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(16, 20, 29)") == (scheme == "dark")
        page.evaluate(axe)
        tags = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"
        found = page.evaluate(f"axe.run(document, {{ runOnly: {tags} }})")
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
        assert "color-contrast" in {one["id"] for one in found["passes"]}


@dataclass
class Visit:
    """A first visit: nothing is in the browser's cache."""

    page: Page
    answers: list[Response] = field(default_factory=list)

    def bodies(self) -> dict[str, bytes]:
        """What was loaded, by address. The stream does not end."""
        return {answer.url: answer.body() for answer in self.answers if not answer.url.endswith("/events")}


@pytest.fixture
def visit(browser: Browser, origin: str) -> Iterator[Visit]:
    context = browser.new_context()
    visit = Visit(context.new_page())
    visit.page.on("response", lambda answer: visit.answers.append(answer))
    visit.page.goto(origin)
    charts(visit.page)
    yield visit
    context.close()


class TestWeight:
    def test_everything_the_browser_loads(self, visit: Visit, record_property: Callable[[str, object], None]):
        bodies = visit.bodies()
        plain, compressed = sum(map(len, bodies.values())), sum(len(gzip.compress(body)) for body in bodies.values())
        paint = visit.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        record_property("home_page", f"{plain} bytes, compressed {compressed}, first paint after {paint:.0f} ms")
        assert {Path(url.partition("?")[0]).name for url in bodies} >= {"page.js", "charts.js", "charts"}
        assert plain < WEIGHT

    def test_no_secret_in_what_it_loads(self, visit: Visit):
        texts = [body.decode() for body in visit.bodies().values()] + [visit.page.content()]
        for secret in (*SECRETS.values(), SECRET_ARGUMENT):
            assert not [text for text in texts if secret in text]
