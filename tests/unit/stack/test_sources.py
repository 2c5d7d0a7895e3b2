"""Where images come from: `auto` asks once, is not fooled, never hangs, and keeps its answer."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from config.builds import ImagesSettings
from stack import sources
from stack.sources import Sources, choose_sources, indices, reachable

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
    PYG = f"{sources.PYG_INDEX}/{sources.PYG_PAGE}"
    NVIDIA = f"{sources.NVIDIA_APT}/Packages.gz"

    @pytest.mark.parametrize(
        ("answering", "torch", "chosen"),
        [
            ({REGISTRY, INDEX}, "auto", Sources(bases="registry", torch="cpu")),
            ({REGISTRY}, "auto", Sources(bases="registry", torch="cuda")),
            ({INDEX}, "auto", Sources(bases="bootstrap", torch="cpu")),
            (set(), "auto", Sources(bases="bootstrap", torch="cuda")),
            ({REGISTRY, INDEX}, "cuda", Sources(bases="registry", torch="cuda")),
        ],
    )
    def test_is_made_by_what_answers(self, probed, kept, answering, torch, chosen):
        probed.answers |= answering
        assert choose_sources(ImagesSettings(pyg_lib="no"), torch=torch, kept=kept, dry_run=False)[0] == chosen

    def test_is_told_with_its_reason(self, probed, kept):
        _, notes = choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        assert notes == (
            "bases: bootstrap (the image registry does not answer)",
            "torch: cuda (PyTorch's index of CPU wheels does not answer; this build runs on CPUs as well)",
            "pyg-lib: no (PyG's wheel index does not answer; PyG works without it, more slowly)",
        )

    def test_asks_nobody_on_a_host_with_gpus_which_torch(self, probed, kept):
        choose_sources(ImagesSettings(), torch="cuda", kept=kept, dry_run=False)
        assert probed == [self.REGISTRY, self.PYG]

    def test_asks_for_nvcc_only_where_it_is_installed(self, probed, kept):
        probed.answers |= {self.NVIDIA}
        without, _ = choose_sources(ImagesSettings(), torch="cuda", kept=kept, dry_run=False)
        assert (without.nvidia, self.NVIDIA in probed) == (False, False)
        found, notes = choose_sources(ImagesSettings(), torch="cuda", devel=True, kept=kept, dry_run=False)
        assert found.nvidia
        assert notes == ("nvidia: yes (NVIDIA's package repository answers)",)

    def test_asks_nobody_for_an_extension_that_is_not_wanted(self, probed, kept):
        chosen, _ = choose_sources(ImagesSettings(pyg_lib="no"), torch="cuda", kept=kept, dry_run=False)
        assert not chosen.pyg
        assert self.PYG not in probed

    def test_asks_the_stacks_own_mirrors(self, probed, kept):
        mirrors = {"pytorch": "https://mirror.example.org/whl", "pyg": "https://mirror.example.org/pyg"}
        images = ImagesSettings.model_validate({"mirrors": mirrors})
        choose_sources(images, torch=images.torch, kept=kept, dry_run=False)
        assert "https://mirror.example.org/whl/cpu/torch/" in probed
        assert f"https://mirror.example.org/pyg/{sources.PYG_PAGE}" in probed

    def test_asks_nobody_where_settings_say_it(self, probed, kept):
        images = ImagesSettings(bases="bootstrap", torch="cpu", pyg_lib="no")
        chosen, notes = choose_sources(images, torch=images.torch, kept=kept, dry_run=False)
        assert (chosen, notes, probed) == (Sources(bases="bootstrap", torch="cpu"), (), [])
        assert not kept.exists()

    def test_is_kept_when_the_network_changes(self, probed, kept):
        first, _ = choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        probed.answers |= {self.REGISTRY, self.INDEX}
        probed.clear()
        assert choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False) == (first, ())
        assert probed == []

    def test_of_a_preview_is_not_kept(self, probed, kept):
        choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=True)
        assert not kept.parent.exists()

    def test_kept_one_gives_way_to_settings(self, probed, kept):
        choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        images = ImagesSettings(bases="registry", torch="cpu", pyg_lib="no")
        chosen, _ = choose_sources(images, torch=images.torch, kept=kept, dry_run=False)
        assert chosen == Sources(bases="registry", torch="cpu")

    def test_of_a_setting_is_not_kept_as_an_answer(self, probed, kept):
        """Back at `auto`, the network decides, not what was once set by hand."""
        choose_sources(ImagesSettings(bases="registry"), torch="auto", kept=kept, dry_run=False)
        chosen, _ = choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        assert chosen.bases == "bootstrap"

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"bases": 3, "torch": "tpu"}'])
    def test_survives_a_damaged_file(self, probed, kept, content):
        kept.parent.mkdir()
        kept.write_text(content)
        chosen, _ = choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        assert chosen == Sources(bases="bootstrap", torch="cuda")


class TestIndices:
    IMAGES = ImagesSettings.model_validate({"mirrors": {"nvidia": "https://mirror.example.org/cuda"}})

    def test_are_the_mirrors_of_those_that_answer_and_none_of_others(self):
        found = indices(self.IMAGES, Sources(bases="registry", torch="cuda", nvidia=True))
        assert (found["nvidia_apt"], found["pyg_index"]) == ("https://mirror.example.org/cuda", None)

    def test_have_their_usual_address_without_a_mirror(self):
        found = indices(self.IMAGES, Sources(bases="registry", torch="cuda", pyg=True))
        assert (found["nvidia_apt"], found["pyg_index"]) == (None, sources.PYG_INDEX)
