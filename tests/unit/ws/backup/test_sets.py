"""Which backup is meant."""

import socket
from typing import Any

import pytest

from ws.backup.sets import Entry, chosen, entries
from ws.errors import WsError


def entry(name: str, *, stack: str = "dev", host: str = "", completed: bool = True) -> Entry:
    return Entry(
        name=name,
        stack=stack,
        host=host or socket.gethostname(),
        time=f"2026-11-01T00:00:0{name[-1]}Z",
        manifest="m" if completed else None,
        snapshots=(),
    )


EVERY = [entry("a1"), entry("a2", stack="gpu"), entry("b3"), entry("c4", completed=False)]


def test_the_last_completed_one_of_the_stack_is_taken():
    assert chosen(EVERY, "dev", None) == EVERY[2]


def test_the_beginning_of_a_name_will_do():
    assert chosen(EVERY, "dev", "b") == EVERY[2]


@pytest.mark.parametrize(
    ("name", "reason"), [("a", "the beginning of several"), ("c4", "is not a backup"), ("x", "is not a backup")]
)
def test_name_that_means_none_or_several_is_refused(name, reason):
    with pytest.raises(WsError, match=reason):
        chosen(EVERY, "dev", name)


def test_other_stacks_are_named():
    with pytest.raises(WsError, match=r"no backup of the stack new. It has backups of: dev, gpu"):
        chosen(EVERY, "new", None)


def test_of_several_other_hosts_none_is_guessed():
    others = [entry("a1", host="one"), entry("a2", host="two")]
    with pytest.raises(WsError, match="of several hosts: one, two"):
        chosen(others, "dev", None)
    assert chosen([*others, entry("a0")], "dev", None).name == "a0"


def test_moments_count_in_whatever_zone_they_were_written():
    """As in the night in which summer time ends."""

    class Listed:
        def json(self, *_: str) -> list[dict[str, object]]:
            times = {"later": "2026-10-25T02:10:00.123456789+01:00", "sooner": "2026-10-25T02:50:00.1+02:00"}
            return [
                {"id": name, "time": time, "tags": ["cslr", "stack=dev", f"set={name}", "part=manifest.json"]}
                for name, time in times.items()
            ]

    listed: Any = Listed()
    every = entries(listed)
    assert [(one.name, f"{one.when:%H:%M %Z}") for one in every] == [("sooner", "00:50 UTC"), ("later", "01:10 UTC")]
