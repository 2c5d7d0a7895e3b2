"""The program on a host of a cluster: preflight before deployment, and the notice about a single point of failure."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.document import SETTINGS_VARIABLE, load
from contracts.gateway import GatewaySettings
from contracts.ray_node import AgentSettings, NodeSettings
from embedded_engine.program import ProgramError
from preflight.cluster_facts import ClusterFacts
from preflight.host_facts import HostFacts
from testing import lab_facts
from testing.harness import Deployed, deploy
from testing.lab import LAB, changed

SETTINGS: dict[str, Any] = {}


@pytest.fixture
def asked() -> list[dict[str, Any]]:
    """Whom the preflight asked, and with what."""
    return []


@pytest.fixture
def deploy_alpha(monkeypatch, tmp_path, asked):
    """Deploys alpha where its host and its cluster are as told."""

    def run(cluster: ClusterFacts = lab_facts.SOUND, block: dict[str, Any] = LAB, *, preview: bool = False) -> Deployed:
        def probe(membership: Any, **options: Any) -> ClusterFacts:
            asked.append({"host": membership.host, **options})
            return replace(cluster, machine=options["machine"])

        monkeypatch.setattr("preflight.docker_engine.refuse_unusable_engine", lambda: None)
        monkeypatch.setattr(HostFacts, "probe", lambda *_, **__: lab_facts.HOST)
        monkeypatch.setattr(ClusterFacts, "probe", probe)
        looking = {"preflight": "true"}
        return deploy(SETTINGS, state_home=tmp_path, stack="alpha", cluster=block, secrets=looking, preview=preview)

    return run


class TestPreflight:
    @pytest.mark.parametrize("preview", [False, True])
    def test_that_fails_stops_the_program_before_anything_is_declared(self, deploy_alpha, preview):
        with pytest.raises(ProgramError, match=r"the clock of alpha is 9\.0 s ahead of that of Redis on gamma"):
            deploy_alpha(replace(lab_facts.SOUND, clock_ahead=9.0), preview=preview)

    def test_asks_redis_with_its_password_and_under_the_name_that_the_host_publishes(self, deploy_alpha, asked):
        deployed = deploy_alpha()
        secrets = deployed.generated_secrets()
        [question] = asked
        assert question == {"host": "alpha", "machine": secrets["machine"], "password": secrets["redis-password"]}
        assert secrets["machine"] in deployed.containers["ray-gateway"].env[SETTINGS_VARIABLE]

    def test_has_its_say_where_nothing_is_wrong(self, deploy_alpha, caplog):
        caplog.set_level("INFO", logger="cslr.program")
        deploy_alpha(replace(lab_facts.SOUND, clock_ahead=3.0))
        assert ("WARNING", "the clock of alpha is 3.0 s ahead of that of Redis on gamma") in [
            (record.levelname, record.getMessage()) for record in caplog.records
        ]


class TestSinglePoint:
    def test_is_an_output_where_there_is_one(self, deploy_alpha):
        outputs = deploy_alpha(block=changed(redis={"host": "gamma"})).outputs
        assert outputs["single_point"].startswith("Redis on gamma is the single point of this cluster")

    def test_is_none_where_redis_has_a_copy(self, deploy_alpha):
        assert "single_point" not in deploy_alpha().outputs


class TestRedisUsers:
    """Where which right in Redis is: on a worker none to write, and the all-powerful one where no Ray runs."""

    @pytest.mark.parametrize("paired", [False, True])
    def test_only_what_may_lead_takes_part_in_the_election(self, deploy_alpha, paired):
        block = {**LAB, "redis": {"host": "alpha", "replica": "beta"}} if paired else LAB
        given = {
            service: {target.rpartition("/")[2] for target in container.mounts if "/run/secrets/redis-" in target}
            for service, container in deploy_alpha(block=block).containers.items()
        }
        assert given["ray-cpu"] == {"redis-reader"}
        assert given["ray-head"] == {"redis-reader", "redis-agent"}
        assert given["ray-gateway"] == ({"redis-password"} if paired else {"redis-agent"})
        assert given["health"] == {"redis-reader"}

    def test_each_program_is_told_the_user_of_its_secret(self, deploy_alpha):
        containers = deploy_alpha().containers
        told = {
            "ray-gateway": load(GatewaySettings, containers["ray-gateway"].env[SETTINGS_VARIABLE]).redis,
            "ray-cpu": load(NodeSettings, containers["ray-cpu"].env[SETTINGS_VARIABLE]).redis,
            "ray-head": load(AgentSettings, containers["ray-head"].env[SETTINGS_VARIABLE]).redis,
        }
        logins = {service: (redis.user, str(redis.password_file)) for service, redis in told.items()}
        for service, (user, file) in logins.items():
            assert file == f"/run/secrets/{user.replace('cslr', 'redis')}"
            assert file in containers[service].mounts


def test_the_firewall_does_not_wait_long_for_the_names_of_hosts(deploy_alpha):
    """Until it has looked them up it has set no rule, and a host whose resolver is dead would stand open."""
    assert deploy_alpha().containers["firewall"].env["RES_OPTIONS"] == "timeout:1 attempts:1"
