"""The ML Dockerfile and its installer: stages as the catalog says, one program per layer, and a list with reasons."""

import re
from pathlib import Path

import pytest

from images.catalog import CATALOG, ML
from images.family import FAMILY
from images.layers import LAYERS
from images.ml import install, trim
from testing.ml_image import SITE

DOCKERFILE = (ML / "Dockerfile").read_text()
TARGETS = (*FAMILY, "ray-lean")
METADATA = {"ARG", "ENV", "LABEL", "USER", "WORKDIR"}
PER_TARGET = ("org.opencontainers.image.title", "org.opencontainers.image.description", "cslr.target", "cslr.lock")
PLAN = trim.read_plan(ML / "prune.toml")


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
        """It would be wrong in every other image on that stage, and a change would rebuild them all."""
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
