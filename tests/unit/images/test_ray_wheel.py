"""The layer with another build of Ray: what is installed, what is refused, and that a change of it is another image."""

from pathlib import Path

import pytest

from docker_api.builds import context_files
from images.catalog import CATALOG, NO_WHEEL, RAY_WHEEL, ray_wheel_image
from images.dockerfile import recipe
from images.ray_wheel.install import problems, requirement

URL = "https://s3.example.org/ray-3.0.0.dev0-cp314-cp314-manylinux2014_x86_64.whl"


def args(wheel: str = URL, sha256: str = "0" * 64, version: str = "3.0.0.dev0") -> dict[str, str]:
    image = ray_wheel_image("ray-wheel", stack="dev", version=version, wheel=wheel, sha256=sha256)
    files = context_files(image.folder, image.dockerfile)
    return dict(
        recipe(image.dockerfile, files, target=None, args=image.build_args(base="b:1"), platform="linux/amd64").args
    )


class TestImage:
    @pytest.mark.parametrize("name", RAY_WHEEL)
    def test_stands_on_one_of_the_family(self, name):
        image = ray_wheel_image(name, stack="dev", version="3", wheel=URL, sha256="0")
        assert image.parent in CATALOG
        assert image.depends_on_variant

    def test_a_downloaded_wheel_is_an_argument_of_the_build(self):
        found = args()
        assert (found["WHEEL_URL"], found["WHEEL_FILE"]) == (URL, NO_WHEEL)

    def test_digest_and_version_are_in_the_labels_and_in_the_tag(self):
        assert args()["WHEEL_SHA256"] == "0" * 64
        assert args(sha256="1" * 64) != args()
        assert args(version="3.0.0.dev1") != args()


class TestInstall:
    def test_the_requirement_has_the_digest(self):
        line = requirement({"WHEEL_SHA256": "ab", "WHEEL_URL": ""}, [Path("/tmp/wheel/ray-3.whl")])
        assert line == "ray @ file:///tmp/wheel/ray-3.whl --hash=sha256:ab\n"
        assert requirement({"WHEEL_SHA256": "ab", "WHEEL_URL": URL}, []) == f"ray @ {URL} --hash=sha256:ab\n"

    def test_one_that_fits_has_no_problem(self):
        assert not list(problems("3.0", "3.0", [("click>=7", "", "8.1", True), ("boto3", "tune", None, False)]))

    @pytest.mark.parametrize(
        ("needs", "said"),
        [
            (("click>=9", "", "8.1", False), "it needs click>=9, and the image has 8.1"),
            (("novel", "default", None, False), "it needs novel, which the image has not"),
            (("pyarrow>=30", "data", "26.0", False), "it needs pyarrow>=30, and the image has 26.0"),
        ],
    )
    def test_what_the_image_cannot_give_it_is_named(self, needs, said):
        assert list(problems("3.0", "3.0", [needs])) == [said]

    def test_another_version_than_asked_for_is_named(self):
        assert list(problems("2.9", "3.0", [])) == ["it is 2.9, not the 3.0 that the stack file says"]
