"""The ML Dockerfile and its installer: stages as the catalog says, one program per layer, and a list with reasons."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from images.catalog import CATALOG, FAMILY, ML
from images.layers import LAYERS
from images.ml import install, trim

DOCKERFILE = (ML / "Dockerfile").read_text()
TARGETS = (*FAMILY, "ray-lean")
METADATA = {"ARG", "ENV", "LABEL", "USER", "WORKDIR"}
PER_TARGET = ("org.opencontainers.image.title", "org.opencontainers.image.description", "cslr.target", "cslr.lock")
PLAN = trim.read_plan(ML / "prune.toml")
SITE = trim.SITE.replace("python3*", f"python3.{sys.version_info.minor}")


def stages() -> dict[str, tuple[str, list[str]]]:
    """Name of a stage → what it is built on, and its instructions."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, tuple[str, list[str]]] = {}
    for line in filter(str.strip, text.splitlines()):
        begun = re.fullmatch(r"FROM (\S+) AS (\S+)", line)
        if begun:
            found[begun[2]] = (begun[1], [])
        elif found:
            found[list(found)[-1]][1].append(line)
    return found


STAGES = stages()


class TestStages:
    @pytest.mark.parametrize("target", TARGETS)
    def test_every_target_is_a_leaf_of_metadata_only(self, target):
        _, lines = STAGES[target]
        assert {line.split()[0] for line in lines} <= METADATA
        assert target not in {parent for parent, _ in STAGES.values()}

    @pytest.mark.parametrize("target", TARGETS)
    def test_every_target_says_what_it_is(self, target):
        text = "\n".join(STAGES[target][1])
        assert all(f"{label}=" in text for label in PER_TARGET)
        assert f'cslr.target="{target}"' in text

    def test_no_stage_below_carries_a_label_of_a_target(self):
        """It would be a lie in every other image on that stage, and its change a rebuild of them all."""
        for name, (_, lines) in STAGES.items():
            if name not in TARGETS:
                assert not [label for label in PER_TARGET if f"{label}=" in "\n".join(lines)], name

    def test_targets_come_last(self):
        assert set(list(STAGES)[-len(TARGETS) :]) == set(TARGETS)

    @pytest.mark.parametrize("target", FAMILY)
    def test_a_target_is_built_from_the_layers_that_the_catalog_says(self, target):
        image = CATALOG[target]
        arguments = {"TORCH": "cuda", "BELOW_RAY": "toolkit" if "toolkit" in image.layers else "science"}
        chain: list[str] = []
        name = target
        while name in STAGES:
            name, lines = STAGES[name]
            chain = [*re.findall(r"install\.py (\w+)", "\n".join(lines)), *chain]
            name = re.sub(r"\$\{(\w+)\}", lambda found: arguments.get(found[1], found[0]), name)
        assert tuple(chain) == image.layers


class TestSteps:
    def test_layers_are_made_by_the_installer(self):
        """So that an image's history, and a build's steps, carry the names of the layers."""
        made = {
            layer for _, lines in STAGES.values() for line in lines for layer in re.findall(r"install\.py (\w+)$", line)
        }
        assert made == set(LAYERS) == set(install.STEPS)

    def test_no_architecture_is_named(self):
        assert not re.search(r"x86_64|amd64|aarch64|arm64", DOCKERFILE)

    def test_the_builder_of_docker_20_10_understands_it(self):
        lines = [line for _, lines in STAGES.values() for line in lines]
        assert not [line for line in lines if re.search("--link|<<|--network|--parents", line)]
        assert not re.search(r"^# *syntax=", DOCKERFILE, re.MULTILINE)

    def test_a_step_mounts_only_the_lock_files_that_it_installs(self):
        for name, (_, lines) in STAGES.items():
            for line in lines:
                assert not re.search(r"from=lock,(?!source=/[\w-]+\.txt,)", line), name

    def test_every_mount_is_gone_after_the_step(self):
        """A mount point that the builder makes stays in the layer, unless it is on a tmpfs."""
        for _, lines in STAGES.values():
            for line in (line for line in lines if "--mount=type=bind" in line):
                assert line.startswith("RUN --mount=type=tmpfs,target=/tmp ")
                assert all(target.startswith("/tmp") for target in re.findall(r"--mount=\S*target=([^\s,]+)", line))


class TestPruneList:
    @pytest.mark.parametrize("entry", PLAN, ids=lambda entry: f"{entry.kind}-{entry.paths[0]}")
    def test_every_entry_has_a_reason_a_layer_and_paths_of_ours(self, entry):
        assert len(entry.why) > len("tests")
        assert entry.layer in LAYERS
        assert all(path.startswith(("opt/", "usr/")) for path in entry.paths)

    def test_only_strip_has_options_and_always_says_how_far(self):
        for entry in PLAN:
            assert bool(entry.options) == (entry.kind == "strip")

    def test_what_import_torch_needs_is_not_on_it(self):
        kept = f"{SITE}/torch/bin/torch_shm_manager"
        for entry in PLAN:
            assert not any(Path(kept).match(pattern) for pattern in entry.paths), entry

    def test_a_removed_library_that_is_still_linked_to_fails_the_build(self):
        users = {"libcusolverMg.so.12": {"libkept.so"}, "libc.so.6": {"libkept.so"}, "libcuda.so.1": {"libkept.so"}}
        assert trim.missing(users, set(), PLAN) == ["libcusolverMg.so.12, by libkept.so"]

    def test_a_library_that_another_place_provides_is_not_missing(self):
        assert trim.missing({"libnvperf_host.so": {"libx.so"}}, {"libnvperf_host.so"}, PLAN) == []


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
