"""The preflight's facts about listening sockets of this host."""

import os
import socket
import subprocess
from typing import NoReturn

import psutil
import pytest

from preflight.host_facts import Listener, host_addresses, host_listeners


def listeners_at(listening: socket.socket, address: str = "127.0.0.1") -> list[Listener]:
    """Those at the port of that socket and an address: others may listen at the same port of another one."""
    port = listening.getsockname()[1]
    return [one for one in host_listeners() if (one.address, one.port) == (address, port)]


class TestListeners:
    """Those of this process, as the kernel shows them."""

    @pytest.mark.parametrize(
        ("family", "bound", "shown"),
        [
            (socket.AF_INET, "127.0.0.3", "127.0.0.3"),
            (socket.AF_INET, "0.0.0.0", "0.0.0.0"),
            (socket.AF_INET6, "::", "::"),
            (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
        ],
    )
    def test_are_seen_with_their_process(self, family, bound, shown):
        with socket.socket(family) as listening:
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind((bound, 0))
            assert not listeners_at(listening, shown)
            listening.listen()
            [found] = listeners_at(listening, shown)
        assert str(found.process).endswith(f" (process {os.getpid()})")

    def test_are_seen_once_where_processes_share_them(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            child = subprocess.Popen(["sleep", "60"], pass_fds=[listening.fileno()])
            try:
                assert len(listeners_at(listening)) == 1
            finally:
                child.kill()
                child.wait()

    def test_of_a_process_that_has_ended_meanwhile_has_no_name(self, monkeypatch):
        def gone(number: int) -> NoReturn:
            raise psutil.NoSuchProcess(number)

        with socket.create_server(("127.0.0.1", 0)) as listening:
            monkeypatch.setattr(psutil, "Process", gone)
            [found] = listeners_at(listening)
        assert found.process is None


def test_addresses_are_those_that_the_kernel_lets_bind():
    found = host_addresses()
    assert "127.0.0.1" in found
    for address in found:
        socket.create_server((address, 0)).close()
