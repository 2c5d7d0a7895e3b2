"""Whether a host can build the family: room on its disk, and programs of each platform."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.matrix import MatrixSettings
from config.matrix_rules import select
from config.problems import SettingsError
from images.family import BuildTarget
from preflight.build_host import SPARE, BuildHost, check, room
from preflight.disk import GB, estimate, layer_budgets

FAMILY = select(MatrixSettings())
TAGS = [(wanted, f"cslr/{wanted.name}:1") for wanted in FAMILY]
ROOMY = BuildHost(processor="x86_64", docker_root="/var/lib/docker", free=10**12)
ARM = [(one, one.name) for one in select(MatrixSettings.model_validate({"platforms": ["linux/arm64"]}))]


def refusal(tags: list[tuple[BuildTarget, str]], host: BuildHost) -> str:
    with pytest.raises(SettingsError) as caught:
        check(tags, host, "Pulumi.matrix.yaml")
    return str(caught.value)


class TestEstimate:
    BUDGETS = layer_budgets()

    def test_counts_the_layers_that_images_share_once(self):
        alone = sum(estimate([wanted], [], self.BUDGETS) for wanted in FAMILY)
        assert estimate(FAMILY, [], self.BUDGETS) < alone / 3

    def test_counts_cuda_once_for_each_version_of_it(self):
        runtimes = [wanted for wanted in FAMILY if wanted.image.name == "runtime"]
        one, other = (wanted for wanted in runtimes if wanted.variant.cuda == "12.8.1")
        assert estimate([other], [one], self.BUDGETS) < estimate([other], [], self.BUDGETS) - 3 * GB

    @given(st.sets(st.sampled_from(range(18))), st.sets(st.sampled_from(range(18))))
    def test_of_more_images_is_no_less_and_of_some_that_are_here_nothing(self, some, others):
        first, second = [FAMILY[i] for i in some], [FAMILY[i] for i in others]
        both = estimate([*first, *second], [], self.BUDGETS)
        assert estimate(first, [], self.BUDGETS) <= both
        assert estimate(first, [], self.BUDGETS) + estimate(second, first, self.BUDGETS) == both
        assert estimate(first, first, self.BUDGETS) == 0

    def test_counts_an_image_of_a_service_once_for_each_platform(self):
        keys = {"targets": [], "services": ["mlflow"], "platforms": ["linux/amd64", "linux/arm64"]}
        one, other = select(MatrixSettings.model_validate(keys))
        assert estimate([one, other], [], self.BUDGETS) == 2 * estimate([one], [], self.BUDGETS) > 1.5 * GB

    def test_counts_of_an_image_on_the_family_what_it_adds(self):
        keys = {"targets": [], "services": ["transcription-backend-cuda"], "python": ["3.13"]}
        runtime, image = select(MatrixSettings.model_validate(keys))
        own = estimate([image], [runtime], self.BUDGETS)
        assert own == 0.5 * GB
        assert estimate([runtime, image], [], self.BUDGETS) == estimate([runtime], [], self.BUDGETS) + own

    @pytest.mark.parametrize("wanted", select(MatrixSettings(targets=(), services=("*",))), ids=lambda one: one.name)
    def test_knows_every_image_of_a_service(self, wanted):
        assert estimate([wanted], [], self.BUDGETS) > 0


class TestRoom:
    def test_is_needed_for_what_is_missing_alone(self):
        here = frozenset(tag for _, tag in TAGS[:17])
        missing, needed = room(TAGS, BuildHost(tags=here))
        assert missing == 1
        assert needed == estimate(FAMILY[17:], FAMILY[:17], layer_budgets())

    def test_that_suffices_passes(self):
        check(TAGS, ROOMY, "Pulumi.matrix.yaml")

    def test_that_does_not_is_refused_with_what_is_needed_and_a_way_out(self):
        text = refusal(TAGS, BuildHost(processor="x86_64", docker_root="/var/lib/docker", free=SPARE + GB))
        assert "Pulumi.matrix.yaml: cslr:matrix: the 18 images that are missing need " in text
        assert "/var/lib/docker has 11.0 GB left" in text
        assert "ws matrix --prune" in text

    def test_is_not_needed_where_nothing_is_missing(self):
        tags = frozenset(tag for _, tag in TAGS)
        check(TAGS, BuildHost(free=0, tags=tags), "Pulumi.matrix.yaml")

    def test_that_is_not_known_stops_nobody(self):
        check(TAGS, BuildHost(), "Pulumi.matrix.yaml")


class TestPlatform:
    def test_of_the_host_itself_passes(self):
        check(ARM, BuildHost(processor="aarch64"), "Pulumi.matrix.yaml")

    def test_that_an_emulator_runs_passes(self):
        check(ARM, BuildHost(processor="x86_64", foreign=frozenset({"aarch64"})), "Pulumi.matrix.yaml")

    def test_that_nothing_runs_is_refused_with_what_to_install(self):
        text = refusal(ARM, BuildHost(processor="x86_64"))
        assert (
            "cslr:matrix.platforms: nothing on this host, whose processor is x86_64, runs programs for linux/arm64"
            in text
        )
        assert "sudo apt-get install qemu-user-static binfmt-support" in text
