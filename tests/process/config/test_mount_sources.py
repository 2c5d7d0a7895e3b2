"""Other paths to files that no container may mount: links, bind mounts, sockets."""

import os
import socket

import pytest

from config.load import load
from config.mount_sources import spellings
from preflight.host import check
from preflight.host_facts import DockerVolume, HostFacts
from testing.mount_sources import FILE, refused, state, volume

__all__ = ["state"]


class TestOtherNames:
    @pytest.mark.parametrize(
        "target", ["/proc", "/run", "/", "/proc/1/root/etc", "/var/run/docker.sock", "/sys/kernel"]
    )
    def test_by_links_are_followed(self, tmp_path, target):
        (tmp_path / "one").symlink_to(target)
        (tmp_path / "two").symlink_to("one")
        assert "leads to what is not for containers" in refused(volume(tmp_path / "two"))

    def test_by_a_link_above_them(self, tmp_path):
        (tmp_path / "link").symlink_to("/")
        assert "docker" in refused(volume(tmp_path / "link/var/lib/docker"))

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
    @pytest.mark.parametrize("target", ["/etc", "/"])
    def test_by_bind_mounts_are_known(self, tmp_path, target):
        import subprocess

        there = tmp_path / "bound"
        there.mkdir()
        if subprocess.run(["mount", "--bind", target, there], capture_output=True).returncode:
            pytest.skip("mounts are not allowed here")
        try:
            assert target in spellings(str(there))
            assert "leads to what is not for containers" in refused(volume(there))
            assert "/etc/ssl" in spellings(str(there / "etc/ssl" if target == "/" else there / "ssl"))
        finally:
            subprocess.run(["umount", there], check=True)

    def test_by_a_named_volume_that_shows_a_folder(self):
        facts = HostFacts(docker_volumes={"everything": DockerVolume(device="/"), "mine": DockerVolume()})
        assert "everything leads to what is not" in refused(volume("everything", read_only=True), facts)
        check(load(volume("mine", read_only=True), stack_file=FILE), facts, FILE)

    def test_a_socket_is_refused_wherever_it_is(self, tmp_path):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "podman.sock"))
            assert "is a socket of this host" in refused(volume(tmp_path / "podman.sock"))

    def test_a_pipe_too(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        assert "is a pipe of this host" in refused(volume(tmp_path / "pipe"))
