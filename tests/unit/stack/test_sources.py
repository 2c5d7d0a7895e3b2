"""Where images come from: `auto` asks once, is not fooled, never hangs, and keeps its answer."""

import pytest

from config.builds import ImagesSettings
from stack import sources
from stack.sources import Sources, choose_sources, indices


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class TestChoice:
    @pytest.fixture
    def kept(self, tmp_path):
        return tmp_path / "state" / "sources.json"

    @pytest.fixture
    def probed(self, monkeypatch):
        """The addresses that were asked, in order. `answers` says which of them answer."""

        class Probes(list[str]):
            answers: set[str]

        probes = Probes()
        probes.answers = set()

        def ask(url: str, **_: str) -> bool:
            probes.append(url)
            return url in probes.answers

        monkeypatch.setattr(sources, "reachable", ask)
        return probes

    REGISTRY = sources.IMAGE_REGISTRY
    INDEX = f"{sources.PYTORCH_INDEX}/cpu/torch/"
    PYG = f"{sources.PYG_INDEX}/{sources.PYG_PAGE}"
    NVIDIA = f"{sources.NVIDIA_APT}/Packages.gz"

    @pytest.mark.parametrize(
        ("answering", "torch", "chosen"),
        [
            ({REGISTRY, INDEX}, "auto", Sources(bases="registry", torch="cpu")),
            ({REGISTRY}, "auto", Sources(bases="registry", torch="cuda")),
            ({INDEX}, "auto", Sources(bases="bootstrap", torch="cpu")),
            (set(), "auto", Sources(bases="bootstrap", torch="cuda")),
            ({REGISTRY, INDEX}, "cuda", Sources(bases="registry", torch="cuda")),
        ],
    )
    def test_is_made_by_what_answers(self, probed, kept, answering, torch, chosen):
        probed.answers |= answering
        assert choose_sources(ImagesSettings(pyg_lib="no"), torch=torch, kept=kept, dry_run=False)[0] == chosen

    def test_is_told_with_its_reason(self, probed, kept):
        _, notes = choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        assert notes == (
            "bases: bootstrap (the image registry does not answer)",
            "torch: cuda (PyTorch's index of CPU wheels does not answer; this build runs on CPUs as well)",
            "pyg-lib: no (PyG's wheel index does not answer; PyG works without it, more slowly)",
        )

    def test_asks_nobody_on_a_host_with_gpus_which_torch(self, probed, kept):
        choose_sources(ImagesSettings(), torch="cuda", kept=kept, dry_run=False)
        assert probed == [self.REGISTRY, self.PYG]

    def test_asks_for_nvcc_only_where_it_is_installed(self, probed, kept):
        probed.answers |= {self.NVIDIA}
        without, _ = choose_sources(ImagesSettings(), torch="cuda", kept=kept, dry_run=False)
        assert (without.nvidia, self.NVIDIA in probed) == (False, False)
        found, notes = choose_sources(ImagesSettings(), torch="cuda", devel=True, kept=kept, dry_run=False)
        assert found.nvidia
        assert notes == ("nvidia: yes (NVIDIA's package repository answers)",)

    def test_asks_nobody_for_an_extension_that_is_not_wanted(self, probed, kept):
        chosen, _ = choose_sources(ImagesSettings(pyg_lib="no"), torch="cuda", kept=kept, dry_run=False)
        assert not chosen.pyg
        assert self.PYG not in probed

    def test_asks_the_stacks_own_mirrors(self, probed, kept):
        mirrors = {"pytorch": "https://mirror.example.org/whl", "pyg": "https://mirror.example.org/pyg"}
        images = ImagesSettings.model_validate({"mirrors": mirrors})
        choose_sources(images, torch=images.torch, kept=kept, dry_run=False)
        assert "https://mirror.example.org/whl/cpu/torch/" in probed
        assert f"https://mirror.example.org/pyg/{sources.PYG_PAGE}" in probed

    def test_asks_nobody_where_settings_say_it(self, probed, kept):
        images = ImagesSettings(bases="bootstrap", torch="cpu", pyg_lib="no")
        chosen, notes = choose_sources(images, torch=images.torch, kept=kept, dry_run=False)
        assert (chosen, notes, probed) == (Sources(bases="bootstrap", torch="cpu"), (), [])
        assert not kept.exists()

    def test_is_kept_when_the_network_changes(self, probed, kept):
        first, _ = choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        probed.answers |= {self.REGISTRY, self.INDEX}
        probed.clear()
        assert choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False) == (first, ())
        assert probed == []

    def test_of_a_preview_is_not_kept(self, probed, kept):
        choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=True)
        assert not kept.parent.exists()

    def test_kept_one_gives_way_to_settings(self, probed, kept):
        choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        images = ImagesSettings(bases="registry", torch="cpu", pyg_lib="no")
        chosen, _ = choose_sources(images, torch=images.torch, kept=kept, dry_run=False)
        assert chosen == Sources(bases="registry", torch="cpu")

    def test_of_a_setting_is_not_kept_as_an_answer(self, probed, kept):
        """Back at `auto`, the network decides, not what was once set by hand."""
        choose_sources(ImagesSettings(bases="registry"), torch="auto", kept=kept, dry_run=False)
        chosen, _ = choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        assert chosen.bases == "bootstrap"

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"bases": 3, "torch": "tpu"}'])
    def test_survives_a_damaged_file(self, probed, kept, content):
        kept.parent.mkdir()
        kept.write_text(content)
        chosen, _ = choose_sources(ImagesSettings(), torch="auto", kept=kept, dry_run=False)
        assert chosen == Sources(bases="bootstrap", torch="cuda")


class TestIndices:
    IMAGES = ImagesSettings.model_validate({"mirrors": {"nvidia": "https://mirror.example.org/cuda"}})

    def test_are_the_mirrors_of_those_that_answer_and_none_of_others(self):
        found = indices(self.IMAGES, Sources(bases="registry", torch="cuda", nvidia=True))
        assert (found["nvidia_apt"], found["pyg_index"]) == ("https://mirror.example.org/cuda", None)

    def test_have_their_usual_address_without_a_mirror(self):
        found = indices(self.IMAGES, Sources(bases="registry", torch="cuda", pyg=True))
        assert (found["nvidia_apt"], found["pyg_index"]) == (None, sources.PYG_INDEX)
