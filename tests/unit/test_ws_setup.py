"""What the set-up would run on which host; nothing is run here."""

import pytest

from ws.errors import WsError
from ws.setup.apt import UPDATE
from ws.setup.docker import DAEMON, PACKAGES, SYSTEMD_START, Host, Plan, plan

INSTALL = ("apt-get", "-y", "--no-install-recommends", "install", *PACKAGES)
SITUATIONS = {
    "Docker answers": (Host(answers=True), Plan()),
    "fresh Debian": (Host(root=True, debian=True), Plan(commands=(UPDATE, INSTALL), daemon=DAEMON)),
    "fresh Debian with systemd": (
        Host(root=True, debian=True, systemd=True),
        Plan(commands=(UPDATE, INSTALL, SYSTEMD_START)),
    ),
    "stopped": (Host(root=True, debian=True, installed=True), Plan(daemon=DAEMON)),
    "stopped, with systemd": (Host(root=True, installed=True, systemd=True), Plan(commands=(SYSTEMD_START,))),
    "stopped, another distribution": (Host(root=True, installed=True), Plan(daemon=DAEMON)),
}
REFUSALS = {
    "not root, nothing there": (Host(debian=True), "sudo apt-get -y --no-install-recommends install docker.io"),
    "not root, stopped": (Host(debian=True, installed=True, systemd=True), "sudo systemctl enable --now docker"),
    "another distribution": (Host(root=True), "Install Docker Engine 20.10 or newer with your package manager"),
    "socket closed to this user": (Host(forbidden=True, installed=True), "usermod -aG docker"),
    "remote Docker is down": (Host(root=True, debian=True, address="tcp://gpu7:2376"), "tcp://gpu7:2376"),
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
        plan(Host(root=True, debian=True, installed=True, address="ssh://elsewhere"))
