"""A container as the Engine's listing and inspection show it."""

from typing import Any
from unittest.mock import Mock

import pytest

from ws.containers import ContainerState

LISTED = {
    "Id": "ab12",
    "Names": ["/cslr-dev-redis"],
    "Image": "sha256:0123456789abcdef",
    "Status": "Up 2 hours (healthy)",
    "Labels": {"cslr.component": "redis"},
    "Ports": [{"IP": "127.0.0.1", "PublicPort": 6381, "PrivatePort": 6379}, {"PrivatePort": 26379}],
}  # fmt: skip


def container(**state: Any) -> ContainerState:
    return ContainerState.of(LISTED, {"State": state, "Image": "sha256:1", "Config": {"Labels": {}}})


class TestHealth:
    @pytest.mark.parametrize("health", ["healthy", "unhealthy", "starting"])
    def test_a_running_container_has_that_of_its_check(self, health):
        found = container(Status="running", Health={"Status": health})
        assert (found.state, found.health) == ("running", health)

    @pytest.mark.parametrize("state", ["exited", "paused", "restarting", "created"])
    def test_one_that_does_not_run_has_its_state(self, state):
        assert container(Status=state, Health={"Status": "healthy"}).health == state

    @pytest.mark.parametrize("without", [{}, {"Health": None}, {"Health": {"Status": "none"}}])
    def test_one_without_a_check_has_its_state(self, without):
        assert container(Status="running", **without).health == "running"


class TestListing:
    def test_words_of_docker_are_kept_and_not_read(self):
        found = container(Status="running", Health={"Status": "unhealthy"})
        assert (found.status, found.health) == ("Up 2 hours (healthy)", "unhealthy")

    def test_is_compared_with_what_it_was_made_with_only_where_that_is_asked_for(self, monkeypatch):
        compare = Mock(return_value=("memory",))
        monkeypatch.setattr("ws.containers.drifted_fields", compare)
        found = container(Status="running")
        compare.assert_not_called()
        assert found.drift == ("memory",)

    def test_published_ports_are_named(self):
        assert container(Status="running").ports == ("127.0.0.1:6381 → 6379",)
