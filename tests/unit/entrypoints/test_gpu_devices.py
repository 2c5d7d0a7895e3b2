"""Whether a container may still use its GPUs, and what its Ray node's health check says of that."""

import errno
import os
from collections.abc import Callable

import pytest

from contracts.document import SETTINGS_VARIABLE
from contracts.gpus import ALL_GPUS, NO_GPUS
from entrypoints import gpu_devices
from entrypoints.ray import node
from entrypoints.ray.command import AGENT_PORT


def refuses(number: int) -> Callable[..., int]:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


class TestCutOff:
    def test_is_a_device_that_is_there_and_may_not_be_opened(self, monkeypatch):
        monkeypatch.setattr(os, "open", refuses(errno.EPERM))
        assert gpu_devices.cut_off()

    @pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EIO])
    def test_is_not_what_fails_in_another_way(self, monkeypatch, number):
        monkeypatch.setattr(os, "open", refuses(number))
        assert not gpu_devices.cut_off()

    def test_is_not_a_device_that_opens(self, tmp_path):
        (tmp_path / "nvidiactl").touch()
        assert not gpu_devices.cut_off(tmp_path / "nvidiactl")


class TestHealthOfANode:
    @pytest.mark.parametrize(("gpus", "status"), [(ALL_GPUS, 1), (NO_GPUS, 0)])
    def test_fails_where_it_lost_its_gpus_so_that_the_keeper_restarts_it(self, monkeypatch, capsys, gpus, status):
        ports = {AGENT_PORT: 1}
        settings = type("Settings", (), {"node": type("Node", (), {"ports": ports, "gpus": gpus})(), "gateway": ""})()
        monkeypatch.setenv(SETTINGS_VARIABLE, "{}")
        monkeypatch.setattr(node, "load_settings", lambda *_: settings)
        monkeypatch.setattr(node, "read_state", lambda: type("State", (), {"role": "worker", "reason": ""})())
        monkeypatch.setattr(node, "http_failure", lambda *_: "")
        monkeypatch.setattr(node, "cut_off", lambda: True)
        assert node.health() == status
        assert ("lost its GPUs" in capsys.readouterr().out) == bool(status)
