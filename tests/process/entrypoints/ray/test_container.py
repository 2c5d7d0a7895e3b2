"""Facts about the container that Ray runs in."""

import os

import pytest

from entrypoints.ray import container


class TestMemory:
    @pytest.mark.parametrize(
        ("file", "text"), [("memory.max", "1000"), ("memory.max", "max"), ("memory/memory.limit_in_bytes", "1000")]
    )
    def test_the_cgroup_limits_the_memory(self, tmp_path, file, text):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text + "\n")
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        assert container.container_memory(tmp_path) == (1000 if text == "1000" else total)

    def test_the_own_address_is_never_the_loopback(self):
        assert container.own_address("127.0.0.1") is None


class TestVersions:
    @pytest.mark.parametrize(
        ("torch", "cuda"), [("2.10.0+cu128", "12.8"), ("2.13.0+cu130", "13.0"), ("2.10.0+cpu", ""), ("2.10.0", "")]
    )
    def test_the_cuda_that_torch_was_built_for(self, torch, cuda):
        assert container.cuda_of(torch) == cuda

    def test_python_is_known_to_the_patch(self):
        assert container.software_versions()["python"].count(".") == 2
