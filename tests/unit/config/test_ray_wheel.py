"""`images.ray`: another build of Ray, by a wheel that is for the images and the one that was meant."""

import hashlib
from typing import Any

import pytest

from config.load import load
from config.problems import SettingsError
from config.ray_wheel import check_wheel
from testing.harness import IMAGE, Deployed, deploy
from verification.spec import ENVIRONMENT, VerificationSpec

FILE, KEY = "Pulumi.dev.yaml", "cslr:platform"
NAME = "ray-3.0.0.dev0-cp314-cp314-manylinux2014_x86_64.whl"
CONTENT = b"wheel"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
RAY = {"version": "3.0.0.dev0", "wheel": f"wheels/{NAME}", "sha256": DIGEST}


def images(**changes: str) -> Any:
    return load({"images": {"ray": {**RAY, **changes}}}, stack_file=FILE).images


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / NAME).write_bytes(CONTENT)
    return tmp_path


def refusal(folder: Any, **changes: str) -> str:
    with pytest.raises(SettingsError) as caught:
        check_wheel(images(**changes), stack_file=FILE, key=KEY, folder=folder)
    return str(caught.value)


class TestAccepted:
    def test_a_file_with_that_digest(self, folder):
        check_wheel(images(), stack_file=FILE, key=KEY, folder=folder)

    def test_an_address_which_the_build_holds_to_the_digest(self, tmp_path):
        address = f"https://s3.example.org/ray-wheels/latest/{NAME}"
        check_wheel(images(wheel=address, sha256="0" * 64), stack_file=FILE, key=KEY, folder=tmp_path)

    def test_none_at_all(self, tmp_path):
        check_wheel(load({}, stack_file=FILE).images, stack_file=FILE, key=KEY, folder=tmp_path)


class TestRefused:
    def test_a_file_that_is_not_there(self, tmp_path):
        text = refusal(tmp_path)
        assert "images.ray.wheel: wheels/ray-3.0.0" in text
        assert "cannot be read: No such file" in text

    def test_another_file_of_that_name_with_the_digest_to_set(self, folder):
        text = refusal(folder, sha256="0" * 64)
        assert f"is another file: its digest is {DIGEST}" in text
        assert f"ws set images.ray.sha256 {DIGEST} -s dev" in text

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            (NAME.replace("cp314", "cp313"), "is for cp313, and the images have cp314"),
            (NAME.replace("3.0.0.dev0", "2.61.0"), "is version 2.61.0, not 3.0.0.dev0"),
            (NAME.replace("ray-", "torch-"), "is a wheel of torch"),
            ("ray.whl", "is not the name of a wheel"),
        ],
    )
    def test_one_whose_name_says_that_it_does_not_fit(self, folder, name, said):
        assert said in refusal(folder, wheel=f"wheels/{name}")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("wheel", "/srv/ray.whl"),
            ("wheel", "wheels/../../etc/x.whl"),
            ("wheel", "http://example.org/x.whl"),
            ("wheel", "https://me:secret@example.org/x.whl"),
            ("sha256", "abc"),
        ],
    )
    def test_what_is_neither_a_file_of_the_folder_nor_a_safe_address(self, key, value):
        with pytest.raises(SettingsError, match=rf"images\.ray\.{key}"):
            images(**{key: value})


class TestProgram:
    URL = f"https://s3.example.org/{NAME}"

    @pytest.fixture
    def deployed(self, tmp_path):
        def run(**settings: Any) -> Deployed:
            images = {"ray": {**RAY, "wheel": self.URL}, **settings.pop("images", {})}
            return deploy({"images": images, **settings}, state_home=tmp_path, stack="lab")

        return run

    def test_nodes_and_marimo_share_one_image_with_it_on_the_family(self, deployed):
        ours = deployed()
        build = ours.of_type(IMAGE)["ray-wheel"].inputs["build"]
        assert build["args"]["BASE"] == ours.of_type(IMAGE)["marimo-runtime"].inputs["imageName"]
        assert (build["args"]["WHEEL_URL"], build["args"]["RAY_VERSION"]) == (self.URL, "3.0.0.dev0")
        assert ours.containers["ray-cpu"].inputs["image"] == ours.containers["marimo"].inputs["image"]

    def test_a_node_without_torch_has_it_on_its_own(self, deployed):
        images = deployed(ray={"cpu": {"torch": False}}).of_type(IMAGE)
        assert images["ray-wheel-lean"].inputs["build"]["args"]["BASE"] == images["ray-lean"].inputs["imageName"]

    def test_packages_of_the_stack_stand_on_it(self, deployed):
        images = deployed(images={"apt": ["ffmpeg"]}).of_type(IMAGE)
        assert images["packages"].inputs["build"]["args"]["BASE"] == images["ray-wheel"].inputs["imageName"]

    def test_the_verification_expects_its_version(self, deployed):
        ours = deployed()
        verification = next(
            r for r in ours.resources.values() if r.name == "verification" and "environment" in r.inputs
        )
        spec = VerificationSpec.model_validate_json(verification.inputs["environment"][ENVIRONMENT])
        assert spec.versions.ray == "3.0.0.dev0"
