"""The matrix stack with its own stack file: the resources that the program registers."""

import re
from itertools import combinations
from typing import Any

import pytest

from components.image_family import family_args, planned_tags, pushed_names
from config.matrix import MatrixSettings
from config.matrix_rules import select
from config.project import version
from embedded_engine.program import ProgramError
from images.family import SERVICES
from stack.sources import Sources
from testing.harness import (
    COMMAND,
    CONTAINER,
    IMAGE,
    MATRIX,
    NETWORK,
    VOLUME,
    Deployed,
    Resource,
    deploy,
    stack_settings,
)

ALONE: dict[str, Any] = {"targets": [], "platforms": ["linux/amd64", "linux/arm64"]}


@pytest.fixture(scope="module")
def state_home(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module", params=[False, True], ids=["up", "preview"])
def family(request, state_home) -> Deployed:
    settings = {**stack_settings("matrix", MATRIX), "services": []}
    return deploy(settings, state_home=state_home, stack="matrix", key=MATRIX, preview=request.param)


def declared(settings: dict[str, Any], state_home) -> dict[str, Resource]:
    """The images of a matrix stack by name."""
    return deploy(settings, state_home=state_home, stack="matrix", key=MATRIX).of_type(IMAGE)


class TestFamily:
    def test_is_18_images_each_declared_once(self, family):
        assert set(family.of_type(IMAGE)) == {wanted.name for wanted in select(MatrixSettings())}
        assert len(family.of_type(IMAGE)) == 18

    def test_has_a_tag_for_each(self, family):
        tags = [image.inputs["imageName"] for image in family.of_type(IMAGE).values()]
        assert len(set(tags)) == 18
        assert sorted(family.outputs["images"].values()) == sorted(tags)

    def test_deploys_nothing(self, family):
        assert {r.type for r in family.custom} <= {IMAGE, COMMAND}
        assert not any(family.of_type(kind) for kind in (CONTAINER, NETWORK, VOLUME))

    def test_reads_no_secret_and_makes_none(self, family):
        assert not (family.state / "generated").exists()

    def test_stands_on_one_base(self, family):
        assert [name for name in family.of_type(COMMAND) if name.startswith("base-")] == ["base-forky"]
        assert all("base-forky" in family.needs(image) for image in family.of_type(IMAGE).values())

    def test_waits_for_the_image_that_it_is_built_on(self, family):
        for wanted in select(MatrixSettings()):
            image = family.of_type(IMAGE)[wanted.name]
            for ancestor in wanted.ancestors:
                assert ancestor.name in family.needs(image)

    def test_is_never_built_more_than_two_at_a_time(self, family):
        """Of any three, one waits for another."""
        needs = {name: family.needs(image) for name, image in family.of_type(IMAGE).items()}
        for three in combinations(needs, 3):
            assert any(one in needs[other] for one in three for other in three)

    def test_keeps_two_builds_going(self, family):
        """Two begin at once, and no image waits for more than the one it is built on and the one two places before."""
        images = family.of_type(IMAGE)
        assert len([name for name in images if not family.needs(images[name]) & set(images)]) == 2
        for image in images.values():
            assert len([urn for urn in image.dependencies if family.resources[urn].type == IMAGE]) <= 2

    def test_is_torch_for_gpus_on_every_host(self, family):
        assert all(image.inputs["build"]["args"]["TORCH"] == "cuda" for image in family.of_type(IMAGE).values())

    def test_is_built_for_the_platform_and_not_pushed(self, family):
        for image in family.of_type(IMAGE).values():
            assert image.inputs["build"]["platform"] == "linux/amd64"
            assert image.inputs["skipPush"] is True

    def test_registers_its_outputs(self, family):
        assert all(component.outputs is not None for component in family.components)


class TestSettings:
    def test_bound_what_is_built_at_the_same_time(self, state_home):
        settings = {"parallel_builds": 1, "targets": ["runtime", "devel"]}
        family = deploy(settings, state_home=state_home, stack="matrix", key=MATRIX)
        needs = {name: family.needs(image) for name, image in family.of_type(IMAGE).items()}
        assert all(one in needs[other] or other in needs[one] for one, other in combinations(needs, 2))

    def test_push_to_the_registry_under_its_name(self, state_home):
        images = declared({"minimal": True, "push": True, "registry": "registry.example.org/cslr"}, state_home)
        for image in images.values():
            assert image.inputs["skipPush"] is False
            assert image.inputs["imageName"].startswith("registry.example.org/cslr/")

    def test_take_layers_over_from_a_registry(self, state_home):
        place = "registry.example.org/cslr"
        images = declared({"minimal": True, "cache_from": place, "registry": place}, state_home)
        for image in images.values():
            assert all(name.startswith(f"{place}/") for name in image.inputs["build"]["cacheFrom"]["images"])

    def test_of_two_platforms_make_two_images_on_two_bases(self, state_home):
        settings = {"targets": ["runtime"], "cuda": ["13.*"], "platforms": ["linux/amd64", "linux/arm64"]}
        family = deploy(settings, state_home=state_home, stack="matrix", key=MATRIX)
        platforms = {name: image.inputs["build"]["platform"] for name, image in family.of_type(IMAGE).items()}
        assert platforms == {
            "runtime-cuda13.1.1-py3.14": "linux/amd64",
            "runtime-cuda13.1.1-py3.14-arm64": "linux/arm64",
        }
        assert {"base-forky", "base-forky-arm64"} <= set(family.of_type(COMMAND))

    def test_that_select_nothing_are_refused(self, state_home):
        with pytest.raises(ProgramError, match=r"cslr:matrix.targets\[0\]: 'redis' selects nothing"):
            deploy({"targets": ["redis"]}, state_home=state_home, stack="matrix", key=MATRIX)

    def test_of_a_platform_beside_them_are_refused(self, state_home):
        with pytest.raises(ProgramError, match="cslr:platform: is in this file beside cslr:matrix"):
            deploy({}, state_home=state_home, key=MATRIX, plain={"platform": '{"gpu": {"enabled": false}}'})


@pytest.fixture(scope="module")
def of_the_file(state_home) -> Deployed:
    return deploy(stack_settings("matrix", MATRIX), state_home=state_home, stack="matrix", key=MATRIX)


class TestServices:
    """Images of services beside the family, or alone."""

    def test_are_all_in_the_projects_own_matrix(self, of_the_file):
        everything = select(MatrixSettings(services=("*",)))
        assert set(of_the_file.of_type(IMAGE)) == {wanted.name for wanted in everything}
        assert set(SERVICES) <= {wanted.image.name for wanted in everything}

    def test_stand_on_their_own_base(self, of_the_file):
        assert {name for name in of_the_file.of_type(COMMAND) if name.startswith("base-")} == {
            "base-forky", "base-trixie"
        }  # fmt: skip
        assert "base-trixie" in of_the_file.needs(of_the_file.of_type(IMAGE)["health"])

    def test_are_tagged_by_content_and_by_the_platforms_version(self, of_the_file):
        content = of_the_file.of_type(IMAGE)["health"].inputs["imageName"]
        assert re.fullmatch(r"cslr/health:[0-9a-f]{12}", content)
        assert f" {content} cslr/health:{version()}" in of_the_file.of_type(COMMAND)["health-tag"].inputs["create"]

    def test_have_the_tags_of_a_stack_that_runs_them(self, of_the_file, state_home):
        stack = deploy(stack_settings("dev"), state_home=state_home)
        run, built = stack.of_type(IMAGE), of_the_file.of_type(IMAGE)
        assert {run[name].inputs["imageName"] for name in ("health", "mlflow", "redis")} == {
            built[name].inputs["imageName"] for name in ("health", "mlflow", "redis")
        }

    def test_of_two_platforms_are_pushed_and_joined_under_one_name(self, state_home):
        settings = {**ALONE, "services": ["health"], "push": True, "registry": "registry.test/lab"}
        stack = deploy(settings, state_home=state_home, stack="matrix", key=MATRIX)
        assert {name: image.inputs["build"]["platform"] for name, image in stack.of_type(IMAGE).items()} == {
            "health": "linux/amd64",
            "health-arm64": "linux/arm64",
        }
        joined = stack.of_type(COMMAND)["health-index"].inputs["create"]
        members = " ".join(f"registry.test/lab/health:{version()}-{name}" for name in ("amd64", "arm64"))
        assert f"index registry.test/lab/health:{version()} {members}" in joined

    def test_have_all_names_under_which_they_are_pushed(self):
        place = "registry.test/lab"
        settings = {**ALONE, "services": ["health"], "push": True, "registry": place}
        sources = Sources(bases="bootstrap", torch="cuda")
        args = family_args(settings, stack_file="Pulumi.matrix.yaml", python="python", choose=lambda *_, **__: sources)
        names = {name.reference: name for name in pushed_names(args)}
        tags = [tag for _, tag in planned_tags(args)]
        readable = [f"{place}/health:{version()}-{processor}" for processor in ("amd64", "arm64")]
        joined = {name.members: name for name in names.values() if name.members}
        assert names.keys() == {*tags, *readable, *(name.reference for name in joined.values())}
        assert joined.keys() == {tuple(tags), tuple(readable)}
        whole = joined[tuple(readable)]
        assert (whole.reference, whole.platforms) == (f"{place}/health:{version()}", "linux/amd64,linux/arm64")
        assert set(whole.resources) == {"health", "health-tag", "health-arm64", "health-arm64-tag", "health-index"}

    def test_take_layers_over_from_the_last_push(self, state_home):
        place = "registry.test/lab"
        settings = {"targets": [], "services": ["health"], "cache_from": place, "registry": place}
        assert declared(settings, state_home)["health"].inputs["build"]["cacheFrom"] == {
            "images": [f"{place}/health:{version()}"]
        }

    def test_that_are_partly_the_same_for_every_processor_build_that_part_for_one(self, state_home):
        stack = deploy(
            {**ALONE, "services": ["transcription-frontend"], "platforms": ["linux/arm64"]},
            state_home=state_home, stack="matrix", key=MATRIX,
        )  # fmt: skip
        (image,) = stack.of_type(IMAGE).values()
        args = image.inputs["build"]["args"]
        assert args["BASE"] == f"{args['BUILD_BASE']}-arm64"
        assert {"base-trixie", "base-trixie-arm64"} <= stack.needs(image)

    def test_of_one_platform_need_no_other_base(self, state_home):
        stack = deploy(
            {**ALONE, "services": ["health"], "platforms": ["linux/arm64"]},
            state_home=state_home, stack="matrix", key=MATRIX,
        )  # fmt: skip
        assert [name for name in stack.of_type(COMMAND) if name.startswith("base-")] == ["base-trixie-arm64"]

    def test_that_begin_with_one_of_the_family_wait_for_it(self, of_the_file):
        images = of_the_file.of_type(IMAGE)
        for key in ("cuda12.8.1-py3.13", "cuda12.8.1-py3.14"):
            image, runtime = images[f"transcription-backend-cuda-{key}"], images[f"runtime-{key}"]
            assert image.inputs["build"]["args"]["BASE"] == runtime.inputs["imageName"]
            assert f"runtime-{key}" in of_the_file.needs(image)
        tag = of_the_file.of_type(COMMAND)["transcription-backend-cuda-cuda12.8.1-py3.13-tag"].inputs["create"]
        assert " cslr/ml:transcription-backend-cuda12.8.1-py3.13" in tag
