"""`ws exec` and `ws shell`: which container, what is run there, and what refuses."""

import pytest

from config.project import FOLDER
from stack.identity import StackIdentity
from ws import cli, inside
from ws.containers import ContainerState
from ws.drain_option import with_time
from ws.engine_names import EngineName
from ws.errors import WsError

IDENTITY = StackIdentity(project="cslr", stack="dev")


def container(service: str, state: str = "running") -> ContainerState:
    return ContainerState(
        service=service,
        name=f"cslr-dev-{service}",
        identifier="ab12",
        state=state,
        health=state,
        status="Exited (1) 2 minutes ago" if state == "exited" else "Up 2 hours",
        image="sha256:0123",
        ports=(),
        engine=EngineName.EMBEDDED,
    )


@pytest.fixture
def became(monkeypatch):
    """What Docker's client is called with, instead of calling it."""
    found: list[list[str]] = []
    monkeypatch.setattr(inside, "containers", lambda _: [container("redis"), container("ray-cpu", "exited")])
    monkeypatch.setattr(inside, "become", lambda arguments, _: found.append(list(arguments)))
    return found


class TestService:
    @pytest.fixture(autouse=True)
    def _containers(self, became):
        pass

    def test_one_that_runs_is_found(self):
        assert inside.running(IDENTITY, "redis").name == "cslr-dev-redis"

    def test_an_unknown_one_names_those_of_the_stack(self):
        with pytest.raises(WsError, match=r"no service mlflow. It has: ray-cpu, redis"):
            inside.running(IDENTITY, "mlflow")

    def test_one_that_does_not_run_says_so_with_dockers_words(self):
        with pytest.raises(WsError, match=r"ray-cpu of stack dev does not run: Exited \(1\)") as error:
            inside.running(IDENTITY, "ray-cpu")
        assert "ws up -s dev" in str(error.value)

    def test_a_stack_that_is_down_says_so(self, monkeypatch):
        monkeypatch.setattr(inside, "containers", lambda _: [])
        with pytest.raises(WsError, match="not deployed"):
            inside.running(IDENTITY, "redis")


class TestCommandLine:
    def run(self, became, *arguments: str) -> tuple[list[str], str]:
        """Options of Docker's client, and what follows the script."""
        assert cli.main(list(arguments)) == 0
        (called,) = became
        place = called.index("sh")
        return called[place + 4 :], " ".join(called[:place])

    @pytest.mark.parametrize("dashes", [[], ["--"]])
    def test_everything_after_the_service_is_the_programs(self, became, dashes):
        command, _ = self.run(became, "exec", "redis", *dashes, "ls", "-l", "--stack", "x", "--", "-h")
        assert command == ["ls", "-l", "--stack", "x", "--", "-h"]

    def test_user_folder_and_variables_are_dockers(self, became):
        options = ["-u", "0:0", "-w", "/tmp", "-e", "A=1", "-e", "B=2"]
        _, called = self.run(became, "exec", *options, "redis", "id")
        assert called.startswith("docker exec --interactive")
        assert "--user=0:0 --workdir=/tmp --env=A=1 --env=B=2 cslr-dev-redis" in called

    def test_an_option_of_ours_after_the_service_is_explained(self, became, capsys):
        assert cli.main(["exec", "redis", "-s", "dev", "--", "ls"]) == 2
        assert "options come before SERVICE" in capsys.readouterr().err
        assert not became

    @pytest.mark.parametrize(
        "arguments", [["exec"], ["exec", "redis"], ["exec", "redis", "--"], ["shell"], ["shell", "redis", "--devel"]]
    )
    def test_a_call_without_service_or_program_is_refused(self, became, arguments):
        assert cli.main(arguments) == 2
        assert not became

    def test_a_shell_is_bash_where_there_is_one(self, became):
        assert cli.main(["shell", "redis"]) == 0
        assert became[0][-2].endswith("then exec bash; else exec sh; fi")

    def test_a_shell_in_the_devel_container_begins_in_the_home_that_ssh_gives(self, became, monkeypatch):
        monkeypatch.setattr(inside, "containers", lambda _: [container("devel")])
        assert cli.main(["shell", "--devel"]) == 0
        assert "--workdir=/home/cslr cslr-dev-devel" in " ".join(became[0])

    def test_without_a_devel_container_it_says_how_to_get_one(self, became, capsys):
        assert cli.main(["shell", "--devel"]) == 1
        said = capsys.readouterr().err
        assert "stack dev has no devel container" in said
        assert "ws set devel.enabled true -s dev" in said
        assert not became

    def test_an_option_of_the_program_named_drain_stays_as_it_is(self):
        assert with_time(["exec", "redis", "--", "x", "--drain"])[-1] == "--drain"


class TestTerminal:
    def test_the_program_has_one_if_a_person_sits_here(self):
        assert "--tty" in inside.docker_arguments("c", inside.SHELL, terminal=True)

    def test_a_pipe_gives_none(self):
        assert "--tty" not in inside.docker_arguments("c", inside.COMMAND, ["cat"], terminal=False)


class TestProgram:
    def test_secrets_and_python_are_found_as_by_the_services_own_program(self):
        """Both scripts look into the same places; this one is text, because a pulled image has no file of ours."""
        own = (FOLDER / "entrypoints" / "with_python.sh").read_text()
        for place in ("/run/secrets/env/*", "/opt/venv/bin /opt/conda/envs/py/bin /opt/*conda*/envs/py/bin"):
            assert place in own
            assert place in inside.ENTER


class TestClient:
    def test_without_dockers_client_the_package_is_named(self):
        with pytest.raises(WsError, match="apt-get install docker-cli"):
            inside.become(["docker", "exec"], {"PATH": "/nowhere"})
