"""Other users of the host and of its network can see and reach nothing of the platform without a secret."""

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests

from testing.live.deployment import FULL, LiveStack

pytestmark = pytest.mark.live

NO_CAPABILITIES = "0" * 16
NET_ADMIN = f"{1 << 12:016x}"
SECONDS = 10
REFUSED = (requests.codes.unauthorized, requests.codes.forbidden)


@pytest.fixture
def inspected(platform) -> dict[str, dict[str, Any]]:
    """What `docker inspect` says of each service."""
    return {service: container.attrs for service, container in platform.containers().items()}


def url(service: str, path: str) -> str:
    ports = {"ray": FULL["ray"]["cpu"]["ports"]["dashboard"], **{k: FULL[k]["port"] for k in ("marimo", "mlflow")}}
    return f"http://127.0.0.1:{ports[service]}{path}"


def run_in(stack: LiveStack, service: str, *command: str) -> str:
    code, output = stack.heard(service, *command)
    assert code == 0, output
    return output


class TestContainers:
    def test_run_as_an_ordinary_user_without_rights(self, inspected):
        for service, found in inspected.items():
            host = found["HostConfig"]
            group = Path("/var/run/docker.sock").stat().st_gid if service == "keeper" else 1000
            firewall = service == "firewall"
            assert found["Config"]["User"] == ("0:0" if firewall else f"1000:{group}"), service
            assert host["CapDrop"] == ["ALL"], service
            assert (host["CapAdd"] or []) == (["CAP_NET_ADMIN"] if firewall else []), service
            assert "no-new-privileges:true" in host["SecurityOpt"], service
            assert not host["Privileged"], service

    def test_every_process_has_the_user_and_no_capability(self, platform):
        for service in platform.containers():
            listed = run_in(platform, service, "sh", "-c", "cat /proc/[0-9]*/status")
            # A health check that begins at this moment is still runc, which gives its rights away before the program.
            processes = re.split(r"^(?=Name:)", listed, flags=re.MULTILINE)
            status = "".join(one for one in processes if not one.startswith("Name:\trunc:["))
            user, capabilities = ("0", NET_ADMIN) if service == "firewall" else ("1000", NO_CAPABILITIES)
            assert set(re.findall(r"^Uid:\s+(\d+)", status, re.MULTILINE)) == {user}, service
            assert set(re.findall(r"^Cap(?:Eff|Prm|Bnd):\s+(\w+)", status, re.MULTILINE)) == {capabilities}, service

    def test_cannot_write_to_their_own_root(self, platform, inspected):
        for service, found in inspected.items():
            assert found["HostConfig"]["ReadonlyRootfs"], service
            code, _ = platform.exec(service, "sh", "-c", "touch /written || touch /opt/written")
            assert code != 0, service

    def test_only_what_runs_peoples_code_runs_programs_from_tmp(self, platform):
        program = "printf '#!/bin/sh\\necho ran\\n' >/tmp/one && chmod +x /tmp/one"
        run = f"{program} && {{ /tmp/one || echo refused; }}; rm /tmp/one"
        ran = {s for s in platform.containers() if "ran" in run_in(platform, s, "sh", "-c", run).splitlines()}
        assert ran == {"ray-cpu", "marimo"}

    def test_none_with_a_network_has_the_docker_socket(self, inspected):
        having = {s for s, found in inspected.items() if any(m["Source"].endswith(".sock") for m in found["Mounts"])}
        assert having == {"keeper"}
        assert inspected["keeper"]["HostConfig"]["NetworkMode"] == "none"

    def test_share_no_namespace_with_the_host(self, inspected):
        for service, found in inspected.items():
            host = found["HostConfig"]
            network = "" if service == "firewall" else host["NetworkMode"]
            assert "host" not in (network, host["PidMode"], host["IpcMode"], host["UTSMode"]), service

    def test_publish_on_the_loopback_alone(self, inspected):
        published = [p for found in inspected.values() for p in found["NetworkSettings"]["Ports"].values() if p]
        assert len(published) == 7
        assert {address["HostIp"] for port in published for address in port} == {"127.0.0.1"}


class TestServicesRefuse:
    def test_redis_without_its_password(self):
        with (
            redis.Redis(port=FULL["redis"]["port"], socket_timeout=SECONDS) as client,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            client.ping()

    def test_redis_with_a_wrong_password(self):
        with (
            redis.Redis(port=FULL["redis"]["port"], password="wrong", socket_timeout=SECONDS) as client,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            client.ping()

    @pytest.mark.parametrize(("user", "password"), [("mlflow", "wrong"), ("mlflow", ""), ("postgres", "wrong")])
    def test_postgres_with_a_wrong_password(self, user, password):
        with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
            psycopg.connect(
                host="127.0.0.1", port=FULL["postgres"]["port"], dbname="mlflow", user=user, password=password,
                connect_timeout=SECONDS,
            )  # fmt: skip

    @pytest.mark.parametrize("path", ["/api/version", "/api/jobs/", "/nodes?view=summary"])
    @pytest.mark.parametrize("token", [None, "wrong"])
    def test_the_ray_dashboard_without_its_token(self, platform, path, token):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = requests.get(url("ray", path), headers=headers, timeout=SECONDS)
        assert answer.status_code in REFUSED

    def test_marimo_without_its_token(self, platform):
        assert requests.get(url("marimo", "/api/status"), timeout=SECONDS).status_code == requests.codes.unauthorized
        page = requests.get(url("marimo", "/"), timeout=SECONDS, allow_redirects=False)
        assert page.is_redirect
        assert "/auth/login" in page.headers["Location"]

    def test_nobody_with_the_secret(self, platform):
        secrets = platform.secrets()
        with redis.Redis(port=FULL["redis"]["port"], password=secrets["redis-password"]) as client:
            assert client.ping()
        psycopg.connect(
            host="127.0.0.1", port=FULL["postgres"]["port"], dbname="mlflow", user="postgres",
            password=secrets["postgres-password"],
        ).close()  # fmt: skip
        bearer = {"Authorization": f"Bearer {secrets['ray-token']}"}
        assert requests.get(url("ray", "/api/version"), headers=bearer, timeout=SECONDS).ok
        assert requests.get(url("marimo", f"/?access_token={secrets['marimo-token']}"), timeout=SECONDS).ok


class TestSecrets:
    """No secret is anywhere but in the files that are mounted."""

    def test_are_eleven_and_a_salt(self, platform):
        assert set(platform.secrets()) == {
            "redis-password", "postgres-password", "ray-token", "marimo-token", "transcription-token",
            "grafana-password", "grafana-secret-key", "mlflow-admin-password", "mlflow-password",
            "mlflow-gateway-key", "ray-authority", "salt",
        }  # fmt: skip
        assert all(len(value) >= 32 for value in platform.secrets().values())

    def test_are_not_in_docker_inspect(self, platform, inspected):
        networks = [platform.engine.networks.get(name).attrs for name in platform.networks()]
        assert named(platform, json.dumps([*inspected.values(), *networks])) == []

    def test_are_in_no_log(self, platform):
        for service, container in platform.containers().items():
            assert named(platform, container.logs().decode(errors="replace")) == [], service

    def test_are_in_no_command_line(self, platform):
        for service in platform.containers():
            lines = run_in(platform, service, "sh", "-c", "cat /proc/[0-9]*/cmdline")
            assert named(platform, lines) == [], service

    def test_are_in_no_environment_but_one_that_mlflow_only_takes_there(self, platform):
        for service in platform.containers():
            variables = run_in(platform, service, "sh", "-c", "cat /proc/[0-9]*/environ")
            allowed = ["mlflow-gateway-key"] if service == "mlflow" else []  # decision 51
            assert named(platform, variables) == allowed, service

    def test_are_in_no_image(self, platform):
        for service, container in platform.containers().items():
            image = container.image
            assert named(platform, json.dumps([image.attrs, image.history()])) == [], service

    def test_are_in_no_log_file_of_ray(self, platform):
        folder = "/scratch/ray-cpu/ray/session_latest/logs"
        assert "raylet.out" in run_in(platform, "ray-cpu", "ls", folder)
        written = run_in(platform, "ray-cpu", "find", folder, "-type", "f", "-exec", "cat", "{}", "+")
        assert named(platform, written) == []

    def test_are_in_no_file_that_others_can_read(self, platform):
        read = {path: path.stat() for path in platform.state.rglob("*") if path.is_file()}
        open_to_others = [path for path, found in read.items() if found.st_mode & 0o044]
        assert open_to_others
        for path in open_to_others:
            assert named(platform, path.read_text(errors="replace")) == [], path

    def test_are_not_in_what_the_engine_said(self, platform):
        assert named(platform, "\n".join(platform.output)) == []
        assert named(platform, json.dumps(platform.outputs())) == []
        assert named(platform, platform.ws("outputs", "--json").stdout) == []

    def test_are_files_for_their_owners_alone(self, platform):
        for path in (platform.state / "generated").iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


def named(stack: LiveStack, text: str) -> list[str]:
    """Names of the secrets whose value is in a text."""
    return [name for name, value in stack.secrets().items() if value in text]
