"""The programs that the ML Dockerfile runs: the files that they remove, and their messages."""

import subprocess
import sys
from pathlib import Path

import pytest

from images.catalog import ML
from images.ml import install, trim
from testing.ml_image import SITE


class TestTrim:
    @pytest.fixture
    def root(self, tmp_path, monkeypatch):
        (tmp_path / SITE / "a").mkdir(parents=True)
        monkeypatch.setattr(trim, "ROOT", tmp_path)
        monkeypatch.setattr(trim, "OWN", tmp_path / "opt")
        return tmp_path

    @pytest.fixture
    def package(self, root):
        return root / SITE / "a"

    def test_removes_links_without_what_they_point_to(self, root):
        (root / "kept").write_text("kept")
        (root / "link").symlink_to("kept")
        trim.remove(root / "link")
        assert [path.name for path in root.iterdir() if path.name != "opt"] == ["kept"]

    def test_counts_what_went(self, package):
        (package / "x").write_bytes(b"1234")
        assert trim.remove(package) == len(b"1234")
        assert not package.exists()

    def test_files_end_up_readable_by_all_without_special_rights_and_of_one_time(self, package):
        file = package / "x"
        file.write_text("x")
        file.chmod(0o4700)
        for path in (file, package):
            trim.settle(path, started=0)
        assert file.stat().st_mode & 0o7777 == 0o755
        assert {path.stat().st_mtime for path in (file, package)} == {trim.EPOCH}

    def test_files_of_packages_keep_their_times(self, package):
        """Debian's bytecode names the time of its source."""
        file = package / "x"
        file.write_text("x")
        before = file.stat().st_mtime
        trim.settle(file, started=before + 1)
        assert file.stat().st_mtime == before

    def test_finds_what_is_new_and_not_what_was_there(self, root, package):
        assert package in list(trim.made_since(0, root))
        assert list(trim.made_since(package.stat().st_ctime + 60, root)) == []

    def test_bytecode_is_compiled_once_for_all_builds(self, root, package):
        python = root / "opt/venv/bin/python"
        python.parent.mkdir()
        python.symlink_to(sys.executable)
        source = package / "module.py"
        source.write_text("x = 1\n")
        (package / "skipped.py").write_text("x = 1\n")
        skip = trim.Entry(kind="uncompiled", layer="ray", paths=(f"{trim.SITE}/b",), why="never imported")
        first = trim.compile_bytecode([source, package / "data.txt"], [skip], root / "kept")
        assert first == "1 files compiled, 0 known"
        compiled = next(package.glob("__pycache__/module.*.pyc"))
        content = compiled.read_bytes()
        compiled.unlink()
        assert trim.compile_bytecode([source], [skip], root / "kept") == "0 files compiled, 1 known"
        assert compiled.read_bytes() == content

    def test_needed_libraries_are_read_from_programs(self):
        users = trim.needed([Path(sys.executable).resolve()], Path("readelf"))
        assert any(name.startswith("libc.so") for name in users)


class TestInstaller:
    def test_help_needs_nothing_but_python(self):
        command = [sys.executable, str(ML / "install.py"), "--help"]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={"PYTHONPATH": str(ML.parents[1])}
        )
        assert "which layer" in done.stdout

    def test_without_nvcc_its_place_says_why_and_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setattr(install, "STUB", tmp_path / "nvcc")
        install.write_stub("12.8.1")
        done = subprocess.run([tmp_path / "nvcc"], check=False, capture_output=True, text=True)
        assert done.returncode == 1
        assert "CUDA 12.8.1" in done.stderr
        assert "images.mirrors.nvidia" in done.stderr

    def test_the_toolkit_is_completed_with_torchs_own_libraries(self, tmp_path, monkeypatch):
        for name in ("cuda/nvidia/cublas/include", "cuda/nvidia/cublas/lib", "toolkit/include", "toolkit/lib"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "cuda/nvidia/cublas/include/cublas_v2.h").touch()
        (tmp_path / "cuda/nvidia/cublas/lib/libcublas.so.12").touch()
        (tmp_path / "toolkit/lib/libcudart.so.13").touch()
        monkeypatch.setattr(install, "CUDA", tmp_path / "cuda")
        monkeypatch.setattr(install, "CUDA_HOME", tmp_path / "toolkit")
        profile = tmp_path / "toolkit/bin/nvcc.profile"
        profile.parent.mkdir()
        profile.write_text('INCLUDES += "-I$(TOP)/include"\n')
        install.complete_toolkit()
        home = tmp_path / "toolkit"
        assert (home / "lib64").readlink() == Path("lib")
        assert (home / "lib64/libcudart.so").readlink() == Path("libcudart.so.13")
        assert (home / "lib/libcublas.so").exists()
        assert (home / "include/cublas_v2.h").exists()
        assert '"-I$(TOP)/include"' in profile.read_text()
        assert '"-isystem" "$(TOP)/include"' in profile.read_text()
