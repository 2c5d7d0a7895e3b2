"""MLflow, Marimo and Ray's dashboard below paths of one address, behind a reverse proxy."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from testing.live.deployment import LiveStack, deployed
from testing.live.reverse_proxy import ReverseProxy, Route, running

NAME = "gpuhost.example.org"
KEEPING, PLAIN = 23443, 23444  # a proxy that passes on the Host that it is asked by, and one as nginx is by default
AT = f"http://{NAME}:{KEEPING}"
SETTINGS: dict[str, Any] = {
    "network": {
        "name": "cslr-live-proxy",
        "subnet": "10.217.0.0/24",
        "names": [f"{NAME}:{KEEPING}", f"{NAME}:{PLAIN}"],
    },
    "ray": {
        "base_url": f"{AT}/ray",
        "cpu": {"torch": False, "memory": "4g", "ports": {"gcs": 23379, "dashboard": 23265, "client": 23001}},
    },
    "redis": {"port": 23381},
    "mlflow": {"port": 23501, "base_url": f"{AT}/mlflow"},
    "marimo": {"port": 23080, "base_url": f"{AT}/marimo", "memory": "3g"},
    "health": {"port": 23889},
}
ROUTES = {
    "/mlflow": Route(port=23501),
    "/marimo": Route(port=23080),
    "/ray": Route(port=23265, keeps_prefix=False),
}
LOG_A_RUN = "import mlflow\nmlflow.set_experiment('links')\nwith mlflow.start_run(): mlflow.log_metric('loss', 1)"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    with (
        deployed("live-proxy", SETTINGS, tmp_path_factory.mktemp("proxy")) as stack,
        running(ReverseProxy(routes=ROUTES), KEEPING),
        running(ReverseProxy(routes=ROUTES, keeps_host=False), PLAIN),
    ):
        yield stack


@pytest.fixture(params=[KEEPING, PLAIN], ids=["keeps Host", "as nginx by default"])
def port(request: pytest.FixtureRequest) -> int:
    return int(request.param)


class Browser:
    """As much of one as asks: its address bar says `NAME`, which leads to the proxy."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://{NAME}:{port}"
        self._port = port

    def run(self, *steps: Any) -> list[Any]:
        """The answers of steps that are one after the other, with the cookies of the ones before."""

        async def all_of_them() -> list[Any]:
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                return [await step(session) for step in steps]

        return asyncio.run(all_of_them())

    def get(self, path: str, **headers: str) -> Any:
        async def step(session: aiohttp.ClientSession) -> tuple[int, str]:
            async with session.get(self._url(path), headers=self._headers(headers), allow_redirects=False) as answer:
                return answer.status, await answer.text()

        return step

    def post(self, path: str, body: Any, **headers: str) -> Any:
        async def step(session: aiohttp.ClientSession) -> tuple[int, str]:
            sent = self._headers({"Origin": self.origin, **headers})
            async with session.post(self._url(path), json=body, headers=sent) as answer:
                return answer.status, await answer.text()

        return step

    def connect(self, path: str, origin: str | None = None) -> Any:
        async def step(session: aiohttp.ClientSession) -> tuple[int, str]:
            sent = self._headers({"Origin": origin or self.origin})
            try:
                async with session.ws_connect(self._url(path), headers=sent) as socket:
                    return 101, str((await socket.receive(timeout=20)).data)
            except aiohttp.WSServerHandshakeError as refused:
                return refused.status, ""

        return step

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}{path}"

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        return {"Host": f"{NAME}:{self._port}", **more}


def secret(stack: LiveStack, name: str) -> str:
    return (stack.state / "generated" / name).read_text()


SEARCH = "/mlflow/ajax-api/2.0/mlflow/runs/search"
EVERYTHING = {"experiment_ids": ["0"], "max_results": 1}


class TestMLflow:
    def test_page_comes_with_its_script_and_its_table(self, stack, port):
        browser = Browser(port)
        (status, page), found = browser.run(browser.get("/mlflow/"), browser.post(SEARCH, EVERYTHING))
        assert (status, found[0]) == (200, 200)
        script = re.findall(r'src="(static-files/[^"]+\.js)"', page)[0]
        assert browser.run(browser.get(f"/mlflow/{script}"))[0][0] == 200

    def test_pages_of_others_are_refused(self, stack, port):
        browser = Browser(port)
        foreign = browser.post(SEARCH, EVERYTHING, Origin="http://evil.example")
        assert browser.run(foreign) == [(403, "Cross-origin request blocked")]

    def test_link_of_a_run_leads_to_it(self, stack):
        code, output = stack.container("marimo").exec_run(["/opt/venv/bin/python", "-c", LOG_A_RUN])
        assert code == 0, output
        link = re.search(rf"View run \S+ at: {re.escape(AT)}/mlflow/#/experiments/\d+/runs/(\w+)", output.decode())
        assert link, output
        browser = Browser(KEEPING)
        (answer,) = browser.run(browser.get(f"/mlflow/ajax-api/2.0/mlflow/runs/get?run_id={link[1]}"))
        assert json.loads(answer[1])["run"]["info"]["run_id"] == link[1]


class TestMarimo:
    def log_in(self, browser: Browser, stack: LiveStack) -> Any:
        return browser.get(f"/marimo/?access_token={secret(stack, 'marimo-token')}")

    def test_opens_and_runs_over_its_websocket(self, stack, port):
        browser, at = Browser(port), f"/marimo/ws?session_id=s{port}&file=__new__s{port}"
        logged_in, page, socket = browser.run(self.log_in(browser, stack), browser.get("/marimo/"), browser.connect(at))
        assert (logged_in[0], page[0], socket[0]) == (303, 200, 101)
        assert "kernel-ready" in socket[1]

    def test_refuses_the_websocket_of_other_pages_and_of_strangers(self, stack, port):
        browser, at = Browser(port), "/marimo/ws?session_id=s9&file=__new__s9"
        foreign = browser.connect(at, origin="http://127.0.0.1:23501")
        assert browser.run(self.log_in(browser, stack), foreign)[1][0] == 403
        assert browser.run(browser.connect(at))[0][0] != 101

    def test_settings_outlast_its_container(self, stack):
        browser = Browser(KEEPING)
        _, page = browser.run(self.log_in(browser, stack), browser.get("/marimo/"))
        token = re.search(r'serverToken":\s*"([^"]+)"', page[1])
        assert token
        settings = {"config": {"display": {"theme": "dark", "code_editor_font_size": 17}}}
        save = browser.post("/marimo/api/kernel/save_user_config", settings, **{"Marimo-Server-Token": token[1]})
        assert browser.run(self.log_in(browser, stack), save)[1][0] == 200
        stack.container("marimo").remove(force=True)
        assert stack.ws("up", "--engine", "embedded").returncode == 0
        page = browser.run(self.log_in(browser, stack), browser.get("/marimo/"))[1]
        assert re.search(r'"code_editor_font_size":\s*17', page[1])
        assert re.search(r'"theme":\s*"dark"', page[1])


class TestRay:
    def test_dashboard_comes_with_its_script_and_its_api(self, stack, port):
        browser = Browser(port)
        (status, page), version = browser.run(
            browser.get("/ray/"),
            browser.get("/ray/api/version", Authorization=f"Bearer {secret(stack, 'ray-token')}"),
        )
        assert (status, version[0]) == (200, 200)
        script = re.findall(r'src="\./(static/[^"]+\.js)"', page)[0]
        assert browser.run(browser.get(f"/ray/{script}"))[0][0] == 200


class TestUp:
    def test_prints_what_people_open(self, stack):
        said = "".join(stack.output)
        assert all(f"{AT}/{path}" in said for path in ("mlflow", "marimo", "ray"))
