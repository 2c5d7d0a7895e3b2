"""The images that a matrix stack builds: each once, parents first, and an error for every key that selects nothing."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.matrix import MatrixSettings, parse
from config.matrix_rules import CHECKS, check, select
from config.problems import SettingsError
from images.family import FAMILY, PHASES, SERVICES
from images.variants import VARIANTS

FILE = "Pulumi.matrix.yaml"
CUDAS = sorted({variant.cuda for variant in VARIANTS})
PYTHONS = sorted({variant.python for variant in VARIANTS})
PLATFORMS = ("linux/amd64", "linux/arm64")


def patterns(names: list[str]) -> st.SearchStrategy[list[str]]:
    """Names, and patterns that match some of them."""
    return st.lists(st.sampled_from([*names, "*", *(f"{name[:2]}*" for name in names)]), min_size=1, max_size=3)


settings = st.builds(
    lambda **keys: MatrixSettings.model_validate(keys),
    cuda=patterns(CUDAS),
    python=patterns(PYTHONS),
    targets=patterns(list(FAMILY)),
    phases=st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1),
    minimal=st.booleans(),
    services=st.lists(st.sampled_from([*SERVICES, "*", "transcription-*"]), max_size=2),
    platforms=st.lists(st.sampled_from(PLATFORMS), min_size=1),
    without=st.lists(st.sampled_from(["devel-*", "*-py3.13", "ray-runtime-*", "*-arm64"]), max_size=2),
)


def refusal(raw: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as caught:
        check(parse(raw, stack_file=FILE), FILE)
    return str(caught.value)


class TestSelection:
    def test_of_all_defaults_is_the_family_of_18(self):
        names = {wanted.name for wanted in select(MatrixSettings())}
        assert names == {f"{target}-{variant.key}" for target in FAMILY for variant in VARIANTS}
        assert len(names) == 18

    @given(settings)
    def test_has_nothing_twice(self, chosen):
        names = [wanted.name for wanted in select(chosen)]
        assert len(names) == len(set(names))

    @given(settings)
    def test_has_parents_before_what_is_built_on_them(self, chosen):
        names = [wanted.name for wanted in select(chosen)]
        for wanted in select(chosen):
            for ancestor in wanted.ancestors:
                assert ancestor.name not in names or names.index(ancestor.name) < names.index(wanted.name)

    @given(settings)
    def test_is_part_of_what_all_defaults_select(self, chosen):
        everything = MatrixSettings.model_validate({"platforms": list(PLATFORMS), "services": ["*"]})
        assert set(select(chosen)) <= set(select(everything))

    @given(settings)
    def test_is_only_for_platforms_that_torch_is_built_for(self, chosen):
        assert all(wanted.platform in wanted.platforms for wanted in select(chosen))

    @given(settings)
    def test_that_is_minimal_has_one_image_of_each_target_of_the_whole(self, chosen):
        assume(not chosen.without and len(set(chosen.platforms)) == 1)
        # That needs a variant of its own, which is another than the one that is enough.
        chosen = chosen.model_copy(update={"without": ("transcription-backend-cuda-*",)})
        whole = select(chosen.model_copy(update={"minimal": False}))
        minimal = select(chosen.model_copy(update={"minimal": True}))
        assert len(minimal) == len({wanted.image.name for wanted in minimal})
        if minimal:
            assert {wanted.image.name for wanted in minimal} == {wanted.image.name for wanted in whole}

    @given(settings)
    def test_that_selects_nothing_is_an_error_that_says_so(self, chosen):
        problems = [problem for find in CHECKS for problem in find(chosen)]
        assert bool(select(chosen)) or problems

    def test_of_phases_in_turn_is_the_whole(self):
        parts = [select(MatrixSettings.model_validate({"phases": [phase]})) for phase in PHASES]
        assert sorted(wanted.name for part in parts for wanted in part) == sorted(
            wanted.name for wanted in select(MatrixSettings())
        )

    def test_of_another_platform_says_so_in_the_name(self):
        chosen = select(MatrixSettings.model_validate({"platforms": ["linux/arm64"], "targets": ["runtime"]}))
        assert [wanted.name for wanted in chosen] == ["runtime-cuda13.1.1-py3.14-arm64"]


class TestServices:
    def chosen(self, **keys: object) -> list[str]:
        return [wanted.name for wanted in select(MatrixSettings.model_validate(keys))]

    def test_are_no_part_of_the_family(self):
        assert not set(SERVICES) & set(FAMILY)
        assert not set(SERVICES) & set(self.chosen())

    def test_are_the_images_that_patterns_name_beside_the_family(self):
        names = self.chosen(services=["redis", "transcription-front*"])
        assert {"redis", "transcription-frontend"} == {name for name in names if "-cuda" not in name}
        assert len(names) == 20

    def test_can_be_all_that_is_built_for_each_platform(self):
        assert self.chosen(targets=[], services=["mlflow", "health"], platforms=list(PLATFORMS)) == [
            "mlflow", "mlflow-arm64", "health", "health-arm64"
        ]  # fmt: skip

    @pytest.mark.parametrize("keys", [{"minimal": True}, {"phases": [1]}, {"cuda": ["12.*"]}, {"python": ["3.13"]}])
    def test_are_built_once_whatever_is_selected_of_the_family(self, keys):
        names = self.chosen(services=["health", "redis"], **keys)
        assert [name for name in names if name in SERVICES] == ["redis", "health"]

    def test_can_be_left_out(self):
        names = self.chosen(targets=[], services=["*"], without=["mlflow"])
        assert "mlflow" not in names
        assert "redis" in names

    def test_alone_need_no_torch_for_their_platform(self):
        raw = {"targets": [], "services": ["redis"], "cuda": ["12.*"], "platforms": ["linux/arm64"]}
        check(parse(raw, stack_file=FILE), FILE)


class TestServiceOnCuda:
    NAME = "transcription-backend-cuda"

    def chosen(self, **keys: object) -> list[str]:
        settings = MatrixSettings.model_validate({"targets": [], "services": [self.NAME], **keys})
        return [wanted.name for wanted in select(settings)]

    def test_is_built_on_the_runtime_images_of_its_cuda(self):
        keys = ("cuda12.8.1-py3.13", "cuda12.8.1-py3.14")
        assert self.chosen() == [f"runtime-{key}" for key in keys] + [f"{self.NAME}-{key}" for key in keys]

    def test_brings_no_runtime_image_that_is_selected_already(self):
        names = self.chosen(targets=["runtime"], python=["3.13"])
        assert names == ["runtime-cuda12.8.1-py3.13", f"{self.NAME}-cuda12.8.1-py3.13"]

    def test_that_failed_before_brings_none(self):
        assert self.chosen(python=["3.13"], without=["runtime-*", f"{self.NAME}-*"]) == []

    def test_is_left_out_where_its_cuda_is_not_selected_unless_it_is_named(self):
        keys = {"cuda": ["13.*"], "services": ["transcription-*"]}
        assert self.chosen(**keys) == ["transcription-frontend", "transcription-backend"]
        check(parse({"targets": [], **keys}, stack_file=FILE), FILE)

    @pytest.mark.parametrize("keys", [{"cuda": ["13.*"]}, {"minimal": True}, {"platforms": ["linux/arm64"]}])
    def test_that_is_named_without_its_cuda_is_refused_with_the_reason(self, keys):
        text = refusal({"targets": [], "services": [self.NAME], **keys})
        assert "cslr:matrix.services[0]: transcription-backend-cuda calls libraries of CUDA 12, which no image" in text
        assert "It is built on CUDA 12.8.1, for linux/amd64." in text
        assert '["12.8.1"]' in text


class TestMistakes:
    """Each names the file, the key, the reason and a way out."""

    @pytest.mark.parametrize(
        ("raw", "key", "reason", "remedy"),
        [
            ({"cuda": ["14*"]}, "cuda[0]", "'14*' selects nothing", "Known here: 12.8.1, 13.1.1."),
            ({"targets": ["*", "ray-runtme"]}, "targets[1]", "selects nothing", "Did you mean ray-runtime?"),
            ({"cuda": ["11.*"]}, "cuda[0]", "selects nothing", "Known here: 12.8.1, 13.1.1."),
            ({"targets": ["ray"]}, "targets[0]", "selects nothing", "ws unset matrix.targets"),
            ({"without": ["devl-cuda13.1.1-py3.14"]}, "without[0]", "leaves out nothing",
             "Did you mean devel-cuda13.1.1-py3.14?"),
            ({"targets": []}, "targets", "is empty", "ws unset matrix.targets"),
            ({"services": ["helth"]}, "services[0]", "'helth' selects nothing", "Did you mean health?"),
            ({"services": ["ray-runtime"]}, "services[0]", "selects nothing", "ws unset matrix.services"),
            ({"cuda": ["13.1.1"], "python": ["3.13"]}, "python", "its packages are not locked", '["3.14"]'),
            ({"targets": ["devel"], "phases": [1]}, "phases", "devel is in none of the phases", "phases '[4]'"),
            ({"cuda": ["12.*"], "platforms": ["linux/arm64"]}, "platforms[0]", "is not built with CUDA for linux/arm64",
             "For linux/arm64 there is CUDA 13.1.1."),
            ({"minimal": True, "without": ["*"]}, "without", "leaves out every image", "Selected are: "),
            ({"push": True}, "push", "no registry is named", "matrix.push false"),
            ({"mirrors": {"pypi": "https://me:pass@pypi.test/a"}}, "mirrors.pypi", "has a login", "https://pypi.test/a"),
            ({"cache_from": "example.org/a"}, "cache_from", "none is given", "registry example.org/a"),
            ({"signers": "keys/signers"}, "signers", "no registry is named", "ws unset matrix.signers"),
            (
                {"registry": "example.org/a", "cache_from": "example.org/a", "signers": "keys/signers"},
                "cache_from", "signatures nobody checks", "ws unset matrix.cache_from",
            ),
            (
                {"registry": "example.org/a", "cache_from": "example.org/a", "signing_key": "~/key"},
                "cache_from", "would sign what they become", "ws unset matrix.signing_key",
            ),
            ({"signing_key": ""}, "signing_key", "is not the path of a file", "keys/image-signers"),
            ({"targets": ["a/b"]}, "targets[0]", "is not a name or pattern", "'matrix.targets[0]' '*'"),
            ({"phases": [5]}, "phases[0]", "5 must be 1, 2, 3 or 4", "ws unset"),
            ({"platform": []}, "platform", "unknown key", "Did you mean platforms?"),
        ],
    )  # fmt: skip
    def test_are_one_sentence_with_a_way_out(self, raw, key, reason, remedy):
        text = refusal(raw)
        assert f"{FILE}: cslr:matrix.{key}: " in text
        assert reason in text
        assert remedy in text

    def test_are_all_reported_at_once(self):
        assert refusal({"cuda": ["14*"], "targets": ["x"], "push": True}).count(f"{FILE}: cslr:matrix") == 3

    def test_of_none_passes(self):
        check(parse({}, stack_file=FILE), FILE)
