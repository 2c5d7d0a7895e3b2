"""`ws matrix --prune` removes only unused images of this project."""

import time
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build_report.contents import LABEL
from config.stack_file import stacks
from stack import base_age
from testing.harness import PROJECT
from testing.stack_files import read_stack_config
from ws import cli, running
from ws.matrix import prune
from ws.matrix.prune import (
    TARGET_LABEL,
    TITLE_LABEL,
    Old,
    look,
    old_records,
    old_references,
    own_repositories,
    remove,
    wanted_tags,
)

OLD, NEW = (f"cslr/runtime:cuda13.1.1-py3.14-{digest}" for digest in ("0123456789ab", "ba9876543210"))
WANTED = frozenset({NEW, "cslr/base:forky-ba9876543210", "registry.example.org/lab/ml:runtime-x"})
OTHERS = (
    "redis:8",
    "someone/runtime:1",
    "cslr/unknown:1",
    "example.org/lab/runtime:1",
    "cslr/runtime/sub:1",
    "registry.example.org/lab/redis:8",
    "cslr/runtime:latest",
    "busybox",
)


def record(identifier: str, description: str, **facts: Any) -> dict[str, Any]:
    return {"ID": identifier, "Description": description, "InUse": False, "Shared": False, "Size": 10, **facts}


def old(*tags: str, labelled: bool = False, wanted: frozenset[str] = WANTED) -> tuple[str, ...]:
    """What of an image is old."""
    found = {"Id": "sha256:1", "RepoTags": list(tags), "Labels": {TARGET_LABEL: "runtime"} if labelled else None}
    return old_references(found, own_repositories(wanted), wanted)


class TestImage:
    @pytest.mark.parametrize(
        "tag",
        [
            OLD,
            "cslr/redis:0123456789ab",
            "cslr/base:forky-0123456789ab",
            "cslr/runtime:cuda13.1.1-py3.14-0123456789ab-arm64",
            "registry.example.org/lab/ml:devel-y",
            "registry.example.org/lab/devel:cuda13.1.1-py3.14-0123456789ab",
        ],
    )
    def test_of_this_project_that_nobody_wants_is_old(self, tag):
        assert old(tag) == (tag,)

    @pytest.mark.parametrize("tag", sorted(tag for tag in WANTED if "/ml:" not in tag))
    def test_that_is_wanted_is_not(self, tag):
        assert old(tag, labelled=True) == ()

    def test_keeps_its_readable_name_only_with_a_content_that_is_wanted(self):
        readable = "registry.example.org/lab/ml:runtime-x"
        assert old(readable, NEW) == ()
        assert old(readable, OLD) == (readable, OLD)

    @pytest.mark.parametrize("tag", OTHERS)
    def test_under_a_name_of_others_is_not_even_with_our_label(self, tag):
        assert old(tag, labelled=True) == ()

    def test_where_no_stack_file_names_its_images_is_not(self):
        elsewhere = NEW.replace("cslr", "registry.example.org/lab")
        assert old(OLD, wanted=frozenset({elsewhere, "cslr/base:forky-ba9876543210"})) == ()

    def test_loses_only_the_tags_that_are_ours(self):
        assert old("mine/kept:1", OLD) == (OLD,)

    @pytest.mark.parametrize("tags", [[], ["<none>:<none>"]])
    def test_without_any_tag_is_old_if_its_label_is_ours(self, tags):
        assert old(*tags, labelled=True) == ("sha256:1",)
        assert old(*tags) == ()

    @given(st.lists(st.sampled_from([*OTHERS, NEW]), min_size=1), st.booleans())
    def test_is_never_old_for_tags_of_others_and_wanted_ones(self, tags, labelled):
        assert old(*tags, labelled=labelled) == ()


class TestImageOfAService:
    CONTENT = "cslr/health:0123456789ab"
    WANTED = frozenset({CONTENT, "cslr/health:0.2.0"})

    def old(self, *tags: str, title: str = "cslr health", wanted: frozenset[str] = WANTED) -> tuple[str, ...]:
        found = {"Id": "sha256:1", "RepoTags": list(tags), "Labels": {TITLE_LABEL: title}}
        return old_references(found, own_repositories(wanted), wanted)

    def test_keeps_the_names_that_a_stack_gives_it(self):
        assert self.old(self.CONTENT, "cslr/health:0.2.0") == ()

    def test_loses_the_names_of_another_version_or_commit(self):
        assert self.old(self.CONTENT, "cslr/health:0.1.0", "cslr/health:43e9059") == (
            "cslr/health:0.1.0",
            "cslr/health:43e9059",
        )

    def test_loses_its_name_with_a_content_that_nobody_wants(self):
        former = "cslr/health:ba9876543210"
        assert self.old(former, "cslr/health:0.2.0") == (former, "cslr/health:0.2.0")

    @pytest.mark.parametrize(
        ("tag", "title"),
        [("cslr/redis:8", "cslr health"), ("cslr/redis:8", ""), ("registry.example.org/lab/health:1", "cslr health")],
    )
    def test_that_others_made_or_named_is_not_old(self, tag, title):
        assert self.old(tag, title=title) == ()


class TestBuildCache:
    STEPS = (
        "[torch 2/3] RUN --mount=type=tmpfs,target=/tmp --mount=type=bind,from=x,target=/y   install.py   torch 2.13",
    )

    def test_of_our_steps_is_old(self):
        ours = record("a", "mount / from exec /bin/sh -c install.py torch 2.13")
        mounted = record("b", "cached mount /root/.cache from exec /bin/sh -c install.py   torch 2.13")
        assert [found["ID"] for found in old_records([ours, mounted], self.STEPS)] == ["a", "b"]

    def test_is_recognised_by_variables_too_which_steps_show_with_their_value(self):
        ours = record("a", "mount / from exec /bin/sh -c install.py torch ${TORCH_VERSION}")
        assert old_records([ours], self.STEPS) == [ours]

    @pytest.mark.parametrize(
        "description",
        [
            "mount / from exec /bin/sh -c make",
            "mount / from exec /bin/sh -c $ANYTHING && make",
            "mount / from exec /bin/sh -c $ANYTHING",
            "pulled from docker.io/library/redis",
            "http url http://build-context-1",
            "fileop target",
        ],
    )
    def test_of_others_is_not(self, description):
        assert old_records([record("a", description)], self.STEPS) == []

    @pytest.mark.parametrize("fact", ["InUse", "Shared"])
    def test_that_an_image_or_a_build_uses_is_not(self, fact):
        ours = record("a", "mount / from exec /bin/sh -c install.py torch 2.13", **{fact: True})
        assert old_records([ours], self.STEPS) == []


class Host:
    """An Engine with these images and containers."""

    def __init__(
        self, images: list[dict[str, Any]], used: list[str], others: list[dict[str, Any]] | None = None
    ) -> None:
        self.images, self.used, self.others = images, used, others or []
        self.calls: list[tuple[str, str]] = []

    def call(self, method: str, path: str, **_: Any) -> Any:
        self.calls.append((method, path))
        answers = {
            "/system/df": {"Images": self.images, "BuildCache": None},
            "/containers/json": [container(identifier) for identifier in self.used] + self.others,
        }
        return answers.get(path)


def container(image: str, age: float = 1e6, **labels: str) -> dict[str, Any]:
    return {"Id": f"c{image}", "ImageID": image, "Created": int(time.time() - age), "Labels": labels or None}


def image(identifier: str, *tags: str) -> dict[str, Any]:
    return {"Id": identifier, "RepoTags": list(tags), "Labels": None, "Size": 100, "SharedSize": 60}


class TestLook:
    def test_leaves_out_what_a_container_uses(self):
        host: Any = Host([image("1", OLD), image("2", "cslr/health:0123456789ab")], used=["1"])
        assert look(host, WANTED, ()) == Old(images=("cslr/health:0123456789ab",), size=40)

    @pytest.mark.parametrize(("age", "forgotten"), [(3600.0, True), (60.0, False)])
    def test_holds_no_image_for_a_build_report_that_was_killed(self, age, forgotten):
        left: Any = container("1", age, **LABEL)
        host: Any = Host([image("1", OLD)], used=[], others=[left])
        found = look(host, WANTED, ())
        assert (found.images, found.containers) == (((OLD,), ("c1",)) if forgotten else ((), ()))
        assert remove(host, found) == []
        expected = [("DELETE", "/containers/c1"), ("DELETE", f"/images/{OLD}")] if forgotten else []
        assert [call for call in host.calls if call[0] == "DELETE"] == expected

    def test_counts_only_what_goes_with_its_last_tag(self):
        host: Any = Host([image("1", OLD, "mine/kept:1")], used=[])
        assert look(host, WANTED, ()) == Old(images=(OLD,), size=0)

    def test_counts_what_has_lost_all_tags(self):
        untagged = {**image("sha256:1", "<none>:<none>"), "Labels": {TARGET_LABEL: "runtime"}}
        host: Any = Host([untagged], used=[])
        assert look(host, WANTED, ()) == Old(images=("sha256:1",), size=40)

    def test_removes_by_tag_and_never_by_force(self):
        host: Any = Host([], used=[])
        assert remove(host, Old(images=(OLD,))) == []
        assert host.calls == [("DELETE", f"/images/{OLD}")]


class TestWanted:
    @pytest.fixture(autouse=True)
    def state(self, monkeypatch, tmp_path):
        """An empty state folder, and a network with everything."""
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setattr("stack.sources.reachable", lambda _url, **_: True)
        return tmp_path

    def test_are_the_images_of_every_stack_file(self):
        tags = wanted_tags(read_stack_config(PROJECT, stack) for stack in ("dev", "gpu", "matrix"))
        repositories = {tag.partition(":")[0] for tag in tags}
        assert {"cslr/redis", "cslr/postgres", "cslr/mlflow", "cslr/health", "cslr/base", "cslr/ml"} <= repositories
        assert len({tag for tag in tags if tag.startswith("cslr/runtime:")}) == 3
        assert set(stacks(PROJECT)) >= {"dev", "gpu", "matrix"}

    def test_are_the_bases_and_readable_names_of_what_options_select_for_this_run(self):
        file = read_stack_config(PROJECT, "matrix")
        run = file.laid_over({"cslr:matrix": {"targets": ["runtime"], "platforms": ["linux/arm64"], "registry": "r"}})
        added = wanted_tags([file, run]) - wanted_tags([file])
        assert {tag.partition(":")[0] for tag in added} == {"cslr/base", "r/ml", "r/runtime"}
        assert all(tag.endswith("-arm64") for tag in added)

    def test_are_asked_for_without_making_anything(self, state):
        wanted_tags([read_stack_config(PROJECT, "matrix")])
        assert list(state.iterdir()) == []


class TestWithoutBuilding:
    """As the alerts DiskLow and BaseImageOld advise."""

    @pytest.fixture
    def removed(self, monkeypatch, tmp_path) -> list[Old]:
        """What was removed. Neither a plan nor a build is possible."""
        removed: list[Old] = []

        def remove(_api: object, old: Old) -> list[str]:
            removed.append(old)
            return []

        def fail(*_: object, **__: object) -> NoReturn:
            raise AssertionError

        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
        monkeypatch.setattr("docker_api.api.DockerApi", lambda: None)
        monkeypatch.setattr(prune, "wanted_tags", lambda configs: {str(len(list(configs)))})
        monkeypatch.setattr(prune, "look", lambda *_: Old(images=("cslr/runtime:old",)))
        monkeypatch.setattr(prune, "remove", remove)
        for name in ("ws.matrix.plan.plan", "ws.matrix.run.build", "ws.deploy.Session.prepare_host"):
            monkeypatch.setattr(name, fail)
        return removed

    def test_what_is_old_is_removed_and_that_is_all(self, removed, capsys):
        assert cli.main(["matrix", "--prune", "--no-build", "--yes"]) == running.DONE
        assert [old.images for old in removed] == [("cslr/runtime:old",)]
        assert "1 images and 0 records" in capsys.readouterr().out

    def test_bases_get_the_day_and_that_is_all(self, removed, capsys):
        assert cli.main(["matrix", "--refresh-bases", "--no-build"]) == running.DONE
        assert base_age.DAY.fullmatch(base_age.edition())
        assert removed == []

    def test_alone_it_has_no_meaning(self, removed, capsys):
        assert cli.main(["matrix", "--no-build"]) == 2
        assert "it has a meaning only with" in capsys.readouterr().err
