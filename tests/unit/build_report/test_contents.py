"""Facts about an image: its layers, layers shared with others, and its packages."""

from typing import Any

import pytest

from build_report.contents import ContentsError, contents
from build_report.layers import chain_ids, image_layers, shared, unique
from testing.build_report_builds import MB, SIZES, image

RAY = SIZES | {"ray": 622 * MB}


class Engine:
    """Answers as Docker's Engine about one image that is built on one base."""

    def __init__(self, history: Any, *, base: Any = ()) -> None:
        self.histories = {"sha256:image": [*history, *base], "sha256:base": [*base]}
        self.base = base

    def labelled(self, path, key, labels):
        return [{"Id": "sha256:base", "RepoTags": ["cslr/base:trixie-0123456789ab"]}] if self.base else []

    def call(self, method, path):
        _, _, image, what = path.split("/")
        return self.histories[image] if what == "history" else {"RootFS": {"Layers": ["sha256:a", "sha256:b"]}}


def entry(created_by: str, size: int = 0, *, buildkit: bool = True) -> dict[str, Any]:
    return {
        "CreatedBy": created_by,
        "Size": size,
        "Created": 0,
        "Comment": "buildkit.dockerfile.v0" if buildkit else "",
    }


class TestLayers:
    BASE = (entry("/bin/sh -c #(nop) COPY dir:1 in /", 0, buildkit=False), entry("", 80, buildkit=False))

    def layers(self, diff_ids: str, *history: Any, base: Any = ()) -> Any:
        """Names and sizes of the layers; the history begins with the last step."""
        engine: Any = Engine(history, base=base)
        found = {"Id": "sha256:image", "RootFS": {"Layers": [f"sha256:{one}" for one in diff_ids]}}
        return [(layer.name, layer.size, layer.diff_id[-1]) for layer in image_layers(engine, found)]

    def test_those_of_the_base_are_called_so_even_if_empty(self):
        found = self.layers("abc", entry("RUN x", 5), base=self.BASE)
        assert found == [("base", 80, "a"), ("base", 0, "b"), ("other", 5, "c")]

    def test_buildkit_makes_one_for_each_step_that_may_write(self):
        steps = (
            entry("USER 1"),
            entry("RUN y"),
            entry("LABEL a"),
            entry("WORKDIR /x"),
            entry("RUN install.py torch", 9),
        )
        assert self.layers("cde", *steps) == [("torch", 9, "c"), ("other", 0, "d"), ("other", 0, "e")]

    def test_the_older_builder_makes_none_for_a_step_that_wrote_nothing(self):
        steps = (entry("/bin/sh -c x", 7, buildkit=False), entry("/bin/sh -c #(nop) WORKDIR /", buildkit=False))
        assert self.layers("c", *steps) == [("other", 7, "c")]

    def test_layers_that_the_history_does_not_explain_are_on_top_and_of_no_size(self):
        assert self.layers("cd", entry("RUN x", 5)) == [("other", 5, "c"), ("other", 0, "d")]


class TestContents:
    def test_of_an_engine_that_went_away_are_missing_which_is_one_sentence(self, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
        with pytest.raises(ContentsError, match=r"^sha256:1 cannot be searched for packages"):
            contents("sha256:1", "linux/amd64")


class TestSharing:
    def test_chain_ids_are_those_of_the_image_specification(self):
        first, second = "sha256:" + "1" * 64, "sha256:" + "2" * 64
        # printf 'sha256:111… sha256:222…' | sha256sum
        both = "sha256:9932074217c35353d2e03a3f5a86549f7c67bfeb0ba53e23d69f4d4c8f7958f5"
        assert chain_ids([first, second]) == [first, both]

    def test_a_chain_of_layers_counts_once(self):
        runtime, ray = image(SIZES).layers, image(RAY).layers
        assert unique([runtime, ray, runtime]) == sum(RAY.values())
        assert shared(ray, [runtime]) == sum(SIZES.values())

    def test_the_same_layer_on_another_one_is_another(self):
        one, other = image({"base": 1, "cuda": 10}).layers, image({"base": 2, "cuda": 10}).layers
        assert unique([one, other]) == 23
        assert shared(one, [other]) == 0
