"""Lock files of the images: they match the declared inputs, name no index, and have hashes."""

import re
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from docker.utils.build import exclude_paths

from docker_api.builds import context_files
from images import lock
from images.catalog import CATALOG, FOLDER, ML, Flavour, Image
from images.dockerfile import declared_args, recipe
from images.family import FAMILY
from images.lockfile import parse
from images.variants import VARIANTS, Variant

FLAVOURS: tuple[Flavour, ...] = ("cuda", "cpu")
INDICES: dict[str, Any] = dict.fromkeys(
    ("pypi_index", "pytorch_index", "pyg_index", "nvidia_apt", "npm_registry"), "https://index.test"
)
LOCKS = sorted([*ML.glob("locks/**/*.txt"), *FOLDER.glob("*/requirements.txt")])
ML_IMAGES = [image for image in CATALOG.values() if image.folder == ML]
# It sees the host's processes, and must not be the user of any.
OTHER_USERS = {"system-info-exporter": "65534:65534"}


@pytest.fixture(params=VARIANTS, ids=lambda variant: variant.key)
def variant(request):
    return request.param


@pytest.fixture(params=LOCKS, ids=lambda path: str(path.relative_to(FOLDER)))
def path(request):
    return request.param


class TestLockFile:
    def test_names_no_index(self, path):
        assert not re.search(r"://|index-url", path.read_text())

    def test_every_requirement_is_pinned_and_hashed(self, path):
        pins = parse(path.read_text())
        assert pins
        unhashed = {pin.name for pin in pins.values() if not pin.hashed}
        # PyTorch's own index, which alone has these builds, may not have answered.
        assert unhashed == (pins.keys() if lock.NO_HASHES in path.read_text() else set())
        assert not unhashed or path.stem.endswith("-cpu")

    def test_names_each_package_once(self, path):
        lines = re.findall(r"^(\S+)==", path.read_text(), re.MULTILINE)
        assert len(lines) == len(set(lines)) == len(parse(path.read_text()))

    def test_belongs_to_a_variant_or_a_service(self, path):
        """Left-over locks of a variant that was dropped are dead files."""
        assert any(path in read_by_any_build(image.dockerfile) for image in CATALOG.values())


class TestVariant:
    @pytest.mark.parametrize("flavour", FLAVOURS)
    def test_holds_the_torch_that_it_declares(self, variant, flavour):
        expected = variant.torch if flavour == "cuda" else f"{variant.torch}+cpu"
        assert CATALOG["runtime"].versions(variant, flavour)["torch"] == expected

    def test_cuda_libraries_are_of_its_torch(self, variant):
        toolkit = CATALOG["runtime"].versions(variant)["nvidia-cuda-runtime" + suffix(variant)]
        assert toolkit.startswith(f"{variant.torch_cuda}.")

    def test_cpu_flavour_holds_no_cuda(self, variant):
        pins = CATALOG["marimo-runtime"].versions(variant, "cpu")
        assert [name for name in pins if re.match("nvidia-(?!ml-py)|cuda-|triton$", name)] == []

    @pytest.mark.parametrize("flavour", FLAVOURS)
    @pytest.mark.parametrize("image", ML_IMAGES, ids=lambda image: image.name)
    def test_layers_are_disjoint(self, variant, flavour, image):
        """A package in two layers would be stored twice, and the upper one would win unseen."""
        files = image.lock_files(variant, flavour)
        for one, other in combinations(files, 2):
            assert not parse(one.read_text()).keys() & parse(other.read_text()).keys(), (one, other)

    def test_lean_node_runs_the_versions_of_a_full_node(self, variant):
        """Ray refuses a node of another version, and a task's arguments are unpickled on any node."""
        full = CATALOG["ray-runtime"].versions(variant)
        lean = CATALOG["ray-lean"].versions(variant)
        assert lean.items() <= full.items()
        assert "torch" not in lean

    def test_asked_for_packages_are_locked_as_asked(self, variant):
        pins = CATALOG["marimo-runtime"].versions(variant)
        asked = [item for layer in lock.LAYERS for item in lock.asked_for(layer, variant) if "==" in item]
        for name, version in (item.split("==") for item in asked):
            assert pins[name.partition("[")[0]] == version

    @pytest.mark.parametrize("image", ML_IMAGES, ids=lambda image: image.name)
    def test_every_image_has_what_users_install_with(self, variant, image):
        assert {"pip", "uv"} <= image.versions(variant).keys()

    def test_what_is_built_for_torch_is_of_its_flavour(self, variant):
        """torchvision of another CUDA loads, and fails at its first operator."""
        pins = {flavour: CATALOG["runtime"].versions(variant, flavour) for flavour in FLAVOURS}
        for name in ("torchvision", "torchaudio"):
            assert pins["cpu"][name] == f"{pins['cuda'][name]}+cpu"


class TestFamily:
    def test_every_image_is_locked_for_every_variant(self, variant):
        for image in ML_IMAGES:
            assert all(file.is_file() for file in image.lock_files(variant))

    def test_mlflow_client_and_server_are_the_same_version(self, variant):
        assert CATALOG["ray-runtime"].versions(variant)["mlflow-skinny"] == CATALOG["mlflow"].versions()["mlflow"]

    def test_cuda_layer_does_not_depend_on_python(self):
        files = {(variant.cuda, CATALOG["runtime"].lock_files(variant)[0]) for variant in VARIANTS}
        assert len(files) == len({variant.cuda for variant in VARIANTS})


class TestCatalog:
    @pytest.mark.parametrize("image", CATALOG.values(), ids=CATALOG)
    def test_arguments_are_those_of_the_dockerfile(self, image: Image):
        """All that a Dockerfile declares has a value, and no value is for nothing."""
        declared = set(re.findall(r"^ARG (\w+)", image.dockerfile.read_text(), re.MULTILINE))
        assert declared_args(image.dockerfile) == declared
        offered = {name for variant in VARIANTS for name in image.build_args(base="base", variant=variant, **INDICES)}
        assert declared <= offered
        assert offered <= {name for other in CATALOG.values() for name in declared_args(other.dockerfile)}

    def test_those_made_per_variant_are_those_of_the_ml_dockerfile_and_what_begins_with_one(self):
        assert {image.name for image in CATALOG.values() if image.depends_on_variant} == {
            *FAMILY,
            "ray-lean",
            "devel-ssh",
            "transcription-backend-cuda",
        }

    def test_what_calls_cuda_begins_with_an_image_that_has_it(self):
        (image,) = (image for image in CATALOG.values() if image.cuda)
        assert image.begins_with_parent
        assert CATALOG[str(image.parent)].torch
        assert [variant.cuda for variant in VARIANTS if image.fits(variant)] == ["12.8.1", "12.8.1"]

    @pytest.mark.parametrize("image", CATALOG.values(), ids=CATALOG)
    def test_target_is_a_stage(self, image: Image):
        stages = re.findall(r"^FROM .* AS (\S+)$", image.dockerfile.read_text(), re.MULTILINE)
        assert image.target is None or image.target in stages

    @pytest.mark.parametrize("image", CATALOG.values(), ids=CATALOG)
    def test_context_lets_through_what_the_build_reads_and_nothing_else(self, image: Image):
        rules = image.dockerfile.with_name(f"{image.dockerfile.name}.dockerignore").read_text().splitlines()
        paths = (image.folder / name for name in exclude_paths(str(image.folder), rules))
        sent = {path for path in paths if path.is_file()}
        read = read_by_any_build(image.dockerfile)
        assert sent - {image.dockerfile} == read - {image.dockerfile}

    @pytest.mark.parametrize("image", CATALOG.values(), ids=CATALOG)
    def test_runs_as_the_platforms_user(self, image: Image):
        users = re.findall(r"^USER (.*)$", image.dockerfile.read_text(), re.MULTILINE)
        assert users[-1] == OTHER_USERS.get(image.name, "1000:1000")


def suffix(variant: Variant) -> str:
    """CUDA 12's packages carry the major version in their names, CUDA 13's no longer do."""
    return "-cu12" if variant.cuda.startswith("12.") else ""


def read_by_any_build(dockerfile: Path) -> set[Path]:
    """Return the context files of every image of a Dockerfile in every variant and flavour."""
    cases = product((one for one in CATALOG.values() if one.dockerfile == dockerfile), VARIANTS, FLAVOURS)
    return {file for image, variant, flavour in cases for file in read_by_build(image, variant, flavour)}


def read_by_build(image: Image, variant: Variant, flavour: Flavour) -> set[Path]:
    """Return the context files that one build reads."""
    args = image.build_args(base="base", variant=variant, flavour=flavour)
    files = context_files(image.folder, image.dockerfile)
    return {image.folder / name for name in recipe(image.dockerfile, files, target=image.target, args=args).files}
