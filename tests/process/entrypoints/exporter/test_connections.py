"""The exporter's bound of connections, each of which has a thread."""

import socket
from contextlib import ExitStack


def test_connections_beyond_the_bound_are_closed_and_scrapes_go_on_afterwards(start):
    exporter = start(demo_gpus=1)
    with ExitStack() as held:
        opened = [
            held.enter_context(socket.create_connection(("127.0.0.1", exporter.port), timeout=10)) for _ in range(90)
        ]
        assert opened[-1].recv(1) == b""  # at once: one that is held may be silent for longer than this waits
    exporter.until(exporter.ready)
