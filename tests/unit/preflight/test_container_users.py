"""Notices about users of a host who can read containers' files by their user id."""

from types import SimpleNamespace

import pytest

from config.platform import PlatformSettings
from preflight.container_users import HostUsers, shared_users

DEFAULT = PlatformSettings()


class TestSharedUsers:
    def test_the_first_person_of_a_host_is_named_with_what_is_to_be_feared(self):
        (notice,) = shared_users(DEFAULT, HostUsers(names={0: "root", 1000: "alice"}, own=0))
        assert notice.warning
        assert "alice has user id 1000" in notice.text
        assert "redis" in notice.text
        assert "/proc/PID/root" in notice.text

    def test_who_deploys_is_nobody_else(self):
        assert shared_users(DEFAULT, HostUsers(names={1000: "alice"}, own=1000)) == ()

    @pytest.mark.parametrize("names", [{}, {0: "root", 999: "redis", 1001: "bob"}])
    def test_a_number_that_nobody_has_is_no_notice(self, names):
        assert shared_users(DEFAULT, HostUsers(names=names, own=0)) == ()

    def test_each_number_is_looked_at_with_the_services_that_have_it(self):
        settings = PlatformSettings.model_validate({"redis": {"user": "1001:1001"}})
        first, second = shared_users(settings, HostUsers(names={1000: "alice", 1001: "bob"}, own=0))
        assert "redis" not in first.text.replace("redis-", "")
        assert "bob has user id 1001 on this host, as have the containers of redis:" in second.text

    def test_a_service_that_is_off_has_nothing_to_read(self):
        settings = PlatformSettings.model_validate({"postgres": {"enabled": False}, "mlflow": {"enabled": False}})
        (notice,) = shared_users(settings, HostUsers(names={1000: "alice"}, own=0))
        assert "postgres" not in notice.text

    def test_root_is_not_warned_of(self):
        """It reads everything anyway, and the firewall has to run as it, regardless of who deploys."""
        assert "firewall" in DEFAULT.services()
        assert shared_users(DEFAULT, HostUsers(names={0: "root", 1000: "alice"}, own=1000)) == ()

    def test_the_account_of_no_person_is_not_warned_of(self):
        settings = PlatformSettings.model_validate({"exporter": {"enabled": True}})
        assert settings.exporter.user == "65534:65534"
        assert shared_users(settings, HostUsers(names={65534: "nobody"}, own=0)) == ()


class TestProbe:
    def test_under_sudo_it_is_the_person_who_called_it(self, monkeypatch):
        monkeypatch.setenv("SUDO_UID", "1234")
        users = HostUsers.probe(DEFAULT)
        assert (users.own, users.names[0]) == (1234, "root")

    def test_asks_for_users_one_by_one(self, monkeypatch):
        """A directory's are in no list."""
        monkeypatch.setattr("pwd.getpwall", lambda: pytest.fail("all of them"))
        asked = []

        def of_a_directory(uid: int) -> SimpleNamespace:
            asked.append(uid)
            if uid != 1000:
                raise KeyError(uid)
            return SimpleNamespace(pw_name="alice")

        monkeypatch.setattr("pwd.getpwuid", of_a_directory)
        assert HostUsers.probe(DEFAULT).names == {1000: "alice"}
        assert len(asked) == len(set(asked))
