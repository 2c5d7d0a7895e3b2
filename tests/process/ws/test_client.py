"""A bundle on a person's computer: its shell files, and its `check` against servers on the loopback."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from contracts import mlflow_login
from stack.identity import StackIdentity
from stack.ray_tls import client_certificate, ray_certificate
from stack.secrets import RAY_AUTHORITY, SecretFiles
from stack.state import HostFiles
from testing.client_bundle import OPEN, WITH_QUEUE, bundle
from testing.client_servers import (
    HOST,
    PACKAGES,
    PYTHON,
    free_port,
    give_python,
    grpc_server,
    ray_version,
    run,
    saying,
    web,
)
from testing.harness import platform_settings
from ws.client.folder import write
from ws.client.laptop import check
from ws.client.laptop.check import Bundle, Failed, Service

SHELLCHECK = Path(sys.executable).with_name("shellcheck")
STACKS = {
    "tunnelled": {},
    "open": OPEN,
    "with a queue": WITH_QUEUE,
    "without Ray": {"ray": {"head_address": "10.0.0.7:6379"}},
    "without MLflow": {"mlflow": {"enabled": False}, "postgres": {"enabled": False}},
}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "a person's folder"
    write(bundle(), made)
    return made


class TestShellFiles:
    @pytest.mark.parametrize("settings", STACKS.values(), ids=STACKS)
    def test_are_posix_and_pass_shellcheck(self, settings, tmp_path):
        write(bundle(settings), tmp_path / "bundle")
        files = [name for name in ("check", "environment", "tunnel", "bin/ws") if (tmp_path / "bundle" / name).exists()]
        for name in files:
            assert run("sh", "-n", name, at=tmp_path / "bundle").stderr == ""
        done = run(str(SHELLCHECK), *files, at=tmp_path / "bundle")
        assert done.stdout == ""
        assert done.returncode == 0


class TestEnvironment:
    def sourced(self, *shell: str, at: Path, file: str = "./environment", **more: str) -> Mapping[str, str]:
        """The variables after a shell has read the file twice, as terminals do that start each other."""
        shown = "import json, os; print(json.dumps(dict(os.environ)))"
        script = f'. "{file}" && . "{file}" && "{sys.executable}" -c \'{shown}\''
        done = run(*shell, "-c", script, at=at, environment=more)
        assert done.stderr == ""
        found: dict[str, str] = json.loads(done.stdout)
        return found

    @pytest.mark.parametrize("shell", [("sh",), ("bash",), ("sh", "-eu"), ("bash", "-eu")], ids=" ".join)
    def test_tells_ray_and_mlflow_where_the_stack_is(self, shell, folder):
        found = self.sourced(*shell, at=folder)
        assert found["RAY_AUTH_MODE"] == "token"
        assert Path(found["RAY_AUTH_TOKEN_PATH"]).read_text() == "token-of-ray"
        assert found["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:8265"
        assert found["RAY_ADDRESS"] == "ray://127.0.0.1:10001"
        assert found["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
        assert found["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"

    def test_puts_the_environment_of_the_folder_first_and_once(self, folder):
        paths = self.sourced("sh", at=folder)["PATH"].split(":")
        assert paths[0] == f"{folder}/.venv/bin"
        assert paths.count(paths[0]) == 1

    def test_leaves_no_variables_of_its_own(self, folder):
        assert "bundle" not in self.sourced("sh", at=folder)

    @pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
    def test_keeps_what_a_proxy_is_not_asked_for(self, name, folder):
        found = self.sourced("sh", at=folder, **{name: ".example.org"})
        assert found["no_proxy"] == found["NO_PROXY"] == ".example.org,127.0.0.1"

    def test_bash_finds_the_folder_from_anywhere(self, folder, tmp_path):
        found = self.sourced("bash", at=tmp_path, file=str(folder / "environment"))
        assert found["RAY_AUTH_TOKEN_PATH"] == f"{folder}/ray-token"

    def test_so_does_zsh_which_is_the_shell_of_macos(self, zsh, folder, tmp_path):
        found = self.sourced(str(zsh), "-f", at=tmp_path, file=str(folder / "environment"))
        assert found["RAY_AUTH_TOKEN_PATH"] == f"{folder}/ray-token"

    def test_a_shell_that_cannot_find_the_folder_says_so_and_changes_nothing(self, folder, tmp_path):
        done = run("sh", "-c", f'. "{folder}/environment"; echo "$? ${{RAY_AUTH_MODE:-unset}}"', at=tmp_path)
        assert done.stdout == "1 unset\n"
        assert "Change to that first" in done.stderr


class TestTunnel:
    @pytest.fixture
    def ssh(self, tmp_path):
        """A PATH whose `ssh` prints its arguments, one a line."""
        program = tmp_path / "bin" / "ssh"
        program.parent.mkdir()
        program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        program.chmod(0o755)
        return f"{program.parent}:{os.environ['PATH']}"

    def test_ssh_gets_ports_options_and_destination(self, folder, ssh):
        done = run("./tunnel", "-p", "2222", at=folder, environment={"PATH": ssh})
        told, _, arguments = done.stdout.partition("-N\n")
        assert "http://127.0.0.1:8265  Ray's dashboard and Jobs API" in told
        words = arguments.split("\n")
        assert [after for word, after in pairwise(words) if word == "-L"] == [
            f"127.0.0.1:{port}:127.0.0.1:{port}" for port in (8888, 8265, 10001, 5000, 8080)
        ]
        assert "ExitOnForwardFailure=yes" in words
        assert words[-4:] == ["-p", "2222", "me@gpuhost", ""]


class TestCheckWithoutEnvironment:
    def test_uv_makes_it(self, folder, tmp_path):
        done = run("./check", at=folder, environment={"PATH": self.tools(tmp_path, "dirname", "uv")})
        assert done.returncode == 1
        assert "Make it:  uv sync" in done.stdout

    def test_without_uv_it_says_how_to_get_it_and_how_to_do_without(self, folder, tmp_path):
        done = run("./check", at=folder, environment={"PATH": self.tools(tmp_path, "dirname")})
        assert done.returncode == 1
        assert "Install uv" in done.stdout
        assert ".venv/bin/pip install 'ray[client,default]==2.60.0' 'mlflow-skinny==3.17.2'" in done.stdout

    def tools(self, tmp_path: Path, *names: str) -> str:
        """A PATH with these programs alone."""
        folder = tmp_path / "tools"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(shutil.which(name) or sys.executable)
        return str(folder)


@pytest.fixture
def shut() -> int:
    return free_port()


@pytest.fixture
def present(tmp_path) -> Bundle:
    """A bundle for this interpreter."""
    (tmp_path / "ray-token").write_text("right")
    (tmp_path / "ray-token").chmod(0o600)
    return Bundle(folder=tmp_path, host="gpuhost", python=PYTHON, packages=PACKAGES, services=())


def service(name: str, url: str, *, tunnel: bool = True) -> Service:
    return Service(name=name, title=name, url=url, tunnel=tunnel)


class TestVersions:
    def test_those_of_the_bundle_pass(self, present):
        assert check.check_versions(present) == f"Python {PYTHON}, ray {PACKAGES['ray']}"

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"python": "3.9"}, f".venv has Python {PYTHON}, and the cluster 3.9"),
            ({"packages": {"ray": "1.0.0"}}, f".venv has ray {PACKAGES['ray']}, and the cluster 1.0.0"),
            ({"packages": {"no-such-package": "1.0"}}, ".venv lacks no-such-package 1.0"),
        ],
    )
    def test_others_fail_with_both_versions(self, changes, reason, present):
        with pytest.raises(Failed) as failed:
            check.check_versions(Bundle(**{**vars(present), **changes}))
        assert failed.value.reason == reason
        assert "uv sync" in failed.value.remedy


class TestToken:
    def test_one_that_others_can_read_fails(self, present):
        assert check.check_token_file(present) == "only you can read it"
        (present.folder / "ray-token").chmod(0o644)
        with pytest.raises(Failed) as failed:
            check.check_token_file(present)
        assert "chmod 600" in failed.value.remedy

    def test_a_missing_one_fails_wherever_it_is_needed(self, present):
        (present.folder / "ray-token").unlink()
        for ask in (check.check_token_file, lambda b: check.check_dashboard(service("dashboard", "http://x"), b)):
            with pytest.raises(Failed, match="ray-token is missing"):
                ask(present)


class TestDashboard:
    def test_the_clusters_ray_and_token_pass(self, present):
        with web(token="right", _api_version=ray_version()) as url:
            assert check.check_dashboard(service("dashboard", url), present).endswith("accepts the token")

    def test_another_token_fails(self, present):
        with web(token="another") as url, pytest.raises(Failed, match="refuses the token"):
            check.check_dashboard(service("dashboard", url), present)

    def test_another_ray_fails(self, present):
        with web(_api_version=ray_version("2.1.0")) as url, pytest.raises(Failed, match=r"the cluster has Ray 2\.1\.0"):
            check.check_dashboard(service("dashboard", url), present)

    def test_another_program_fails(self, present):
        with web() as url, pytest.raises(Failed, match="status 404, and is not Ray's dashboard"):
            check.check_dashboard(service("dashboard", url), present)


class TestClient:
    def test_a_grpc_server_passes(self, present):
        with grpc_server() as port:
            assert check.check_client(service("client", f"ray://{HOST}:{port}"), present) == "answers"

    def test_with_rays_own_tls_its_certificate_is_shown(self, present, tmp_path):
        secrets = SecretFiles(files=HostFiles(folder=tmp_path, dry_run=True), values={RAY_AUTHORITY: "a-secret"})
        settings, identity = platform_settings({"ray": {"tls": True}}), StackIdentity(project="cslr", stack="dev")
        node = ray_certificate(settings, secrets, identity, names=(HOST,))
        with grpc_server(node) as port:
            one = service("client", f"ray://{HOST}:{port}")
            with pytest.raises(Failed, match="the tunnel is open, but nothing answers"):
                check.check_client(one, present)
            for name, text in client_certificate(secrets, identity).files.items():
                (present.folder / name).write_text(text)
            assert check.check_client(one, present) == "answers"
            with pytest.raises(Failed, match="Ray's certificate is not good for localhost"):
                check.check_client(service("client", f"ray://localhost:{port}"), present)
            other = replace(secrets, values={RAY_AUTHORITY: "another"})
            for name, text in client_certificate(other, identity).files.items():
                (present.folder / name).write_text(text)
            with pytest.raises(Failed, match="Ray's certificate is not good"):
                check.check_client(one, present)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not a Ray Client server"), (b"", "the tunnel is open")],
    )
    def test_another_program_fails_and_so_does_a_closed_tunnel(self, answer, reason, present):
        with saying(answer) as port, pytest.raises(Failed, match=reason):
            check.check_client(service("client", f"ray://{HOST}:{port}"), present)


class TestMLflow:
    def test_its_version_is_told(self, present):
        with web(_version=(200, "3.17.2")) as url:
            assert check.check_mlflow(service("mlflow", url), present) == "MLflow 3.17.2"

    def test_a_path_of_a_proxy_is_kept(self, present):
        with web(_mlflow_version=(200, "3.17.2")) as url:
            assert check.check_mlflow(service("mlflow", f"{url}/mlflow"), present) == "MLflow 3.17.2"

    def test_a_refused_name_fails_with_the_key_to_set(self, present):
        with web(_version=(403, "Invalid Host header")) as url, pytest.raises(Failed) as failed:
            check.check_mlflow(service("mlflow", url, tunnel=False), present)
        assert f"network.names to [{HOST}]" in failed.value.remedy


class TestMLflowWithLogins:
    ALICE: ClassVar = mlflow_login.basic("alice", "of-alice: 100%")

    @pytest.fixture
    def credentials(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            monkeypatch.delenv(name, raising=False)
        file = Path(tmp_path, ".mlflow/credentials")
        file.parent.mkdir()
        return file

    def asked(self, present: Bundle) -> str:
        with web(authorization=self.ALICE, _version=(200, "3.17.2")) as url:
            return check.check_mlflow(service("mlflow", url), present)

    def test_who_has_no_login_is_told_how_to_get_one(self, present, credentials):
        with pytest.raises(Failed, match="MLflow wants a login") as failed:
            self.asked(present)
        assert "ws user add NAME" in failed.value.remedy
        assert "~/.mlflow/credentials" in failed.value.remedy

    def test_the_file_of_mlflows_client_is_used(self, present, credentials, monkeypatch):
        login = "mlflow_tracking_username = {}\nmlflow_tracking_password = {}\n"
        credentials.write_text("[mlflow]\n" + login.format("alice", "of-alice: 100%"))
        assert self.asked(present) == "MLflow 3.17.2"
        credentials.write_text("[mlflow]\n" + login.format("alice", "another"))
        with pytest.raises(Failed, match=r"refuses the name and password in ~/\.mlflow/credentials"):
            self.asked(present)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of-alice: 100%")
        assert self.asked(present) == "MLflow 3.17.2"

    @pytest.mark.parametrize("text", ["alice\n", "[mlflow]\n[mlflow]\n", b"[mlflow]\n\xff".decode("latin-1")])
    def test_a_file_that_is_none_is_named(self, text, present, credentials):
        credentials.write_text(text, encoding="latin-1")
        with pytest.raises(Failed, match="credentials cannot be read") as failed:
            self.asked(present)
        assert "README.md" in failed.value.remedy


class TestQueue:
    QUEUE: ClassVar = {"running": [], "waiting": [{}], "ray_answers": True, "ray_message": None}

    def test_one_that_works_passes(self, present):
        with web(token="right", _api_v1_queue=(200, json.dumps(self.QUEUE))) as url:
            assert check.check_queue(service("queue", url), present) == "0 jobs run, 1 wait"

    def test_another_token_fails(self, present):
        with web(token="another") as url, pytest.raises(Failed, match="refuses the token"):
            check.check_queue(service("queue", url), present)

    def test_one_without_ray_says_why(self, present):
        found = {**self.QUEUE, "ray_answers": False, "ray_message": "The Ray cluster does not answer."}
        with web(_api_v1_queue=(200, json.dumps(found))) as url, pytest.raises(Failed, match="does not answer"):
            check.check_queue(service("queue", url), present)

    @pytest.mark.parametrize("answer", [(404, ""), (503, '{"error": {}}'), (200, "[]")])
    def test_another_program_fails(self, answer, present):
        with web(_api_v1_queue=answer) as url, pytest.raises(Failed, match="not as a working queue does"):
            check.check_queue(service("queue", url), present)

    def test_its_command_without_an_environment_says_how_to_make_it(self, tmp_path):
        write(bundle(WITH_QUEUE), tmp_path / "bundle")
        done = run("bundle/bin/ws", "queue", at=tmp_path)
        assert done.returncode == 1
        assert "uv sync" in done.stderr


class TestReach:
    @pytest.mark.parametrize(
        ("name", "scheme"), [("dashboard", "http"), ("client", "ray"), ("mlflow", "http"), ("home", "http")]
    )
    def test_a_missing_tunnel_is_named(self, name, scheme, shut, present):
        with pytest.raises(Failed) as failed:
            check.CHECKS[name](service(name, f"{scheme}://{HOST}:{shut}"), present)
        assert failed.value.remedy == "Start the tunnel in another terminal: ./tunnel"

    def test_a_tunnel_that_leads_to_nothing_is_the_hosts_fault(self, present):
        with saying(b"") as port, pytest.raises(Failed, match="the tunnel is open, but nothing answers") as failed:
            check.check_page(service("home", f"http://{HOST}:{port}"), present)
        assert "ws ps" in failed.value.remedy

    def test_without_a_tunnel_the_network_is_asked_about(self, shut, present):
        with pytest.raises(Failed) as failed:
            check.check_page(service("home", f"http://{HOST}:{shut}", tunnel=False), present)
        assert "VPN" in failed.value.remedy

    def test_a_name_that_does_not_resolve_is_no_defect(self, present, monkeypatch):
        def unknown(*_: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(Failed, match="Name or service not known"):
            check.check_mlflow(service("mlflow", "http://gpuhost:5000", tunnel=False), present)

    def test_a_proxy_of_the_site_is_not_asked(self, present, monkeypatch, shut):
        monkeypatch.setenv("http_proxy", f"http://{HOST}:{shut}")
        with web(_version=(200, "3.17.2")) as url:
            assert check.check_mlflow(service("mlflow", url), present) == "MLflow 3.17.2"

    def test_a_page_of_an_unhealthy_service_fails(self, present):
        with web(_=(503, "")) as url, pytest.raises(Failed, match="status 503"):
            check.check_page(service("home", url), present)


class TestWhole:
    def test_each_check_is_a_line_and_one_failure_is_1(self, folder, shut):
        """The program as `check` starts it, with this interpreter in the place of the folder's own."""
        facts: dict[str, Any] = json.loads((folder / "bundle.json").read_text())
        facts |= {"python": PYTHON, "packages": PACKAGES}
        with web(token="token-of-ray", _api_version=ray_version()) as url:
            urls = {"dashboard": url, "mlflow": f"http://{HOST}:{shut}"}
            facts["services"] = [s | {"url": urls[s["name"]]} for s in facts["services"] if s["name"] in urls]
            (folder / "bundle.json").write_text(json.dumps(facts))
            give_python(folder)
            done = run("./check", at=folder)
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == [
            "ok    Python environment",
            "ok    token",
            "ok    Ray's dashboard and Jobs API",
            "FAIL  MLflow",
        ]
        assert lines[-1] == "      Start the tunnel in another terminal: ./tunnel"
        assert done.returncode == 1
