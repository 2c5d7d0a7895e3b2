"""The commands that the set-up would run on each kind of host; nothing is run here."""

import stat

import pytest

from ws.errors import WsError
from ws.setup import apt, programs
from ws.setup.apt import UPDATE
from ws.setup.docker import DAEMON, PACKAGES, SYSTEMD_START, DockerFacts, Plan, plan
from ws.setup.programs import Program

INSTALL_COMMAND = ("apt-get", "-y", "--no-install-recommends", "install")
INSTALL = (*INSTALL_COMMAND, *PACKAGES)
SITUATIONS = {
    "Docker answers": (DockerFacts(answers=True), Plan()),
    "fresh Debian": (DockerFacts(root=True, debian=True), Plan(commands=(UPDATE, INSTALL), daemon=DAEMON)),
    "fresh Debian with systemd": (
        DockerFacts(root=True, debian=True, systemd=True),
        Plan(commands=(UPDATE, INSTALL, SYSTEMD_START)),
    ),
    "stopped": (DockerFacts(root=True, debian=True, installed=True), Plan(daemon=DAEMON)),
    "stopped, with systemd": (DockerFacts(root=True, installed=True, systemd=True), Plan(commands=(SYSTEMD_START,))),
    "stopped, another distribution": (DockerFacts(root=True, installed=True), Plan(daemon=DAEMON)),
}
REFUSALS = {
    "not root, nothing there": (DockerFacts(debian=True), "sudo apt-get -y --no-install-recommends install docker.io"),
    "not root, stopped": (DockerFacts(debian=True, installed=True, systemd=True), "sudo systemctl enable --now docker"),
    "another distribution": (DockerFacts(root=True), "Install Docker Engine 20.10 or newer with your package manager"),
    "socket closed to this user": (DockerFacts(forbidden=True, installed=True), "usermod -aG docker"),
    "remote Docker is down": (DockerFacts(root=True, debian=True, address="tcp://gpu7:2376"), "tcp://gpu7:2376"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_host_that_we_may_change_is_set_up(situation):
    host, expected = SITUATIONS[situation]
    assert plan(host) == expected


@pytest.mark.parametrize("situation", REFUSALS)
def test_a_host_that_we_may_not_change_gets_the_remedy(situation):
    host, remedy = REFUSALS[situation]
    with pytest.raises(WsError) as refused:
        plan(host)
    assert remedy in str(refused.value)


def test_a_remote_docker_is_never_replaced_by_a_local_one():
    with pytest.raises(WsError):
        plan(DockerFacts(root=True, debian=True, installed=True, address="ssh://elsewhere"))


class TestPrograms:
    @pytest.fixture
    def host(self, tmp_path, monkeypatch):
        """A Debian host with two of three programs, whose apt-get installs the third. What was run, and how."""
        monkeypatch.setattr(apt, "POLICY", tmp_path / "policy-rc.d")
        monkeypatch.setattr(apt, "is_debian", lambda: True)
        monkeypatch.setenv("PATH", str(tmp_path))  # no systemctl
        monkeypatch.setattr(programs, "may_install", lambda: True)
        for name in ("here", "there"):
            (tmp_path / name).touch()
        run: list[tuple[tuple[str, ...], bool]] = []

        def install(command):
            run.append((command, apt.POLICY.exists() and bool(apt.POLICY.stat().st_mode & stat.S_IXUSR)))
            if "absent-tools" in command:
                (tmp_path / "absent").touch()

        monkeypatch.setattr(apt, "run", install)
        return run

    @pytest.fixture
    def wanted(self, tmp_path):
        return [
            Program(name=name, packages=packages, places=f"{tmp_path}/{name}*", services=(f"{name}d",))
            for name, packages in (
                ("here", ("here",)),
                ("absent", ("absent-tools", "absent-data")),
                ("there", ("there",)),
            )
        ]

    def test_a_program_is_found_on_the_path_or_where_its_package_puts_it(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        for folder in ("14", "15"):
            (tmp_path / folder / "bin").mkdir(parents=True)
            (tmp_path / folder / "bin/initdb").touch()
        (tmp_path / "tool").touch(mode=0o755)
        assert Program(name="tool", packages=()).find() == tmp_path / "tool"
        assert Program(name="other", packages=()).find() is None
        by_place = Program(name="Postgres", packages=(), places=f"{tmp_path}/*/bin/initdb")
        assert by_place.find() == tmp_path / "15/bin/initdb"

    def test_only_what_is_missing_is_installed_and_no_service_starts(self, host, wanted):
        programs.ensure(wanted, lambda _: None)
        assert host == [(UPDATE, True), ((*INSTALL_COMMAND, "absent-tools", "absent-data"), True)]
        assert not apt.POLICY.exists()

    def test_the_service_does_not_start_at_the_next_boot_either(self, host, wanted, tmp_path, monkeypatch):
        (tmp_path / "systemctl").touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        programs.ensure(wanted, lambda _: None)
        assert host[2:] == [(("systemctl", "disable", "absentd"), False)]

    def test_where_all_is_here_nothing_runs(self, host, wanted):
        programs.ensure([wanted[0], wanted[2]], lambda _: None)
        assert host == []

    def test_the_hosts_own_policy_on_services_stays(self, host, wanted):
        apt.POLICY.write_text("#!/bin/sh\nexit 0\n")
        programs.ensure(wanted, lambda _: None)
        assert apt.POLICY.read_text() == "#!/bin/sh\nexit 0\n"

    def test_what_an_interrupted_run_left_goes(self, host, wanted):
        apt.POLICY.write_text(apt.FORBIDDEN)
        programs.ensure(wanted, lambda _: None)
        assert not apt.POLICY.exists()

    def test_a_failed_installation_leaves_no_policy(self, host, wanted, monkeypatch):
        def fail(command):
            raise WsError("no such package")

        monkeypatch.setattr(apt, "run", fail)
        with pytest.raises(WsError, match="no such package"):
            programs.ensure(wanted, lambda _: None)
        assert not apt.POLICY.exists()

    def test_a_package_without_the_program_is_said(self, host, wanted, monkeypatch):
        monkeypatch.setattr(apt, "run", lambda command: None)
        with pytest.raises(WsError, match="absent still missing after absent-tools absent-data was installed"):
            programs.ensure(wanted, lambda _: None)

    @pytest.mark.parametrize(
        ("debian", "remedy"),
        [(True, "sudo apt-get install absent-tools absent-data`"), (False, "distribution's package manager")],
    )
    def test_who_may_not_install_is_told_what_to_in_one_sentence(self, host, wanted, monkeypatch, debian, remedy):
        monkeypatch.setattr(programs, "may_install", lambda: False)
        monkeypatch.setattr(apt, "is_debian", lambda: debian)
        with pytest.raises(WsError) as refused:
            programs.ensure(wanted, lambda _: None)
        assert str(refused.value).startswith("this needs absent:")
        assert remedy in str(refused.value)
        assert "\n" not in str(refused.value)
        assert host == []
