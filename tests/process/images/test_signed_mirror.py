"""debootstrap takes packages only from a mirror whose release file is signed with the keys that it was given."""

import functools
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest

from images.base import bootstrap

RELEASE = "Suite: testing\nCodename: forky\nArchitectures: amd64\nComponents: main\nSHA256:\n"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap needs root")

OURS, STRANGERS = "release@debian.test", "release@stranger.test"


class SilentFiles(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def sign(gpg: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Runs gpg in a folder with two new keys."""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)

    def run(*words: str, text: str = "") -> str:
        command = [str(gpg), "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", *words]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout

    for name in (OURS, STRANGERS):
        run("--quick-gen-key", name, "ed25519", "sign")
    yield run
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTP server of a folder; its address, and where release files go."""
    folder = tmp_path / "mirror/dists/forky"
    folder.mkdir(parents=True)
    handler = functools.partial(SilentFiles, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


@pytest.fixture
def refusal(
    debootstrap: Path,
    sign: Callable[..., str],
    mirror: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[], str]:
    """Makes a base of the mirror, on an Engine that has none and is not reached; returns what it says."""
    keys = tmp_path / "keys.gpg"
    sign("--output", str(keys), "--export", OURS)
    monkeypatch.setattr(bootstrap, "DEBIAN_KEYS", keys)
    monkeypatch.setattr(bootstrap, "WORK", tmp_path / "work")
    monkeypatch.setattr(bootstrap, "_exists", lambda *_: False)
    monkeypatch.setattr(docker, "APIClient", lambda **_: None)

    def run() -> str:
        words = ["--suite", "forky", "--source", "bootstrap", "--tag", "x:1", "--debian-mirror", mirror[0]]
        assert bootstrap.main(words) == 1
        return capsys.readouterr().err.strip()

    return run


def test_one_that_is_signed_gets_past_the_check(refusal, sign, mirror):
    (mirror[1] / "InRelease").write_text(sign("--local-user", OURS, "--clearsign", text=RELEASE))
    said = refusal()
    assert said.startswith("x:1: debootstrap failed (1):")
    assert "Valid Release signature" in said


def test_one_that_was_changed_is_refused(refusal, sign, mirror):
    signed = sign("--local-user", OURS, "--clearsign", text=RELEASE)
    (mirror[1] / "InRelease").write_text(signed.replace("Suite: testing", "Suite: tampered"))
    said = refusal()
    assert "is not signed by Debian: Invalid Release signature" in said
    assert "--debian-mirror" in said
    assert len(said.splitlines()) == 1


def test_one_of_a_stranger_is_refused(refusal, sign, mirror):
    (mirror[1] / "InRelease").write_text(sign("--local-user", STRANGERS, "--clearsign", text=RELEASE))
    assert "is not signed by Debian: Release signed by unknown key" in refusal()


def test_one_without_a_signature_is_refused(refusal, mirror):
    (mirror[1] / "Release").write_text(RELEASE)
    assert "is not signed by Debian: Failed getting release signature file" in refusal()


def test_a_signed_file_whose_signature_was_cut_off_is_refused(refusal, mirror):
    (mirror[1] / "InRelease").write_text(RELEASE)
    (mirror[1] / "Release").write_text(RELEASE)
    assert "is not signed by Debian: Failed getting release signature file" in refusal()
