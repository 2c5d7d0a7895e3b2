"""The environment that notebooks install into: made, kept, carried over to a new image, set aside when broken."""

import os
import subprocess
from pathlib import Path

import pytest

from entrypoints.hooks import child_environment
from entrypoints.hooks.child_environment import ChildEnvironment, ImagePackage, find_program
from entrypoints.marimo import notebook_packages
from entrypoints.marimo.notebook_packages import environment, pinned, prepare, remove_old, requested, restore
from testing.wheels import write_wheel

needs_uv = pytest.mark.skipif(not find_program("uv"), reason="needs uv: pip install uv")


@pytest.fixture(autouse=True)
def image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ImagePackage]:
    """This Python's packages stand for an image's, and any of them for Marimo."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(notebook_packages, "START_CHECK", "import iniconfig")
    packages = child_environment.image_packages()
    few = {name: packages[name] for name in ("pytest", "iniconfig", "pluggy", "packaging")}
    monkeypatch.setattr(notebook_packages, "image_packages", lambda: few)
    return few


def install(child: ChildEnvironment, wheels: Path, *packages: str) -> None:
    uv = find_program("uv") or "uv"
    command = [uv, "pip", "install", "--python", str(child.python), "--no-index", "-f", str(wheels)]
    subprocess.run([*command, *packages], check=True, env={**os.environ, **environment(child, os.environ)})


def made(home: Path) -> ChildEnvironment:
    child = prepare(home)
    assert child
    return child


class TestPrepare:
    def test_the_same_image_finds_the_same_environment(self, tmp_path: Path) -> None:
        first = made(tmp_path)
        (first.site / "kept.py").touch()
        assert made(tmp_path) == first
        assert (first.site / "kept.py").exists()

    def test_one_that_was_half_made_is_made_again(self, tmp_path: Path) -> None:
        child = made(tmp_path)
        (child.folder / "complete").unlink()
        (child.site / "_image.pth").unlink()
        assert (made(tmp_path).site / "_image.pth").exists()

    def test_one_that_keeps_marimo_from_starting_is_set_aside(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        child = made(tmp_path)
        (child.site / "iniconfig.py").write_text("1 / 0\n")
        assert made(tmp_path) == child
        assert not (child.site / "iniconfig.py").exists()
        assert child.folder.with_name(f"{child.folder.name}.broken").is_dir()
        assert "ZeroDivisionError" in capsys.readouterr().out

    def test_a_home_that_cannot_be_written_does_not_keep_marimo_from_starting(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / notebook_packages.FOLDER).write_text("a file")
        assert prepare(tmp_path) is None
        assert "notebooks can install no packages" in capsys.readouterr().out

    def test_an_image_without_installers_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(notebook_packages, "find_program", lambda name: None)
        assert prepare(tmp_path) is None
        assert "neither uv nor pip" in capsys.readouterr().out

    def test_environments_of_long_gone_images_are_removed(self, tmp_path: Path) -> None:
        for age, name in enumerate(("new", "before", "old")):
            (tmp_path / name).mkdir()
            (tmp_path / name / "complete").touch()
            os.utime(tmp_path / name / "complete", (1000 - age, 1000 - age))
        remove_old(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["before", "new"]


@needs_uv
class TestNewImage:
    def test_what_was_asked_for_is_installed_again(
        self, tmp_path: Path, image: dict[str, ImagePackage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheels = tmp_path / "wheels"
        wheels.mkdir()
        write_wheel(wheels, "cslr_gone", "1.0")
        write_wheel(wheels, "cslr_moved", "1.0")
        old = made(tmp_path)
        install(old, wheels, "cslr_gone", "cslr_moved")
        (wheels / "cslr_gone-1.0-py3-none-any.whl").unlink()
        (wheels / "cslr_moved-1.0-py3-none-any.whl").unlink()
        write_wheel(wheels, "cslr_moved", "2.0")
        image.pop("pluggy")  # another image
        new = made(tmp_path)
        assert new != old
        monkeypatch.setenv("UV_NO_INDEX", "1")
        monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
        assert restore(new) == 1
        assert new.own_packages() == {"cslr-moved": "2.0"}
        # What could not be had is tried again, and is not forgotten by the image after this one.
        assert requested(new) == {"cslr-gone": "1.0", "cslr-moved": "2.0"}
        write_wheel(wheels, "cslr_gone", "1.0")
        assert restore(new) == 0
        assert set(new.own_packages()) == {"cslr-gone", "cslr-moved"}

    def test_what_the_cluster_shares_stays_as_the_image_has_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notebook_packages, "CORE", ("pytest",))
        write_wheel(tmp_path, "pluggy", "0.1")
        with pytest.raises(subprocess.CalledProcessError):
            install(made(tmp_path), tmp_path, "pluggy<1")


class TestPinned:
    def test_what_serves_notebooks_and_what_objects_need_on_both_sides(self) -> None:
        def package(name: str, *requires: str) -> ImagePackage:
            return ImagePackage(name, "1", Path(), requires)

        image = [
            package("marimo", "starlette>=1", "duckdb; extra == 'sql'"),
            package("starlette"),
            package("duckdb"),
            package("torch"),
            package("nvidia-cublas"),
            package("matplotlib"),
        ]
        assert pinned({p.name: p for p in image}) == ["marimo", "nvidia-cublas", "starlette", "torch"]
