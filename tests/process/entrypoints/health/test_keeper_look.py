"""Keeper and firewall, by what the keeper wrote."""

import os
import time

import pytest

from contracts.document import dump
from contracts.health import Kind, WatchedService
from contracts.keeper import Look
from contracts.status import Reason, State
from entrypoints.health.keeper_look import STALE_SECONDS, kept_service, last_look

KEEPER = WatchedService(name="keeper", kind=Kind.KEEPER, host="keeper", port=0)
FIREWALL = WatchedService(name="firewall", kind=Kind.FIREWALL, host="firewall", port=0)


def seen(state: str = "healthy", seconds_ago: float = 1.0) -> Look:
    return Look(time=time.monotonic() - seconds_ago, services={"firewall": state})


class TestKeeper:
    def test_that_looks_is_up(self):
        found = kept_service(KEEPER, seen())
        assert (found.state, found.kind, found.url) == (State.UP, "keeper", None)

    def test_that_no_longer_looks_is_down(self):
        found = kept_service(KEEPER, seen(seconds_ago=STALE_SECONDS + 5))
        assert (found.state, found.reason) == (State.DOWN, Reason.TIMEOUT)
        assert str(found.error).startswith("has not looked at the stack's containers for ")

    def test_of_before_the_hosts_start_is_down(self):
        found = kept_service(KEEPER, seen(seconds_ago=-1000.0))
        assert (found.state, found.reason) == (State.DOWN, Reason.TIMEOUT)

    def test_that_has_not_looked_yet_is_starting(self):
        assert kept_service(KEEPER, None).state is State.STARTING


class TestFirewall:
    @pytest.mark.parametrize(
        ("state", "expected", "reason"),
        [
            ("healthy", State.UP, None),
            ("starting", State.STARTING, Reason.STARTING),
            ("unhealthy", State.DOWN, Reason.WRONG_ANSWER),
            ("exited", State.DOWN, Reason.NAME_UNKNOWN),
        ],
    )
    def test_is_as_its_container_is(self, state, expected, reason):
        found = kept_service(FIREWALL, seen(state))
        assert (found.state, found.reason) == (expected, reason)

    def test_whose_container_is_gone_is_down(self):
        found = kept_service(FIREWALL, Look(time=time.monotonic(), services={}))
        assert (found.state, found.error) == (State.DOWN, "its container is gone, says the keeper")

    def test_is_as_it_was_while_the_keeper_is_down(self):
        assert kept_service(FIREWALL, seen(seconds_ago=STALE_SECONDS * 9)).state is State.UP

    def test_of_which_nobody_told_yet_is_starting(self):
        assert kept_service(FIREWALL, None).state is State.STARTING


class TestLastLook:
    def test_is_what_the_keeper_wrote(self, tmp_path):
        file = tmp_path / "look.json"
        file.write_text(dump(seen("exited")))
        found = last_look(file)
        assert found is not None
        assert found.services == {"firewall": "exited"}

    def test_that_is_a_pipe_keeps_nobody_waiting(self, tmp_path):
        file = tmp_path / "look.json"
        os.mkfifo(file)
        assert last_look(file) is None

    @pytest.mark.parametrize("text", [None, "", "{}", "no JSON"])
    def test_that_cannot_be_read_is_none(self, tmp_path, text):
        file = tmp_path / "look.json"
        if text is not None:
            file.write_text(text)
        assert last_look(file) is None
        assert last_look(None) is None
