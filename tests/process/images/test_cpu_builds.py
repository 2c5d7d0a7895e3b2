"""PyTorch's builds for CPUs: their locks take the hashes of PyTorch's index, and an installation checks them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.hooks.child_environment import find_program
from images import lock
from images.lockfile import Pin, parse
from images.ml import install
from images.variants import DEFAULT_VARIANT
from testing.wheels import write_wheel

pytestmark = pytest.mark.skipif(not find_program("uv"), reason="needs uv: pip install uv")
TORCH = [Pin(name="torch", version="2.0", text="torch==2.0\n")]


def publish(index: Path, name: str, version: str) -> Path:
    """Puts a wheel of a package into an index, whose page gives its hash as PyTorch's does."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    write_wheel(folder, name, version)
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "index.html").write_text(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>')
    return wheel


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of this host's uv and pip stay out."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    uv = Path(find_program("uv") or "uv").resolve()
    monkeypatch.setenv("PATH", f"{uv.parent}:{os.environ['PATH']}")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


class TestLock:
    @pytest.fixture
    def path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(lock, "ML", tmp_path)
        return tmp_path / "torch-cpu.txt"

    def test_has_the_hashes_of_the_index(self, path: Path, index: Path) -> None:
        wheel = publish(index, "torch", "2.0+cpu")
        lock._lock_cpu_builds(path, TORCH, DEFAULT_VARIANT, index.as_uri())
        pin = parse(path.read_text())["torch"]
        assert pin.version == "2.0+cpu"
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() in pin.text

    def test_keeps_its_hashes_where_the_index_does_not_answer(
        self, path: Path, index: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        publish(index, "torch", "2.0+cpu")
        lock._lock_cpu_builds(path, TORCH, DEFAULT_VARIANT, index.as_uri())
        before = path.read_text()
        lock._lock_cpu_builds(path, TORCH, DEFAULT_VARIANT, (index / "absent").as_uri())
        assert path.read_text() == before
        assert "torch-cpu.txt: the hashes stay as they were, since PyTorch's index gave none" in capsys.readouterr().out

    def test_has_no_hashes_of_another_version(
        self, path: Path, index: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        publish(index, "torch", "1.0+cpu")
        older = [Pin(name="torch", version="1.0", text="torch==1.0\n")]
        lock._lock_cpu_builds(path, older, DEFAULT_VARIANT, index.as_uri())
        lock._lock_cpu_builds(path, TORCH, DEFAULT_VARIANT, (index / "absent").as_uri())
        assert path.read_text().splitlines()[1:] == [lock.NO_HASHES.strip(), "torch==2.0+cpu"]
        assert "there are no hashes" in capsys.readouterr().out


class TestInstallation:
    @pytest.fixture
    def installed(self, tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An image's environment, and lock files of torch and of what it needs."""
        uv = Path(find_program("uv") or "uv").resolve()
        venv = tmp_path / "venv"
        subprocess.run([uv, "venv", "--quiet", "--no-config", f"--python={sys.executable}", venv], check=True)
        for name, value in (("VENV", venv), ("LOCKS", tmp_path / "locks"), ("CACHE", tmp_path / "cache")):
            monkeypatch.setattr(install, name, value)
        monkeypatch.setattr(install, "uv", lambda: uv)
        monkeypatch.setattr(lock, "ML", tmp_path)
        self.publish_locked(index, tmp_path / "locks/torch-cpu.txt", "torch", "2.0+cpu")
        self.publish_locked(tmp_path / "pypi", tmp_path / "locks/torch.txt", "sympy", "1.0")
        return venv

    def publish_locked(self, index: Path, path: Path, name: str, version: str) -> None:
        digest = hashlib.sha256(publish(index, name, version).read_bytes()).hexdigest()
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{name}=={version} --hash=sha256:{digest}\n")

    def install(self, index: Path) -> None:
        install.install_wheels({"PYTORCH_INDEX": index.as_uri(), "PYPI_INDEX": index.with_name("pypi").as_uri()})

    def test_takes_each_from_its_index(self, installed: Path, index: Path) -> None:
        self.install(index)
        assert {path.name for path in installed.glob("lib/*/site-packages/*-*.dist-info")} == {
            "torch-2.0+cpu.dist-info",
            "sympy-1.0.dist-info",
        }

    def test_refuses_a_build_that_is_not_the_locked_one(
        self, installed: Path, index: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = install.LOCKS / "torch-cpu.txt"
        locked = path.read_text().partition("sha256:")[2].strip()
        path.write_text(path.read_text().replace(locked, "0" * 64))
        with pytest.raises(subprocess.CalledProcessError):
            self.install(index)
        assert "Hash mismatch" in capfd.readouterr().err
        assert not list(installed.glob("lib/*/site-packages/torch"))

    def test_takes_one_without_a_hash_where_none_was_to_be_had(self, installed: Path, index: Path) -> None:
        (install.LOCKS / "torch-cpu.txt").write_text(f"{lock.NO_HASHES}torch==2.0+cpu\n")
        self.install(index)
        assert list(installed.glob("lib/*/site-packages/torch"))
