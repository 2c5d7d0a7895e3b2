"""`image: {source: dockerfile}`: a Dockerfile of the stack's own, checked before anything is changed, and its image."""

import json
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from config.own_dockerfile import LARGEST_CONTEXT, OWNERS, check_dockerfiles
from config.problems import SettingsError
from images.catalog import OWN
from testing.harness import IMAGE, Deployed, deploy
from verification.spec import ENVIRONMENT, ExpectedVersions, VerificationSpec

FILE, KEY = "Pulumi.dev.yaml", "cslr:platform"
PATH = "docker/mine/Dockerfile"
GOOD = """\
ARG BASE
FROM debian:trixie AS elsewhere
FROM ${BASE} AS tools
USER 0:0
RUN make-tools
FROM $BASE AS runtime
USER root
COPY --from=tools --chmod=755 /tools /opt/tools
USER 1000:1000
FROM runtime AS as-root
USER 0
FROM tools AS inherited
RUN more
FROM inherited AS user-again
USER cslr
"""
HERE = Path(__file__).parent.relative_to(Path(__file__).parents[3]) / "own_dockerfile" / "Dockerfile"


def settings(**image: Any) -> Any:
    image = {"source": "dockerfile", "path": PATH, **image}
    return load({"ray": {"cpu": {"image": image}}, "marimo": {"enabled": False}}, stack_file=FILE)


def check(folder: Path, **image: Any) -> None:
    check_dockerfiles(settings(**image), stack_file=FILE, key=KEY, folder=folder)


def refusal(folder: Path, **image: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        check(folder, **image)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a Dockerfile of its own."""
    write(tmp_path, GOOD)
    return tmp_path


def write(folder: Path, text: str, name: str = PATH) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class TestAccepted:
    @pytest.mark.parametrize("target", ["runtime", "RUNTIME", "user-again", None])
    def test_a_stage_on_the_platforms_image_that_does_not_end_as_root(self, folder, target):
        check(folder, target=target)

    def test_one_with_a_stage_called_base_on_another_image(self, folder):
        write(
            folder,
            "ARG BASE\nFROM debian:trixie AS base\nUSER 0\nFROM ${BASE} AS runtime\nCOPY --from=base /bin/sed /opt\n",
        )
        check(folder, target="runtime")

    def test_one_for_the_notebooks_of_people(self, folder):
        image = {"source": "dockerfile", "path": PATH, "target": "runtime"}
        people = {"marimo": {"users": ["ann", "ben"], "image": image}}
        check_dockerfiles(load(people, stack_file=FILE), stack_file=FILE, key=KEY, folder=folder)
        write(folder, "FROM debian:trixie")
        with pytest.raises(SettingsError, match=r"marimo\.image") as caught:
            check_dockerfiles(load(people, stack_file=FILE), stack_file=FILE, key=KEY, folder=folder)
        assert len(caught.value.problems) == 1

    def test_a_stack_without_one_reads_no_file(self, tmp_path):
        check_dockerfiles(load({}, stack_file=FILE), stack_file=FILE, key=KEY, folder=tmp_path)

    def test_that_of_a_service_which_does_not_run(self, tmp_path):
        image = {"source": "dockerfile", "path": PATH}
        check_dockerfiles(
            load({"marimo": {"enabled": False, "image": image}}, stack_file=FILE),
            stack_file=FILE, key=KEY, folder=tmp_path,
        )  # fmt: skip

    def test_a_large_folder_of_which_the_ignore_file_leaves_out_the_rest(self, folder):
        with (folder / "docker/mine/corpus").open("wb") as file:
            file.truncate(LARGEST_CONTEXT + 1)
        assert "has 1.0 GB in its folder" in refusal(folder)
        (folder / "docker/mine/link").symlink_to("/etc/hostname")
        for name in ("Dockerfile.dockerignore", ".dockerignore"):
            ignore = folder / "docker/mine" / name
            ignore.write_text("corpus\nlink\n")
            check(folder)
            ignore.unlink()


class TestRefused:
    """Each with the key, the reason and a command, and before Docker is asked anything."""

    def test_one_that_is_not_there(self, tmp_path):
        text = refusal(tmp_path)
        assert text.startswith(f"{FILE}: {KEY}.ray.cpu.image.path: {PATH} cannot be read: No such file or directory.\n")
        assert "ws set ray.cpu.image.source build -s dev" in text

    def test_a_folder(self, tmp_path):
        (tmp_path / PATH).mkdir(parents=True)
        assert f"{PATH} is no file" in refusal(tmp_path)

    def test_a_link_that_leads_out_of_the_project_or_nowhere(self, tmp_path):
        outside, project = write(tmp_path, GOOD, "outside/Dockerfile"), tmp_path / "project"
        (project / "docker/mine").mkdir(parents=True)
        (project / PATH).symlink_to(outside)
        assert f"leads to {outside}, outside the project" in refusal(project)
        (project / PATH).unlink()
        (project / PATH).symlink_to(project / PATH)
        assert "cannot be read" in refusal(project)
        (project / PATH).unlink()
        (project / "docker/mine").rmdir()
        (project / "docker/mine").symlink_to(outside.parent)
        assert "outside the project" in refusal(project)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("FROM debian:trixie\n", "builds on debian:trixie, not on the platform's image"),
            ("ARG BASE\nFROM --platform=linux/amd64 python:3.14 AS x\n", "builds on python:3.14, not on the"),
            ("ARG BASE\nFROM ${BASE}-slim\n", "builds on ${BASE}-slim, not on the"),
            ("FROM ${BASE}\n", "line 1: ${BASE} has no value"),
            ("ARG BASE\nFROM ${BASE}\nUSER root\n", "ends as user root"),
            ("ARG BASE\nFROM ${BASE} AS a\nUSER 0:0\nFROM a\nRUN x\n", "ends as user root"),
            ("ARG BASE\nFROM ${BASE}\nRUN <<EOF\nx\nEOF\n", "line 3: a heredoc (<<) is not understood"),
            ("", "line 1: there is no FROM"),
        ],
    )
    def test_one_that_is_not_on_the_platforms_image_ends_as_root_or_is_not_understood(self, tmp_path, text, said):
        write(tmp_path, text)
        found = refusal(tmp_path)
        assert f"{KEY}.ray.cpu.image.path: {PATH}" in found
        assert said in found
        assert len([line for line in found.splitlines() if line.startswith(FILE)]) == 1

    @pytest.mark.parametrize(
        "user", ["root", "root:root", "root:1000", "0", "00", "000", "+0", "-0", "0:0", "00:1000", '"root"', "'0'"]
    )
    def test_one_that_ends_as_root_in_any_spelling(self, tmp_path, user):
        write(tmp_path, f"ARG BASE\nFROM ${{BASE}}\nUSER {user}\n")
        assert "ends as user root" in refusal(tmp_path)

    @pytest.mark.parametrize("user", ["1000:0", "0x", "rooted", "100", "1000:1000"])
    def test_none_that_ends_as_a_user_that_looks_like_root(self, tmp_path, user):
        write(tmp_path, f"ARG BASE\nFROM ${{BASE}}\nUSER {user}\n")
        check(tmp_path)

    @pytest.mark.parametrize(
        ("target", "said"), [("elsewhere", "builds on debian:trixie"), ("as-root", "ends as user root"),
                             ("inherited", "ends as user root")],
    )  # fmt: skip
    def test_a_stage_that_is_not(self, folder, target, said):
        assert said in refusal(folder, target=target)

    def test_a_stage_that_it_does_not_have(self, folder):
        text = refusal(folder, target="runtme")
        assert f"{KEY}.ray.cpu.image.target: {PATH} has no stage runtme, only elsewhere, tools, runtime," in text
        assert "ws unset ray.cpu.image.target -s dev" in text

    def test_no_text(self, tmp_path):
        write(tmp_path, "").write_bytes(b"ARG BASE\nFROM \xff\n")
        assert "line 2: this is not UTF-8" in refusal(tmp_path)

    def test_a_link_in_its_folder(self, folder):
        (folder / "docker/mine/hosts").symlink_to("/etc/hosts")
        assert "has the link hosts in its folder" in refusal(folder)


class TestKeys:
    @pytest.mark.parametrize(
        "path",
        ["/etc/Dockerfile", "../Dockerfile", "docker/../../Dockerfile", "Dockerfile", "docker/ mine/x", "a//b", "./a"],
    )
    def test_a_path_leads_to_a_folder_of_the_project(self, path):
        with pytest.raises(SettingsError, match=r"ray\.cpu\.image\.path: .* is not the path of a Dockerfile"):
            settings(path=path)

    def test_a_stage_has_a_name(self):
        with pytest.raises(SettingsError, match=r"ray\.cpu\.image\.target: .* is not the name of a stage"):
            settings(target="--x")

    def test_other_services_have_none(self):
        with pytest.raises(SettingsError, match=r"redis\.image\.source: 'dockerfile' must be 'build' or 'pull'"):
            load({"redis": {"image": {"source": "dockerfile"}}}, stack_file=FILE)

    def test_one_that_is_not_named(self):
        with pytest.raises(SettingsError) as caught:
            load({"marimo": {"image": {"source": "dockerfile"}}}, stack_file=FILE)
        assert "marimo.image.path: is missing, but the image of marimo is to be built" in str(caught.value)
        assert "ws set marimo.image.source build -s dev" in str(caught.value)

    @pytest.mark.parametrize("part", ["path", "target"])
    def test_one_that_would_be_ignored(self, part):
        image = {part: {"path": PATH, "target": "runtime"}[part]}
        with pytest.raises(
            SettingsError, match=rf"marimo\.image\.{part}: .* would be ignored, since image\.source is b"
        ):
            load({"marimo": {"image": image}}, stack_file=FILE)

    def test_a_reference_beside_it_would_be_ignored(self):
        with pytest.raises(SettingsError, match=r"image\.reference: x:1 would be ignored"):
            settings(reference="x:1")

    def test_each_owner_has_a_name_for_its_image(self):
        assert set(OWNERS) == set(OWN)


class TestProgram:
    """With the Dockerfile beside this test, since a build's paths are the project's."""

    OWN_IMAGE = {"source": "dockerfile", "path": str(HERE), "target": "runtime"}  # noqa: RUF012

    @pytest.fixture
    def deployed(self, tmp_path):
        def run(*, preview: bool = False, **settings: Any) -> Deployed:
            return deploy(settings, state_home=tmp_path, stack="lab", preview=preview)

        return run

    def test_is_built_on_the_image_that_the_service_would_run(self, deployed):
        ours = deployed(ray={"cpu": {"image": self.OWN_IMAGE}})
        build = ours.of_type(IMAGE)["own-ray-cpu"].inputs["build"]
        assert build["args"] == {"BASE": ours.of_type(IMAGE)["marimo-runtime"].inputs["imageName"]}
        assert (build["context"], build["dockerfile"], build["target"]) == (str(HERE.parent), str(HERE), "runtime")
        assert "marimo-runtime" in ours.needs(ours.of_type(IMAGE)["own-ray-cpu"])
        assert ours.containers["ray-cpu"].inputs["image"] != ours.containers["marimo"].inputs["image"]

    def test_nodes_and_marimo_with_the_same_one_share_an_image(self, deployed):
        ours = deployed(ray={"cpu": {"image": self.OWN_IMAGE}}, marimo={"image": self.OWN_IMAGE})
        assert [name for name in ours.of_type(IMAGE) if name.startswith("own")] == ["own-ray-cpu"]
        assert ours.containers["ray-cpu"].inputs["image"] == ours.containers["marimo"].inputs["image"]

    def test_a_node_without_torch_has_it_on_the_lean_image(self, deployed):
        ours = deployed(ray={"cpu": {"image": self.OWN_IMAGE, "torch": False}}, marimo={"image": self.OWN_IMAGE})
        images = ours.of_type(IMAGE)
        assert images["own-ray-cpu"].inputs["build"]["args"]["BASE"] == images["ray-lean"].inputs["imageName"]
        assert images["own-marimo"].inputs["build"]["args"]["BASE"] == images["marimo-runtime"].inputs["imageName"]

    def test_packages_of_the_stack_are_below_it(self, deployed):
        images = deployed(marimo={"image": self.OWN_IMAGE}, images={"apt": ["ffmpeg"]}).of_type(IMAGE)
        assert images["own-marimo"].inputs["build"]["args"]["BASE"] == images["packages"].inputs["imageName"]

    def test_preview_knows_its_name(self, deployed):
        names = {
            deployed(marimo={"image": self.OWN_IMAGE}, preview=preview).of_type(IMAGE)["own-marimo"].inputs["imageName"]
            for preview in (True, False)
        }
        (name,) = names
        assert name.startswith("cslr/own-marimo:cuda13.1.1-py3.14-")

    def test_nothing_else_changes(self, deployed):
        before, after = deployed(), deployed(marimo={"image": self.OWN_IMAGE})
        assert {s for s in before.containers if before.containers[s].inputs != after.containers[s].inputs} == {"marimo"}

    def test_the_report_is_told_its_limit_and_what_the_key_is(self, deployed):
        ours = deployed(marimo={"image": {**self.OWN_IMAGE, "size_limit": "2g"}})
        spec = json.loads(
            next(r for r in ours.resources.values() if r.name == "own-marimo-report").inputs["environment"][
                "CSLR_BUILD"
            ]
        )
        assert (spec["limit"], spec["limit_key"], spec["budget"]) == (str(2 * 2**30), "marimo.image.size_limit", None)

    def test_the_verification_holds_it_to_ray_and_python(self, deployed):
        def versions(ours: Deployed) -> ExpectedVersions:
            found = next(r for r in ours.resources.values() if r.name == "verification" and "environment" in r.inputs)
            return VerificationSpec.model_validate_json(found.inputs["environment"][ENVIRONMENT]).versions

        usual, own = versions(deployed()), versions(deployed(ray={"cpu": {"image": self.OWN_IMAGE}}))
        assert own == ExpectedVersions(ray=usual.ray, python=usual.python)
        assert usual.torch

    def test_one_that_is_gone_stops_the_program(self, deployed):
        with pytest.raises(Exception, match="cannot be read: No such file"):
            deployed(marimo={"image": {**self.OWN_IMAGE, "path": "docker/none/Dockerfile"}})
