"""Files of this host that no container may mount, under any path; and remedies that spare other people's folders."""

import pytest

from config.load import load
from config.mount_sources import refusal
from preflight.host import check
from preflight.host_facts import Folder, HostFacts
from testing.harness import PROJECT
from testing.mount_sources import FILE, refused, state, volume

__all__ = ["state"]


class TestHost:
    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.parametrize(
        "path",
        [
            "/", "/proc", "/proc/1/root", "/proc/1/root/var/run/docker.sock", "/proc/self/cwd", "/sys",
            "/sys/fs/cgroup",
            "/dev", "/dev/sda", "/dev/mem", "/dev/shm", "/run", "/run/docker.sock", "/var/run", "/var/run/docker.sock",
            "/run/containerd/containerd.sock", "/run/user/1000", "/var", "/var/lib", "/var/lib/docker",
            "/var/lib/docker/volumes/other/_data", "/var/lib/containerd", "/boot", "/boot/grub", "/etc", "//proc///1",
        ],
    )  # fmt: skip
    def test_is_not_mounted(self, path, read_only):
        text = refused(volume(path, read_only=read_only))
        assert text.startswith(f"{FILE}: cslr:platform.marimo.volumes[0].source: ")
        assert "ws unset 'marimo.volumes[0]' -s dev" in text

    @pytest.mark.parametrize("key", ["marimo.notebooks", "mlflow.artifacts", "redis.data", "ray.scratch", "ray.home"])
    @pytest.mark.parametrize("path", ["/", "/proc/1/root", "/etc/cslr", "/run/cslr", "/var/run/docker.sock"])
    def test_is_no_place_for_data(self, key, path):
        service, name = key.split(".")
        assert f"ws unset {key} -s dev" in refused({service: {name: path}})

    @pytest.mark.parametrize(
        "path",
        ["/srv/data", "/home/me/notebooks", "/mnt/disk", "/run/media/me/disk", "/dev/shm/dataset", "/procedures"],
    )
    def test_rules_leave_the_rest(self, path):
        assert refusal(path, write=True) is None

    @pytest.mark.parametrize("path", ["/etc/ssl/certs", "/etc/localtime"])
    def test_configuration_may_be_read(self, path):
        assert refusal(path, write=False) is None
        assert "read_only: true" in str(refusal(path, write=True))

    def test_secrets_of_all_stacks_are_not_mounted_nor_what_holds_them(self, state):
        for path in (state, state / "cslr/dev/secrets", state.parent, state.parent.parent):
            assert "the secrets of all stacks" in refused(volume(path))
        assert refusal(str(state.parent.parent / "notebooks"), write=True) is None

    def test_dockers_data_is_not_mounted_wherever_it_is(self):
        facts = HostFacts(docker_root="/data/docker", folder=lambda _: Folder(uid=1000))
        for path in ("/data/docker/volumes/x/_data", "/data/docker", "/data"):
            assert "the files of all containers" in refused(volume(path), facts)
        check(load(volume("/data/sets"), stack_file=FILE), facts, FILE)


class TestRemedies:
    """Nothing that is there changes its owner or its mode."""

    @pytest.mark.parametrize("read_only", [False, True])
    @pytest.mark.parametrize("path", ["/root", "/home", "/usr", "/opt", "/srv", "/tmp", "/root/.ssh"])
    def test_of_a_folder_that_exists_touch_it_not(self, path, read_only):
        facts = HostFacts(folder=lambda _: Folder(mode=0o700))
        text = refused(volume(path, read_only=read_only), facts)
        for harm in ("install", "chown", "chmod", "rm "):
            assert harm not in text
        assert ("setfacl" in text) == (path == "/root/.ssh")

    @pytest.mark.parametrize("key", ["marimo.notebooks", "mlflow.artifacts", "redis.data", "ray.scratch", "ray.home"])
    def test_of_somebodys_folder_let_the_user_in(self, key):
        service, name = key.split(".")
        facts = HostFacts(folder=lambda _: Folder(uid=1001, gid=1001, mode=0o750))
        text = refused({service: {name: "/data/of me"}}, facts)
        assert "/data/of me cannot be written by user 1000" in text
        assert "It belongs to user 1001, and stays so" in text
        assert "sudo setfacl -m u:1000:rwx '/data/of me'" in text
        assert "install" not in text

    @pytest.mark.parametrize("key", ["marimo.notebooks", "mlflow.artifacts", "redis.data", "ray.scratch", "ray.home"])
    def test_a_file_is_no_folder(self, tmp_path, key):
        service, name = key.split(".")
        (tmp_path / "file").write_text("")
        text = refused({service: {name: str(tmp_path / "file")}})
        assert "is a file, and" in text
        assert f"ws unset {key} -s dev" in text
        text = refused({service: {name: str(tmp_path / "file/below")}})
        assert f"{tmp_path}/file is a file" in text
        assert "install" not in text

    def test_a_file_may_be_mounted_if_it_can_be_read(self, tmp_path):
        file = tmp_path / "token"
        file.write_text("")
        file.chmod(0o644)
        check(load(volume(file, read_only=True), stack_file=FILE), HostFacts(), FILE)
        file.chmod(0o600)
        if file.stat().st_uid != 1000:
            assert f"sudo setfacl -m u:1000:r {file}" in refused(volume(file, read_only=True))

    def test_a_link_to_nothing_is_made_where_it_points(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path / "there")
        text = refused({"marimo": {"notebooks": str(tmp_path / "link")}})
        assert f"sudo install -d -o 1000 -g 1000 {tmp_path}/there" in text

    def test_no_message_of_ours_proposes_harm(self):
        """Of the whole program: what exists is not given away, emptied, or ended with all its neighbours."""
        folder = PROJECT
        found = [
            f"{file}: {harm}"
            for package in ("components", "ws", "engine", "docker_engine", "entrypoints", "verification")
            for file in (folder / package).rglob("*.py")
            for harm in ("chown -R", "chmod -R", "rm -rf", "systemctl restart docker", "system prune", "image prune -a",
                         "volume prune", "docker network rm {name}")
            if harm in file.read_text()
        ]  # fmt: skip
        assert not found
