"""`env_secrets` on a running cluster: tasks get them, and no inspection shows them. About two minutes."""

import contextlib
import hashlib
import json
from collections.abc import Iterator

import pytest
import redis
import requests

from testing.harness import merged
from testing.live.deployment import SMALL, LiveStack

pytestmark = pytest.mark.live
TOKEN = "hf_=" + "z" * 30 + " \u2764"
SETTINGS = merged(
    SMALL,
    {
        "network": {"name": "cslr-live-env", "subnet": "10.64.0.0/24"},
        "redis": {"port": 27384},
        "health": {"port": 27891},
        "ray": {
            "env_secrets": ["HF_TOKEN"],
            "cpu": {
                "enabled": True,
                "torch": False,
                "cpus": 1,
                "memory": "3g",
                "env": {"PLAIN": "first\nsecond", "EQUAL": "a=b=c", "HEART": "\u2764 手话"},
                "ports": {"gcs": 27379, "dashboard": 27265, "client": 27001},
            },
        },
    },
)
# Says what a task finds, and no secret: the log is looked through for that.
TASK = """
import hashlib, json, os, ray
ray.init(log_to_driver=False)
@ray.remote
def found():
    plain = {name: os.environ.get(name) for name in ("PLAIN", "EQUAL", "HEART")}
    return json.dumps({**plain, "token": hashlib.sha256(os.environ["HF_TOKEN"].encode()).hexdigest()})
print("FOUND", ray.get(found.remote()))
"""


@pytest.fixture(scope="module")
def cluster(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    stack = LiveStack.make("live-env", SETTINGS, tmp_path_factory.mktemp("env"))
    stack.remove()
    stack.further_config = {"cslr:envSecrets": {"HF_TOKEN": TOKEN}}
    stack.configure()
    try:
        done = stack.ws("up", "--engine", "embedded")
        assert done.returncode == 0, done.stdout
        yield stack
    finally:
        stack.remove()


def test_a_task_of_a_job_has_it_and_odd_values_of_env(cluster):
    command = ("ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--", "python", "-c", TASK)
    code, said = cluster.exec("ray-cpu", "sh", "/run/cslr/with_python.sh", "-m", "ray.scripts.scripts", *command[1:])
    assert code == 0, said
    [line] = [line for line in said.splitlines() if line.startswith("FOUND ")]
    assert json.loads(line.removeprefix("FOUND ")) == {
        "PLAIN": "first\nsecond",
        "EQUAL": "a=b=c",
        "HEART": "\u2764 手话",
        "token": hashlib.sha256(TOKEN.encode()).hexdigest(),
    }


def test_nothing_that_can_be_looked_at_shows_it(cluster):
    container = cluster.container("ray-cpu")
    seen = [json.dumps(container.attrs), container.logs().decode(errors="replace"), "".join(cluster.output)]
    seen += [json.dumps(cluster.outputs()), (cluster.state / "verification.json").read_text()]
    assert not any("z" * 30 in text for text in seen)


def test_another_value_replaces_who_uses_it_alone(cluster):
    before = cluster.ids()
    cluster.further_config = {"cslr:envSecrets": {"HF_TOKEN": "another"}}
    cluster.configure()
    done = cluster.ws("up", "--engine", "embedded", "--yes")
    assert done.returncode == 0, done.stdout
    after = cluster.ids()
    assert {service for service in after if after[service] != before[service]} == {"ray-cpu"}


def test_rotated_secrets_replace_who_uses_them_alone_and_the_former_ones_are_refused(cluster):
    former, before = cluster.secrets(), cluster.ids()
    refused = cluster.ws("secrets", "rotate", "redis-password", "ray-token")
    assert (refused.returncode, cluster.secrets()) == (1, former), refused.stdout
    done = cluster.ws("secrets", "rotate", "redis-password", "ray-token", "--yes")
    assert done.returncode == 0, done.stdout
    now, after = cluster.secrets(), cluster.ids()
    assert {service for service in after if after[service] != before[service]} == {"ray-cpu", "redis", "health"}
    assert {name for name in now if now[name] != former[name]} == {"redis-password", "ray-token"}
    assert opens(now) == {"redis", "ray"}
    assert opens(former) == set()
    mounted = [path.name for path in (cluster.state / "secrets").rglob("ray-token")]
    assert mounted == ["ray-token"]  # the file with the former value is gone


def opens(secrets: dict[str, str]) -> set[str]:
    """What lets somebody in who has these secrets."""
    found = set()
    with (
        contextlib.suppress(redis.exceptions.AuthenticationError),
        redis.Redis(port=SETTINGS["redis"]["port"], password=secrets["redis-password"], socket_timeout=10) as client,
    ):
        found |= {"redis"} if client.ping() else set()
    url = f"http://127.0.0.1:{SETTINGS['ray']['cpu']['ports']['dashboard']}/api/version"
    answer = requests.get(url, headers={"Authorization": f"Bearer {secrets['ray-token']}"}, timeout=10)
    return found | ({"ray"} if answer.ok else set())


def test_a_missing_value_stops_it_before_anything_changes(cluster):
    before = cluster.ids()
    cluster.further_config = {}
    cluster.configure({"redis": {"memory": "300m"}})
    refused = cluster.ws("up", "--engine", "embedded")
    assert refused.returncode == 1
    assert "HF_TOKEN has no value" in refused.stdout
    assert cluster.ids() == before
