"""What sshd of the devel container is told, and what of its words people read."""

import shlex
import subprocess
from pathlib import Path

import pytest

from entrypoints import devel


def told(environment: dict[str, str]) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in devel.configuration(2222, environment).splitlines())


class TestConfiguration:
    @pytest.mark.parametrize(
        "key",
        [
            "PasswordAuthentication",
            "KbdInteractiveAuthentication",
            "PermitRootLogin",
            "UsePAM",
            "AllowAgentForwarding",
            "AllowStreamLocalForwarding",
            "X11Forwarding",
            "PermitTunnel",
            "PermitUserRC",
            "PermitUserEnvironment",
        ],
    )
    def test_does_without_what_nobody_needs(self, key):
        assert told({})[key] == "no"

    def test_lets_in_the_images_user_with_a_key(self):
        found = told({})
        assert (found["AllowUsers"], found["AuthenticationMethods"]) == ("cslr", "publickey")
        assert found["AuthorizedKeysFile"] == "/run/cslr/keys/authorized_keys"

    def test_lets_editors_reach_what_they_start(self):
        assert told({})["AllowTcpForwarding"] == "local"

    def test_strangers_leave_room_for_the_health_check(self):
        """Which fails else, and the container with all sessions would be restarted."""
        found = told({})
        assert int(found["PerSourceMaxStartups"]) < int(found["MaxStartups"].partition(":")[0])

    def test_one_persons_mistakes_lock_out_nobody(self):
        """All connections come from Docker's address."""
        assert told({})["PerSourcePenalties"] == "no"


class TestEnvironment:
    @pytest.mark.parametrize(
        "value", ["plain", "two words", 'a "quoted" word', "it's", "back\\slash\\", "#a", "$HOME %h"]
    )
    def test_of_a_login_is_that_of_the_container(self, value):
        words = shlex.split(told({"RAY_ADDRESS": value})["SetEnv"])
        assert f"RAY_ADDRESS={value}" in words

    def test_leaves_to_sshd_what_is_a_logins_own(self):
        given = told({"HOME": "/x", "USER": "x", "SHELL": "x", "PWD": "/", "A": "1"})["SetEnv"]
        assert shlex.split(given) == ["A=1", "CSLR_PATH="]

    def test_gives_login_shells_the_path_again(self):
        assert "CSLR_PATH=/opt/venv/bin:/usr/bin" in shlex.split(told({"PATH": "/opt/venv/bin:/usr/bin"})["SetEnv"])

    def test_no_variable_can_add_a_line(self):
        assert "evil" not in devel.configuration(2222, {"A": "1\nPermitRootLogin evil"})


class TestLog:
    @pytest.mark.parametrize(
        "line",
        [
            "Connection closed by 10.252.0.5 port 51064 [preauth]",
            "Connection closed by authenticating user cslr 127.0.0.1 port 51072 [preauth]",
            "Attempt to write login records by non-root user (aborting)",
            "lastlog_openseek: Couldn't stat /var/log/lastlog: No such file or directory",
        ],
    )
    def test_is_silent_on_checks_and_on_files_that_no_container_has(self, line):
        assert not devel.worth_telling(line)

    @pytest.mark.parametrize(
        "line",
        [
            "Accepted publickey for cslr from 10.252.0.1 port 54814 ssh2: ED25519 SHA256:lfNceiA6WSZEebxxhxoReu",
            "Connection closed by authenticating user cslr 10.252.0.1 port 51072 [preauth]",
            "Connection closed by invalid user root 10.252.0.1 port 51072 [preauth]",
            "Could not load host key: /host-keys/ssh_host_ed25519_key",
        ],
    )
    def test_tells_who_logged_in_and_who_could_not(self, line):
        assert devel.worth_telling(line)


class TestHostKey:
    def test_that_others_may_read_is_closed_and_stays(self, tmp_path):
        """As after a copy by hand: sshd refuses it."""
        key = tmp_path / "key"
        key.write_text("a key")
        key.chmod(0o644)
        devel.make_host_key(key)
        assert key.read_text() == "a key"
        assert key.stat().st_mode & 0o777 == 0o600

    def test_that_is_empty_after_a_loss_of_power_is_made_again(self, monkeypatch, tmp_path):
        def made(command: list[str], **_: object) -> None:
            Path(command[-1]).write_text("a new key")

        monkeypatch.setattr(subprocess, "run", made)
        (tmp_path / "key").touch()
        devel.make_host_key(tmp_path / "key")
        assert (tmp_path / "key").read_text() == "a new key"


class TestPrecondition:
    def test_names_what_is_missing_and_what_to_do(self, monkeypatch, tmp_path):
        monkeypatch.setattr(devel, "SSHD", "/nowhere/sshd")
        assert "devel.image" in devel.precondition()
        monkeypatch.setattr(devel, "SSHD", "/bin/sh")
        monkeypatch.setattr(devel, "KEYS", tmp_path / "authorized_keys")
        assert "`ws up` writes it" in devel.precondition()
        devel.KEYS.touch()
        monkeypatch.setattr(devel, "HOST_KEY", tmp_path / "missing" / "key")
        assert "devel.host_keys" in devel.precondition()
        devel.HOST_KEY.parent.mkdir()
        assert devel.precondition() == ""
