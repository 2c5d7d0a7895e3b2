"""Where images come from: `auto` asks once, is not fooled, never hangs, and keeps its answer."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components import sources
from components.settings import ImagesSettings
from components.sources import Sources, choose_sources, reachable

HEADER = "docker-distribution-api-version"


@contextmanager
def server(status: int, headers: dict[str, str]) -> Iterator[str]:
    """A server of one answer; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class TestReachable:
    def test_registry_that_asks_for_a_login_is(self):
        with server(401, {"Docker-Distribution-Api-Version": "registry/2.0"}) as url:
            assert reachable(f"{url}/v2/", needed_header=HEADER)

    def test_open_registry_is(self):
        with server(200, {"Docker-Distribution-Api-Version": "registry/2.0"}) as url:
            assert reachable(f"{url}/v2/", needed_header=HEADER)

    @pytest.mark.parametrize("status", [200, 401, 403, 503])
    def test_page_of_a_captive_portal_is_no_registry(self, status):
        with server(status, {"Content-Type": "text/html"}) as url:
            assert not reachable(f"{url}/v2/", needed_header=HEADER)

    def test_index_that_answers_is(self):
        with server(200, {}) as url:
            assert reachable(f"{url}/cpu/torch/")

    @pytest.mark.parametrize("status", [403, 404, 503])
    def test_index_that_refuses_is_not(self, status):
        with server(status, {}) as url:
            assert not reachable(f"{url}/cpu/torch/")

    def test_closed_port_is_not(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        assert not reachable(f"http://127.0.0.1:{port}/v2/", needed_header=HEADER)

    @pytest.mark.parametrize("url", ["http://no.such.host.invalid/", "nonsense", "http://127.0.0.1:99999/"])
    def test_address_that_cannot_be_is_not(self, url):
        assert not reachable(url)

    def test_server_that_hangs_is_given_up(self, monkeypatch):
        monkeypatch.setattr(sources, "PROBE_SECONDS", 0.2)
        with silent_server() as url:
            began = time.monotonic()
            assert not reachable(f"{url}/v2/", needed_header=HEADER)
        assert time.monotonic() - began < 5

    def test_server_that_drips_is_given_up(self, monkeypatch):
        """A timeout of the socket alone would start again with every byte."""
        monkeypatch.setattr(sources, "PROBE_SECONDS", 0.3)
        with dripping_server() as url:
            began = time.monotonic()
            assert not reachable(f"{url}/v2/", needed_header=HEADER)
        assert time.monotonic() - began < 5

    def test_server_that_talks_nonsense_is_not(self):
        with dripping_server(b"what?\r\n\r\n", pause=0) as url:
            assert not reachable(url)


@contextmanager
def dripping_server(answer: bytes = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, pause: float = 0.1) -> Iterator[str]:
    """Answers one byte after the other, with a `pause` of seconds."""
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            for i in range(len(answer)):
                if ended.wait(pause):
                    return
                try:
                    connection.sendall(answer[i : i + 1])
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        thread.join(2)


class TestChoice:
    @pytest.fixture
    def kept(self, tmp_path):
        return tmp_path / "state" / "sources.json"

    @pytest.fixture
    def probed(self, monkeypatch):
        """The addresses that were asked, in order. `answers` says which of them answer."""

        class Probes(list[str]):
            answers: set[str]

        probes = Probes()
        probes.answers = set()

        def ask(url: str, **_: str) -> bool:
            probes.append(url)
            return url in probes.answers

        monkeypatch.setattr(sources, "reachable", ask)
        return probes

    REGISTRY = sources.IMAGE_REGISTRY
    INDEX = f"{sources.PYTORCH_INDEX}/cpu/torch/"

    @pytest.mark.parametrize(
        ("answering", "gpu", "chosen"),
        [
            ({REGISTRY, INDEX}, False, Sources(bases="registry", torch="cpu")),
            ({REGISTRY}, False, Sources(bases="registry", torch="cuda")),
            ({INDEX}, False, Sources(bases="bootstrap", torch="cpu")),
            (set(), False, Sources(bases="bootstrap", torch="cuda")),
            ({REGISTRY, INDEX}, True, Sources(bases="registry", torch="cuda")),
        ],
    )
    def test_is_made_by_what_answers(self, probed, kept, answering, gpu, chosen):
        probed.answers |= answering
        assert choose_sources(ImagesSettings(), gpu=gpu, kept=kept, dry_run=False)[0] == chosen

    def test_is_told_with_its_reason(self, probed, kept):
        _, notes = choose_sources(ImagesSettings(), gpu=False, kept=kept, dry_run=False)
        assert notes == (
            "bases: bootstrap (the image registry does not answer)",
            "torch: cuda (PyTorch's index of CPU wheels does not answer; this build runs on CPUs as well)",
        )

    def test_asks_nobody_on_a_host_with_gpus_which_torch(self, probed, kept):
        choose_sources(ImagesSettings(), gpu=True, kept=kept, dry_run=False)
        assert probed == [self.REGISTRY]

    def test_asks_the_stacks_own_mirror(self, probed, kept):
        images = ImagesSettings.model_validate({"mirrors": {"pytorch": "https://mirror.example.org/whl"}})
        choose_sources(images, gpu=False, kept=kept, dry_run=False)
        assert "https://mirror.example.org/whl/cpu/torch/" in probed

    def test_asks_nobody_where_settings_say_it(self, probed, kept):
        images = ImagesSettings(bases="bootstrap", torch="cpu")
        chosen, notes = choose_sources(images, gpu=False, kept=kept, dry_run=False)
        assert (chosen, notes, probed) == (Sources(bases="bootstrap", torch="cpu"), (), [])
        assert not kept.exists()

    def test_is_kept_when_the_network_changes(self, probed, kept):
        first, _ = choose_sources(ImagesSettings(), gpu=False, kept=kept, dry_run=False)
        probed.answers |= {self.REGISTRY, self.INDEX}
        probed.clear()
        assert choose_sources(ImagesSettings(), gpu=False, kept=kept, dry_run=False) == (first, ())
        assert probed == []

    def test_of_a_preview_is_not_kept(self, probed, kept):
        choose_sources(ImagesSettings(), gpu=False, kept=kept, dry_run=True)
        assert not kept.parent.exists()

    def test_kept_one_gives_way_to_settings(self, probed, kept):
        choose_sources(ImagesSettings(), gpu=False, kept=kept, dry_run=False)
        images = ImagesSettings(bases="registry", torch="cpu")
        chosen, _ = choose_sources(images, gpu=False, kept=kept, dry_run=False)
        assert chosen == Sources(bases="registry", torch="cpu")

    def test_of_a_setting_is_not_kept_as_an_answer(self, probed, kept):
        """Back at `auto`, the network decides, not what was once set by hand."""
        choose_sources(ImagesSettings(bases="registry"), gpu=False, kept=kept, dry_run=False)
        chosen, _ = choose_sources(ImagesSettings(), gpu=False, kept=kept, dry_run=False)
        assert chosen.bases == "bootstrap"

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"bases": 3, "torch": "tpu"}'])
    def test_survives_a_damaged_file(self, probed, kept, content):
        kept.parent.mkdir()
        kept.write_text(content)
        chosen, _ = choose_sources(ImagesSettings(), gpu=False, kept=kept, dry_run=False)
        assert chosen == Sources(bases="bootstrap", torch="cuda")
