"""The catalog of images: the family as a table, its layers, build arguments and size budgets."""

import re
import tomllib
from collections.abc import Mapping
from typing import get_args

import pytest

from config.services import PostgresSettings
from images.catalog import CATALOG, ML, POSTGRES
from images.family import FAMILY, PHASES
from images.layers import LAYERS, layer_of
from images.variants import VARIANTS, Variant

GOALS = {  # the most that the images of the family may take, unpacked
    ("ray-runtime", "cuda13.1.1"): 5.9,
    ("ray-runtime", "cuda12.8.1"): 8.4,
    ("marimo-runtime", "cuda13.1.1"): 6.0,
    ("devel", "cuda13.1.1"): 6.0,
}
FAMILY_GOAL = 25.0  # all its layers, each counted once
BASE_SIZE = 0.1
PYG_INDEX = "https://pyg.example/whl"
NVIDIA_APT = "https://cuda.example/debian"


@pytest.fixture(params=VARIANTS, ids=lambda variant: variant.key)
def variant(request):
    return request.param


@pytest.fixture(params=FAMILY)
def image(request):
    return CATALOG[request.param]


@pytest.fixture(scope="module")
def budgets():
    return tomllib.loads((ML / "budgets.toml").read_text())


class TestFamily:
    def test_parents_come_before_what_is_built_on_them(self):
        for position, name in enumerate(FAMILY):
            assert CATALOG[name].parent in (None, *FAMILY[:position])

    def test_every_image_has_its_parents_layers_below_its_own(self, image):
        below = CATALOG[image.parent].layers if image.parent else ()
        assert image.layers[: len(below)] == below

    def test_layers_are_known_and_in_their_order(self, image):
        assert list(image.layers) == [layer for layer in LAYERS if layer in image.layers]

    def test_phases_hold_every_image_once(self):
        assert sorted(name for names in PHASES.values() for name in names) == sorted(FAMILY)

    def test_devel_images_are_those_with_a_toolkit(self, image):
        assert ("toolkit" in image.layers) == image.name.endswith("devel")


class TestArguments:
    def test_without_their_sources_labels_say_none(self, image, variant):
        args = image.build_args(base="base", variant=variant)
        assert args["PYG_LIB"] == "none"
        assert "PYG_INDEX" not in args
        assert "NVIDIA_APT" not in args
        assert (args["NVCC"] == "none") == (variant.nvcc == "nvidia" or not image.name.endswith("devel"))

    def test_pyg_lib_is_the_build_for_this_torch(self, image, variant):
        args = image.build_args(base="base", variant=variant, pyg_index=PYG_INDEX, nvidia_apt=NVIDIA_APT)
        release = "".join(variant.torch.split(".")[:2])
        assert args["PYG_LIB"] == f"{variant.pyg_lib}+pt{release}cu{variant.torch_cuda.replace('.', '')}"
        cpu = image.build_args(base="base", variant=variant, flavour="cpu", pyg_index=PYG_INDEX, nvidia_apt=NVIDIA_APT)
        assert cpu["PYG_LIB"] == f"{variant.pyg_lib}+pt{release}cpu"

    def test_nvidias_packages_are_asked_for_only_where_no_wheel_has_nvcc(self, variant):
        args = CATALOG["devel"].build_args(base="base", variant=variant, pyg_index=PYG_INDEX, nvidia_apt=NVIDIA_APT)
        assert ("NVIDIA_APT" in args) == (variant.nvcc == "nvidia")
        assert variant.cuda.startswith(".".join(args["NVCC"].split(".")[:2]))

    def test_ray_stands_on_the_toolkit_in_devel_images(self, image, variant):
        below = image.build_args(base="base", variant=variant)["BELOW_RAY"]
        assert below == ("toolkit" if image.name.endswith("devel") else "science")

    def test_lock_digest_tells_images_and_variants_apart(self):
        digests = [
            CATALOG[name].build_args(base="base", variant=variant)["LOCK"] for name in FAMILY for variant in VARIANTS
        ]
        # runtime and devel hold the same packages where the toolkit has no lock file.
        assert all(re.fullmatch("[0-9a-f]{12}", digest) for digest in digests)
        assert len(set(digests)) >= 3 * len(VARIANTS)


class TestLayers:
    @pytest.mark.parametrize("layer", LAYERS)
    def test_a_step_names_its_layer(self, layer):
        assert (
            layer_of(f"RUN |1 PYTHON=3.14 /bin/sh -c sh /tmp/installer/run.sh install.py {layer} # buildkit") == layer
        )

    @pytest.mark.parametrize("step", ["RUN /bin/sh -c apt-get update", "COPY install.py /opt", "install.py other"])
    def test_other_steps_are_none_of_ours(self, step):
        assert layer_of(step) is None


class TestBudgets:
    def test_every_image_and_layer_has_one_in_every_variant(self, budgets, image, variant):
        for table in (budgets["image"][image.name], *(budgets["layer"][layer] for layer in image.layers)):
            assert limit(table, variant) > 0

    def test_no_image_may_exceed_the_familys_goal(self, budgets, image, variant):
        goal = GOALS.get((image.name, f"cuda{variant.cuda}"))
        assert goal is None or limit(budgets["image"][image.name], variant) <= goal

    def test_an_image_may_be_larger_than_its_parent(self, budgets, image, variant):
        if image.parent:
            assert limit(budgets["image"][image.name], variant) > limit(budgets["image"][image.parent], variant)

    def test_the_family_together_stays_within_its_goal(self, budgets):
        copies = {}
        for variant in VARIANTS:
            for image in (CATALOG[name] for name in FAMILY):
                for end, layer in enumerate(image.layers, start=1):
                    # A CUDA's libraries are below Python, so its variants share them; all else is a variant's own.
                    whose = variant.cuda if layer == "cuda" else variant.key
                    copies[image.layers[:end], whose] = limit(budgets["layer"][layer], variant)
        assert BASE_SIZE + sum(copies.values()) <= FAMILY_GOAL


def limit(table: Mapping[str, str], variant: Variant) -> float:
    """The bytes, as 10^9, that a variant may take, from the entry of the variant or else of its CUDA."""
    entry = table.get(variant.key) or table[f"cuda{variant.cuda}"]
    return float(entry.removesuffix(" GB"))


def test_each_postgres_that_a_stack_file_may_ask_for_is_there():
    assert set(get_args(PostgresSettings.model_fields["version"].annotation)) == set(POSTGRES)
