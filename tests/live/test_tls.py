"""TLS in front of a stack's web services: their clients, plain HTTP, and a renewed certificate. About a minute."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from preflight.host_facts import outside_addresses
from stack.running_work import look
from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack

pytestmark = pytest.mark.live
HEALTH, DASHBOARD, CLIENT, MLFLOW = 28591, 28592, 28593, 28595
SETTINGS = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-tls", "subnet": "10.230.0.0/24"},
        "redis": {"port": 28594},
        "health": {"port": HEALTH},
        "ray": {
            "cpu": {
                "enabled": True,
                "torch": False,
                "cpus": 1,
                "memory": "3g",
                "ports": {"dashboard": DASHBOARD, "client": CLIENT},
            }
        },
        "postgres": {"enabled": True, "port": None},
        "mlflow": {"enabled": True, "port": MLFLOW, "logins": True},
        "tls": {"source": "generated"},
    },
)
RENEWED_SECONDS = 60.0


@pytest.fixture(scope="module")
def stack(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    stack = LiveStack.make("live-tls", SETTINGS, tmp_path_factory.mktemp("tls"))
    stack.remove()
    stack.configure()
    try:
        done = stack.ws("up", "--engine", "embedded")  # its verification talks to the services as people do
        assert done.returncode == 0, done.stdout
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def authority(stack) -> Path:
    file: Path = stack.state / "tls/authority.pem"
    return file


def served() -> x509.Certificate:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", HEALTH)).encode())


def test_the_stacks_authority_vouches_for_each_page(stack, authority):
    for port in (HEALTH, DASHBOARD):
        address = f"https://127.0.0.1:{port}/"
        assert requests.get(address, verify=authority, timeout=60).status_code == 200
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(address, timeout=60)


def test_plain_http_leads_to_tls(stack):
    answer = requests.get(f"http://127.0.0.1:{HEALTH}/", allow_redirects=False, timeout=60)
    assert (answer.status_code, answer.headers["Location"]) == (308, f"https://127.0.0.1:{HEALTH}/")


def test_a_job_is_submitted_through_it(stack, authority):
    jobs = f"https://localhost:{DASHBOARD}/api/jobs/"
    headers = {"Authorization": f"Bearer {stack.secrets()['ray-token']}"}
    asked = {"entrypoint": "echo done", "submission_id": "through-tls"}
    assert requests.post(jobs, json=asked, verify=authority, timeout=60).status_code in {401, 403}
    assert requests.post(jobs, json=asked, headers=headers, verify=authority, timeout=60).status_code == 200
    answer = requests.get(f"{jobs}through-tls", headers=headers, verify=authority, timeout=60)
    assert answer.json()["submission_id"] == "through-tls"


def test_people_get_accounts_in_mlflow_which_is_asked_without_its_port(stack, authority):
    added = stack.ws("user", "add", "ann", "--no-notebooks")
    assert added.returncode == 0, added.stdout
    login = ("ann", added.stdout.split()[-1])
    url = f"https://127.0.0.1:{MLFLOW}/api/2.0/mlflow/experiments/get"
    for account, answer in ((login, 200), (("ann", "another"), 401)):
        found = requests.get(url, params={"experiment_id": "0"}, auth=account, verify=authority, timeout=60)
        assert found.status_code == answer


def test_runs_that_nobody_ended_are_found(stack, authority):
    url = f"https://127.0.0.1:{MLFLOW}/api/2.0/mlflow/runs/create"
    run = {"experiment_id": "0", "start_time": 1}
    requests.post(url, json=run, auth=stack.mlflow_login, verify=authority, timeout=60).raise_for_status()
    assert look(stack.identity).runs == 1


def test_the_clusters_nodes_are_listed_though_the_dashboards_port_takes_tls_alone(stack):
    listed = stack.ws("node", "list")
    assert listed.returncode == 0, listed.stdout
    assert "alive" in listed.stdout


def test_a_new_name_is_in_the_certificate_and_nothing_of_it_is_replaced(stack, authority):
    before, ids = served(), stack.ids()
    stack.configure({"network": {"names": ["lab.example.org"]}})
    done = stack.ws("up", "--engine", "embedded", "--yes")
    assert done.returncode == 0, done.stdout
    until = time.monotonic() + RENEWED_SECONDS
    while served().fingerprint(hashes.SHA256()) == before.fingerprint(hashes.SHA256()):
        assert time.monotonic() < until, stack.container("tls").logs().decode(errors="replace")
        time.sleep(1)
    names = served().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "lab.example.org" in names.get_values_for_type(x509.DNSName)
    assert stack.ids()["tls"] == ids["tls"]
    assert requests.get(f"https://127.0.0.1:{HEALTH}/", verify=authority, timeout=60).status_code == 200


def test_is_turned_off_and_on_again_by_one_command_each(stack, authority):
    stack.configure({"tls": {"enabled": False}})
    done = stack.ws("up", "--engine", "embedded", "--yes")
    assert done.returncode == 0, done.stdout
    assert "tls" not in stack.containers()
    assert requests.get(f"http://127.0.0.1:{HEALTH}/", timeout=60).status_code == 200
    stack.configure()
    done = stack.ws("up", "--engine", "embedded", "--yes")
    assert done.returncode == 0, done.stdout
    assert requests.get(f"https://127.0.0.1:{HEALTH}/", verify=authority, timeout=60).status_code == 200


@pytest.mark.skipif(not outside_addresses(), reason="this host has no address that another machine reaches it by")
def test_another_network_reaches_the_stack_through_it(stack):
    stack.configure({"network": {"bind_address": "0.0.0.0"}, "cluster_test": {"subnet": "172.30.6.0/24"}})
    assert stack.ws("up", "--engine", "embedded", "--yes").returncode == 0
    done = stack.ws("test", "--run")
    assert done.returncode == 0, done.stdout
    for check in ("published_ports", "other_ports", "health", "dashboard", "job_submission", "ray_client"):
        assert f"pass {check}" in done.stdout
    assert f"https://{outside_addresses()[0]}:{HEALTH}" in done.stdout
