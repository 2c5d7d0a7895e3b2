"""Tags of built images: which changes give an image a new tag, readable tags, and names of indexes."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from components.image import ImageVariantArgs, readable_tag_of, tag_of
from components.image_index import index_members
from images.catalog import CATALOG, Image
from images.family import FAMILY
from images.variants import VARIANTS


@dataclass
class Base:
    tag: str = "cslr/base:forky-1"


def args(name: str, image: Image | None = None, **changes) -> ImageVariantArgs:
    known = ImageVariantArgs(
        image=image or CATALOG[name], base=Base(), variant=VARIANTS[0], flavour="cuda", python="python3"
    )
    return replace(known, **changes)


@pytest.fixture
def checkout(tmp_path: Path) -> dict[str, Image]:
    """The catalog on a copy of the images' folder, to be edited."""
    shutil.copytree(CATALOG["runtime"].folder, tmp_path / "ml")
    return {name: replace(image, folder=tmp_path / "ml") for name, image in CATALOG.items() if image.torch}


def retagged(checkout: dict[str, Image], path: str, old: str, new: str) -> set[str]:
    """The images whose tags change with an edit of a file."""
    before = {name: tag_of(args(name, image)) for name, image in checkout.items()}
    file = checkout["runtime"].folder / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return {name for name, image in checkout.items() if tag_of(args(name, image)) != before[name]}


DEVEL = {"devel", "ray-devel", "marimo-devel"}
RAY = {"ray-runtime", "marimo-runtime", "ray-devel", "marimo-devel"}


class TestContentOfTheTag:
    def test_another_compiler_leaves_the_runtime_images_alone(self, checkout):
        assert retagged(checkout, "Dockerfile", " gdb ", " valgrind ") == DEVEL

    def test_another_ray_leaves_images_without_it_alone(self, checkout):
        assert retagged(checkout, f"locks/{VARIANTS[0].key}/ray.txt", "ray==", "ray== ") == RAY

    def test_another_marimo_retags_the_images_with_it(self, checkout):
        lock = f"locks/{VARIANTS[0].key}/marimo.txt"
        assert retagged(checkout, lock, "marimo==", "marimo== ") == {"marimo-runtime", "marimo-devel"}

    def test_another_torch_retags_all(self, checkout):
        assert retagged(checkout, f"locks/{VARIANTS[0].key}/torch.txt", "\n", "\n\n") == set(FAMILY)

    def test_lock_of_another_variant_retags_none(self, checkout):
        assert retagged(checkout, f"locks/{VARIANTS[1].key}/torch.txt", "\n", "\n\n") == set()

    def test_title_of_one_image_retags_it_alone(self, checkout):
        assert retagged(checkout, "Dockerfile", '"cslr ray-runtime"', '"ray-runtime"') == {"ray-runtime"}

    def test_comment_retags_none(self, checkout):
        assert retagged(checkout, "Dockerfile", "# The targets", "# All targets") == set()

    def test_index_that_only_devel_reads_retags_devel_alone(self):
        twelve = next(variant for variant in VARIANTS if variant.nvcc == "nvidia")
        for name in FAMILY:
            tags = {tag_of(args(name, variant=twelve, nvidia_apt=url)) for url in ("https://a.test", "https://b.test")}
            assert len(tags) == (2 if name in DEVEL else 1), name

    @pytest.mark.parametrize(
        "change",
        [
            {"base": Base("cslr/base:forky-2")},
            {"variant": VARIANTS[1]},
            {"flavour": "cpu"},
            {"platform": "linux/arm64"},
            {"pypi_index": "https://index.test"},
            {"registry": "registry.test/team"},
        ],
    )
    def test_whatever_goes_in_changes_the_tag(self, change):
        assert tag_of(args("runtime", **change)) != tag_of(args("runtime"))

    @pytest.mark.parametrize("change", [{"push": True}, {"cache_from": ["registry.test/team"]}, {"in_index": True}])
    def test_how_it_is_built_does_not(self, change):
        known = args("runtime", registry="registry.test/team")
        assert tag_of(replace(known, **change)) == tag_of(known)


class TestNames:
    def test_tag_tells_image_variant_and_content(self):
        key = VARIANTS[0].key
        assert tag_of(args("runtime")).startswith(f"cslr/runtime:{key}-")
        assert tag_of(args("runtime", flavour="cpu")).startswith(f"cslr/runtime:{key}-cpu-")
        assert tag_of(args("runtime", platform="linux/arm64")).endswith("-arm64")
        assert tag_of(args("redis", registry="registry.test/team")).startswith("registry.test/team/redis:")

    def test_readable_tag_tells_target_and_variant(self):
        key = VARIANTS[0].key
        assert readable_tag_of(args("ray-devel")) == f"cslr/ml:ray-devel-{key}"
        assert readable_tag_of(args("runtime", flavour="cpu")) == f"cslr/ml:runtime-{key}-cpu"
        assert readable_tag_of(args("runtime", platform="linux/arm64")) == f"cslr/ml:runtime-{key}-arm64"
        assert readable_tag_of(args("runtime", in_index=True)) == f"cslr/ml:runtime-{key}-amd64"

    def test_service_has_no_readable_tag(self):
        """There is one of each, so that its content is all that its tags would tell."""
        assert readable_tag_of(args("redis")) is None

    def test_index_has_the_names_without_platform(self):
        several = [
            args("runtime", platform=platform, in_index=True, registry="registry.test/team")
            for platform in ("linux/amd64", "linux/arm64")
        ]
        members = index_members(several)
        by_content, readable = members
        assert readable == f"registry.test/team/ml:runtime-{VARIANTS[0].key}"
        assert members[readable] == [f"{readable}-amd64", f"{readable}-arm64"]
        assert members[by_content] == [tag_of(image) for image in several]
        assert by_content.startswith(f"registry.test/team/runtime:{VARIANTS[0].key}-")
        assert by_content not in members[by_content]

    def test_index_of_a_service_is_named_by_content_alone(self):
        (name,) = index_members([args("redis"), args("redis", platform="linux/arm64")])
        assert name.startswith("cslr/redis:")
