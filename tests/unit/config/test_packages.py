"""A stack's own packages: their lock, invalid locks, and the images that the program builds with them."""

import json
import subprocess
from dataclasses import replace

import pytest
from docker.utils.build import exclude_paths

from config import packages
from config.load import load
from config.packages import load_lock, lock_name
from config.problems import SettingsError
from docker_api.builds import context_files
from images import packages_lock
from images.catalog import CATALOG, NO_LOCK, PACKAGES, packages_image
from images.dockerfile import declared_args, recipe
from images.layers import layer_of
from images.lockfile import parse
from images.packages import install
from images.packages_lock import PackagesLock, held, held_digest
from images.variants import DEFAULT_VARIANT, VARIANTS
from testing.harness import IMAGE, PROJECT, Deployed, deploy

FILE = "Pulumi.lab.yaml"
HASH = f"--hash=sha256:{'0' * 64}"
ASKED = ("elan-reader>=1", "scipy")
LOCK = PackagesLock(
    pair=DEFAULT_VARIANT.key,
    images=held_digest(DEFAULT_VARIANT),
    asked=ASKED,
    pins=parse(f"elan-reader==1.2 \\\n    {HASH}\nxml-parts==3 \\\n    {HASH}\n"),
    more=parse(f"scipy==1.18.1 \\\n    {HASH}\n"),
)


class TestLock:
    def test_is_read_as_it_was_written(self, tmp_path):
        (tmp_path / "lock.txt").write_text(LOCK.text)
        assert packages_lock.read(tmp_path / "lock.txt") == LOCK

    def test_names_no_index(self):
        assert "://" not in LOCK.text

    def test_digest_is_that_of_what_is_installed(self):
        assert replace(LOCK, asked=("elan-reader",), images="other").digest == LOCK.digest
        assert replace(LOCK, pins={}).digest != LOCK.digest

    def test_versions_are_of_what_was_asked_for(self):
        assert LOCK.versions(DEFAULT_VARIANT) == {"elan-reader": "1.2", "scipy": held(DEFAULT_VARIANT)["scipy"]}

    def test_images_that_hold_other_versions_are_told_apart(self):
        digests = {held_digest(variant) for variant in VARIANTS}
        assert len(digests) == len({variant.torch for variant in VARIANTS})


class TestInstaller:
    def test_an_image_with_torch_gets_the_first_part(self):
        assert set(parse(install.wanted(LOCK.text, without_torch=False))) == {"elan-reader", "xml-parts"}

    def test_one_without_torch_gets_all(self):
        assert set(parse(install.wanted(LOCK.text, without_torch=True))) == {"elan-reader", "xml-parts", "scipy"}

    def test_a_lock_without_packages_installs_nothing(self, monkeypatch, tmp_path):
        monkeypatch.setattr(install, "LOCK", PROJECT / NO_LOCK)
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
        install.install_python({})
        install.install_debian({"APT": ""})

    def test_its_step_names_the_layer(self):
        text = (PROJECT / "packages.Dockerfile").read_text()
        assert layer_of(next(line for line in text.splitlines() if "install.py packages" in line)) == "packages"


class TestImage:
    @pytest.fixture(params=PACKAGES)
    def image(self, request):
        return packages_image(
            request.param, stack="lab", lock_file=None, lock="0123456789ab", packages={"a": "1"}, apt=("ffmpeg", "sox")
        )

    def test_arguments_are_those_of_the_dockerfile(self, image):
        args = image.build_args(
            base="cslr/x:1", variant=DEFAULT_VARIANT, pypi_index="https://mirror.example.org/simple"
        )
        found = recipe(image.dockerfile, context_files(image.folder, image.dockerfile), target=None, args=args)
        assert set(found.args) == declared_args(image.dockerfile)
        assert args["APT"] == "ffmpeg sox"
        assert args["PACKAGES"] == "a==1"
        assert bool(args["WITHOUT_TORCH"]) == (not CATALOG[PACKAGES[image.name]].torch)

    def test_context_is_the_lock_and_the_installer(self, image):
        args = image.build_args(base="cslr/x:1", variant=DEFAULT_VARIANT)
        found = recipe(image.dockerfile, context_files(image.folder, image.dockerfile), target=None, args=args)
        assert set(found.files) == {NO_LOCK, "images/ml/trim.py", "images/packages/install.py"}

    def test_context_takes_no_other_file_of_the_project(self, image, tmp_path):
        for name in ("Pulumi.lab.yaml", "Pulumi.lab.packages.txt", ".git/config", "images/ml/trim.py", "README.md"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        rules = image.dockerfile.with_name("packages.Dockerfile.dockerignore").read_text().splitlines()
        sent = {name for name in exclude_paths(str(tmp_path), rules) if (tmp_path / name).is_file()}
        assert sent == {"Pulumi.lab.packages.txt", "images/ml/trim.py"}

    def test_ignore_file_is_where_both_engines_look(self, image):
        """BuildKit beside the Dockerfile; pulumi-docker at the top of the context, else the whole project is hashed."""
        assert image.dockerfile.parent == image.folder
        assert image.dockerfile.name != "Dockerfile"  # for that one pulumi-docker reads .dockerignore

    def test_is_built_for_docker_20_10(self, image):
        assert not [word for word in ("--link", "<<", "--network", "syntax=") if word in image.dockerfile.read_text()]


class TestRefusal:
    def refusal(self, folder, **settings) -> str:
        images = load({"images": {"packages": list(ASKED), **settings}}, stack_file=FILE)
        with pytest.raises(SettingsError) as caught:
            load_lock(images.images, images.variant, stack_file=FILE, key="cslr:platform", folder=folder)
        return str(caught.value)

    def test_of_no_lock_names_key_file_and_command(self, tmp_path):
        text = self.refusal(tmp_path)
        assert text.startswith("Pulumi.lab.yaml: cslr:platform.images.packages: are not locked")
        assert "Pulumi.lab.packages.txt is missing" in text
        assert "ws packages lock -s lab" in text

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"asked": ("scipy",)}, "elan-reader>=1 is not in it"),
            ({"asked": (*ASKED, "more")}, "more is in it still"),
            ({"pair": "cuda12.8.1-py3.13"}, "for cuda12.8.1-py3.13, and this stack has cuda13.1.1-py3.14"),
            ({"images": "0123456789ab"}, "for earlier images of cuda13.1.1-py3.14"),
        ],
    )
    def test_of_a_lock_for_something_else(self, change, reason, tmp_path):
        (tmp_path / lock_name(FILE)).write_text(replace(LOCK, **change).text)
        text = self.refusal(tmp_path)
        assert reason in text
        assert "ws packages lock -s lab" in text

    def test_of_a_damaged_lock(self, tmp_path):
        (tmp_path / lock_name(FILE)).write_text("<<<<<<< HEAD\n")
        assert "Pulumi.lab.packages.txt is damaged" in self.refusal(tmp_path)

    def test_of_a_lock_in_order_there_is_none(self, tmp_path):
        (tmp_path / lock_name(FILE)).write_text(LOCK.text)
        images = load({"images": {"packages": list(reversed(ASKED))}}, stack_file=FILE)
        lock = load_lock(images.images, images.variant, stack_file=FILE, key="cslr:platform", folder=tmp_path)
        assert lock == LOCK

    @pytest.mark.parametrize(
        ("key", "value", "reason"),
        [
            ("packages", "git+https://example.org/x", "is not a requirement"),
            ("packages", "x @ https://example.org/x.whl", "names an address"),
            ("packages", "-r other.txt", "is not a requirement"),
            ("apt", "ffmpeg; rm -rf /", "is not a valid name for a Debian package"),
            ("apt", "FFmpeg", "is not a valid name for a Debian package"),
        ],
    )
    def test_of_what_is_no_package(self, key, value, reason):
        with pytest.raises(SettingsError, match=reason):
            load({"images": {key: [value]}}, stack_file=FILE)


class TestProgram:
    @pytest.fixture
    def deployed(self, tmp_path, monkeypatch):
        (tmp_path / "Pulumi.lab.packages.txt").write_text(LOCK.text)
        monkeypatch.setattr(packages, "FOLDER", tmp_path)

        def run(*, preview: bool = False, **settings: object) -> Deployed:
            return deploy(settings, state_home=tmp_path / "state", stack="lab", preview=preview)

        return run

    def test_nodes_and_marimo_run_one_image(self, deployed):
        ours = deployed(images={"packages": list(ASKED), "apt": ["ffmpeg"]})
        assert {"packages", "marimo-runtime"} <= set(ours.of_type(IMAGE))
        assert "ray-runtime" not in ours.of_type(IMAGE)
        assert ours.containers["ray-cpu"].inputs["image"] == ours.containers["marimo"].inputs["image"]
        build = ours.of_type(IMAGE)["packages"].inputs["build"]
        assert build["args"]["PACKAGES"].split() == ["elan-reader==1.2", "scipy==1.18.1"]
        assert build["args"]["PACKAGES_LOCK"] == LOCK.digest
        assert build["args"]["APT"] == "ffmpeg"
        assert build["args"]["BASE"] == ours.of_type(IMAGE)["marimo-runtime"].inputs["imageName"]
        assert "marimo-runtime" in ours.needs(ours.of_type(IMAGE)["packages"])

    def test_a_node_without_torch_has_them_on_its_own(self, deployed):
        ours = deployed(images={"packages": list(ASKED)}, ray={"cpu": {"torch": False}})
        images = ours.of_type(IMAGE)
        assert images["packages-lean"].inputs["build"]["args"]["WITHOUT_TORCH"] == "yes"
        assert ours.containers["ray-cpu"].inputs["image"] != ours.containers["marimo"].inputs["image"]

    def test_nothing_else_changes(self, deployed):
        before, after = deployed(), deployed(images={"packages": list(ASKED)})
        changed = {s for s in before.containers if before.containers[s].inputs != after.containers[s].inputs}
        assert changed == {"ray-cpu", "marimo"}

    def test_debian_packages_alone_need_no_lock(self, deployed, tmp_path):
        (tmp_path / "Pulumi.lab.packages.txt").unlink()
        args = deployed(images={"apt": ["ffmpeg"]}).of_type(IMAGE)["packages"].inputs["build"]["args"]
        assert (args["APT"], args["LOCK_FILE"]) == ("ffmpeg", NO_LOCK)

    def test_preview_knows_the_name_of_the_image(self, deployed):
        name = deployed(images={"packages": list(ASKED)}, preview=True).of_type(IMAGE)["packages"].inputs["imageName"]
        assert name == deployed(images={"packages": list(ASKED)}).of_type(IMAGE)["packages"].inputs["imageName"]

    def test_report_is_told_variant_and_budget(self, deployed):
        ours = deployed(images={"packages": list(ASKED)})
        report = next(r for r in ours.resources.values() if r.name == "packages-report")
        spec = json.loads(report.inputs["environment"]["CSLR_BUILD"])
        assert spec["variant"] == "cuda13.1.1-py3.14"
        assert spec["budget"] == "images/packages/budgets.toml"
