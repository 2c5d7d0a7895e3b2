"""Redis's configuration: its memory limits."""

import re

import pytest

from components.redis import configuration

MEBIBYTE = 2**20


def value(lines: str, key: str) -> int:
    """The value that counts: of a key that stands twice, the last."""
    return int(re.findall(rf"^{key} (\d+)$", lines, re.MULTILINE)[-1])


class TestMemory:
    @pytest.mark.parametrize("memory", [64 * MEBIBYTE, 512 * MEBIBYTE, 4096 * MEBIBYTE])
    def test_a_write_is_refused_before_the_container_is_full(self, memory):
        # While it rewrites its file, more than half of the data is there twice (0022).
        assert value(configuration(memory, paired=False), "maxmemory") * 1.5 < memory

    def test_what_is_kept_for_the_other_one_leaves_room_for_data(self):
        for memory in (64 * MEBIBYTE, 512 * MEBIBYTE, 4096 * MEBIBYTE):
            lines = configuration(memory, paired=True)
            assert value(lines, "repl-backlog-size") <= value(lines, "maxmemory") / 4

    def test_nothing_is_ever_evicted(self):
        assert "maxmemory-policy noeviction" in configuration(512 * MEBIBYTE, paired=False)
