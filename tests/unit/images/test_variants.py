"""The resolver: a pair of CUDA and Python becomes pins, or a reason and the nearest pair that is possible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.variants import (
    BASE_PYTHONS,
    DEFAULT_VARIANT,
    PAIRS,
    PYG_LIB,
    TOOLKITS,
    TORCH,
    VARIANTS,
    ImpossiblePair,
    resolve,
)


def refusal(cuda: str, python: str) -> ImpossiblePair:
    with pytest.raises(ImpossiblePair) as caught:
        resolve(cuda, python)
    return caught.value


class TestPossiblePair:
    @pytest.mark.parametrize(
        ("cuda", "python", "torch", "torch_cuda", "driver", "nvcc", "platforms"),
        [
            ("12.8.1", "3.13", "2.10.0", "12.8", 570, "nvidia", ("linux/amd64",)),
            ("13.1.1", "3.14", "2.13.0", "13.0", 580, "wheels", ("linux/amd64", "linux/arm64")),
            ("12.8.1", "3.14", "2.10.0", "12.8", 570, "nvidia", ("linux/amd64",)),
        ],
    )
    def test_resolves_to_pins(self, cuda, python, torch, torch_cuda, driver, nvcc, platforms):
        variant = resolve(cuda, python)
        assert (variant.torch, variant.torch_cuda, variant.driver) == (torch, torch_cuda, driver)
        assert (variant.nvcc, variant.platforms, variant.pyg_lib) == (nvcc, platforms, "0.8.0")

    def test_is_each_of_the_variants(self):
        assert tuple(resolve(cuda, python) for cuda, python in PAIRS) == VARIANTS
        assert DEFAULT_VARIANT in VARIANTS

    def test_has_a_torch_of_the_same_major_cuda_and_no_newer_minor_one(self):
        for variant in VARIANTS:
            torch = [int(part) for part in variant.torch_cuda.split(".")]
            toolkit = [int(part) for part in variant.cuda.split(".")]
            assert torch[0] == toolkit[0]
            assert torch <= toolkit

    def test_has_a_torch_that_pyg_builds_its_extension_for(self):
        for variant in VARIANTS:
            assert variant.pyg_lib == PYG_LIB[variant.torch, variant.torch_cuda]


class TestImpossiblePair:
    @pytest.mark.parametrize(
        ("cuda", "python", "axis", "reason", "nearest"),
        [
            ("11.8.0", "3.14", "cuda", "no torch that runs on CUDA 11.8.0", "cuda13.1.1-py3.14"),
            ("12.6.3", "3.13", "cuda", "no torch that runs on CUDA 12.6.3", "cuda12.8.1-py3.13"),
            ("14.0.0", "3.14", "cuda", "only for CUDA 12.8, 13.0, 13.2", "cuda13.1.1-py3.14"),
            ("13.1.7", "3.14", "cuda", "there is no CUDA toolkit 13.1.7; there are 13.0.0", "cuda13.1.1-py3.14"),
            ("13.1", "3.14", "cuda", "'13.1' is not a version of a CUDA toolkit", "cuda13.1.1-py3.14"),
            ("13.1.1", "3.15", "python", "torch for CUDA 13.0 is built for Python 3.10 to 3.14", "cuda13.1.1-py3.14"),
            ("13.2.1", "3.15", "python", "Debian forky, which the images stand on, has Python 3.13 and 3.14, not 3.15",
             "cuda13.1.1-py3.14"),
            ("12.8.1", "3.12", "python", "has Python 3.13 and 3.14, not 3.12", "cuda12.8.1-py3.13"),
            ("12.8.1", "3", "python", "'3' is not a version of Python", "cuda12.8.1-py3.13"),
            ("13.1.1", "3.13", "python", "(torch 2.13.0, built for CUDA 13.0), but its packages are not locked",
             "cuda13.1.1-py3.14"),
            ("12.9.1", "3.14", "cuda", "is possible (torch 2.10.0, built for CUDA 12.8)", "cuda12.8.1-py3.14"),
        ],
    )  # fmt: skip
    def test_says_why_and_names_the_nearest(self, cuda, python, axis, reason, nearest):
        refused = refusal(cuda, python)
        assert (refused.axis, refused.nearest[0].key) == (axis, nearest)
        assert reason in str(refused)
        assert refused.nearest[0].cuda in refused.advice.splitlines()[0]

    def test_that_only_lacks_its_lock_files_says_how_to_make_them(self):
        assert "run: make lock" in refusal("13.1.1", "3.13").advice
        assert "make lock" not in refusal("12.6.3", "3.13").advice

    @given(st.text() | st.sampled_from(TOOLKITS), st.text() | st.sampled_from(["3.9", "3.12", "3.13", "3.14", "3.15"]))
    def test_is_every_one_that_is_not_a_variant(self, cuda, python):
        """Whatever people write, they get pins or a reason, never a crash."""
        if (cuda, python) in PAIRS:
            assert resolve(cuda, python) in VARIANTS
        else:
            assert set(refusal(cuda, python).nearest) == set(VARIANTS)


class TestFacts:
    def test_every_extension_of_pyg_is_for_a_release_of_torch(self):
        assert set(PYG_LIB) <= {(torch.version, torch.cuda) for torch in TORCH}

    def test_every_pair_stands_on_a_python_of_the_base(self):
        assert {python for _, python in PAIRS} <= set(BASE_PYTHONS)
