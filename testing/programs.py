"""External programs that tests run, each as a fixture, so that missing ones are known before the first test begins.

`make test` (`pytest --set-up`) installs what is missing, or says what to install and stops. Without `--set-up` a test
whose program is missing fails. It never skips: a skip is for what no package brings.
"""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from ws.backup.restic import RESTIC
from ws.errors import WsError
from ws.setup import apt, docker, programs
from ws.setup.programs import Program

ALERTMANAGER = ("prometheus-alertmanager",)  # the package, and the service that it would start
# fixture → program
PROGRAMS = {
    "redis_server": Program(name="redis-server", packages=("redis-server",), services=("redis-server",)),
    "postgres": Program(
        name="Postgres", packages=("postgresql",), places="/usr/lib/postgresql/*/bin/postgres", services=("postgresql",)
    ),
    "docker_registry": Program(name="docker-registry", packages=("docker-registry",), services=("docker-registry",)),
    "promtool": Program(name="promtool", packages=("prometheus",), services=("prometheus",)),
    "prometheus": Program(name="prometheus", packages=("prometheus",), services=("prometheus",)),
    "amtool": Program(name="amtool", packages=ALERTMANAGER, services=ALERTMANAGER),
    "alertmanager": Program(name="prometheus-alertmanager", packages=ALERTMANAGER, services=ALERTMANAGER),
    "c_compiler": Program(name="gcc", packages=("gcc", "libc6-dev")),
    "iproute": Program(name="ip", packages=("iproute2",)),
    "iptables": Program(name="iptables", packages=("iptables",)),
    "nginx": Program(name="nginx", packages=("nginx-light",), places="/usr/sbin/nginx", services=("nginx",)),
    "rsync": Program(name="rsync", packages=("rsync",)),
    "restic": RESTIC,
    "process_list": Program(name="ps", packages=("procps",)),
    "chromium": Program(name="chromium", packages=("chromium",)),
    "node": Program(name="node", packages=("nodejs", "npm")),
    "sshd": Program(
        name="sshd",
        packages=("openssh-server", "openssh-client"),
        places="/usr/sbin/sshd",  # it starts under its whole path alone
        services=("ssh",),
    ),
    "ssh_keygen": Program(name="ssh-keygen", packages=("openssh-client",)),
    "systemd_analyze": Program(name="systemd-analyze", packages=("systemd",)),
    "zsh": Program(name="zsh", packages=("zsh",)),
    "gpg": Program(name="gpg", packages=("gpg", "gpg-agent", "gpgv")),
    "debootstrap": docker.BOOTSTRAP[0],
    "dockerd": docker.DOCKERD,
}
DOCKER = "docker_engine"  # the fixture of tests that need a Docker Engine


def _fixture(name: str, program: Program) -> Callable[..., object]:
    @pytest.fixture(scope="session", name=name)
    def path() -> Path:
        found = program.find()
        if found is None:
            pytest.fail(f"{program.name} is missing; `make test` installs it", pytrace=False)
        return found

    return path


for _name, _program in PROGRAMS.items():
    globals()[f"{_name}_fixture"] = _fixture(_name, _program)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make test` says, and who only wants to run a few tests does not."""
    parser.addoption(
        "--set-up", action="store_true", help="install what the chosen tests need and start Docker, if allowed"
    )
    parser.addoption("--set-up-only", action="store_true", help="only install, and run no test: before parallel runs")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Sets this host up for the tests that will run. Ends the run with one sentence where that is not possible."""
    config = session.config
    only = config.getoption("--set-up-only")
    if not (only or config.getoption("--set-up")) or config.getoption("--collect-only"):
        return
    fixtures = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    needed = [program for name, program in PROGRAMS.items() if name in fixtures]
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    say = terminal.write_line if terminal else print
    try:
        set_up(needed, engine=DOCKER in fixtures and not config.getoption("--environment", None), say=say)
    except WsError as error:
        raise pytest.UsageError(str(error)) from None
    if only:
        pytest.exit("set up", returncode=pytest.ExitCode.OK)


def set_up(needed: Collection[Program], *, engine: bool, say: apt.Say) -> None:
    """Installs the programs and makes a Docker Engine answer. Raises `WsError` where that is not possible."""
    host = docker.DockerFacts.probe() if engine else docker.DockerFacts(answers=True)
    if not programs.may_install():
        # Everything that is missing in one sentence, not one thing for each attempt.
        wanted = [*needed] if host.answers or host.address else [docker.DOCKERD, *needed]
        if lacking := programs.missing(dict.fromkeys(wanted)):
            raise WsError(programs.advice(lacking, debian=apt.is_debian()))
    if engine:
        docker.ensure(say)
        docker.ensure_debootstrap(say)
    programs.ensure(needed, say)
