"""The whole program with the stack files: the resources that it registers, in an update and in a preview."""

import importlib
import json
import os
import re
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import pytest

from components.image_set import IMAGES
from components.keeper import CONTAINERS, LOOK, TOLD_TARGET, DockerSocket, docker_socket
from config.project import FOLDER
from config.services import IMAGE_OF, SERVICES
from contracts.document import SETTINGS_VARIABLE, dump, load, load_settings
from contracts.firewall import FirewallSettings
from contracts.gateway import GatewaySettings, Target
from contracts.gpus import ALL_GPUS, NO_GPUS
from contracts.health import HealthSettings, Kind
from contracts.keeper import KeeperSettings
from contracts.queue import Channel, QueueSettings, QueueUser
from contracts.ray_node import AgentSettings, NodeSettings
from contracts.transcription import TranscriptionSettings
from embedded_engine.program import ProgramError
from stack.owner import RECORD
from stack.programs import source_of
from stack.pulumi_internals import Unknown
from testing.harness import (
    CLUSTER,
    COMMAND,
    CONTAINER,
    IMAGE,
    LOGIN,
    LOGIN_KEY,
    MATRIX,
    NETWORK,
    REMOTE_IMAGE,
    SOCKET,
    VOLUME,
    Deployed,
    deploy,
    merged,
    stack_settings,
)
from verification.spec import VerificationSpec

DEV_SERVICES = {"firewall", "redis", "postgres", "mlflow", "health", "ray-cpu", "marimo", "keeper"}
ON_EVERY_HOST = {"firewall", "health", "ray-gateway", "ray-cpu", "marimo", "keeper"}
SERVICES_OF = {"dev": DEV_SERVICES, "gpu": DEV_SERVICES | {"ray-gpu"}}
SECRETS = {
    "redisPassword": "redis-Password-7f3a",
    "postgresPassword": "postgres-Password-81bc",
    "rayToken": "ray-Token-55d0",
    "marimoToken": "marimo-Token-e94c",
    "transcriptionToken": "transcription-Token-27af",
}
TRANSCRIPTION = "transcription-token"
PULLED = {"source": "pull", "reference": "registry.example.org/lab/image:1"}
ALL_PULLED = {
    "firewall": {"image": PULLED},
    "redis": {"image": PULLED},
    "postgres": {"image": PULLED},
    "mlflow": {"image": PULLED},
    "marimo": {"image": PULLED},
    "health": {"image": PULLED},
    "ray": {"cpu": {"image": PULLED}},
}

# Container → the class of the document that its program reads.
SETTINGS: dict[str, type[Any]] = {
    "firewall": FirewallSettings,
    "health": HealthSettings,
    "keeper": KeeperSettings,
    "ray-cpu": NodeSettings,
    "ray-gateway": GatewaySettings,
    "ray-gpu": NodeSettings,
    "ray-head": AgentSettings,
}

# Container → the modules that it is given, without the hooks into Ray: an edit of the way Ray is supervised replaces
# neither health nor gateway.
MODULES = {
    "health": """contracts.alerts contracts.document contracts.facts contracts.health contracts.keeper
        contracts.mlflow_login contracts.postgres contracts.ray_nodes contracts.status coordination.errors
        coordination.lease coordination.membership coordination.redis_client coordination.redis_users
        coordination.regular_file
        entrypoints.health.alerts entrypoints.health.asker entrypoints.health.connections entrypoints.http_bounds
        entrypoints.health.election entrypoints.health.facts
        entrypoints.health.failure entrypoints.health.keeper_look entrypoints.health.metrics entrypoints.health.monitor
        entrypoints.health.disks entrypoints.health.page.assets entrypoints.health.page.assets.charts.js
        entrypoints.health.page.assets.page.css entrypoints.health.page.assets.page.js
        entrypoints.health.page.charts entrypoints.health.page.events entrypoints.health.page.faults
        entrypoints.health.page.gpus
        entrypoints.health.page.jobs entrypoints.health.page.kept entrypoints.health.page.markup
        entrypoints.health.page.markup.macros.html entrypoints.health.page.prometheus
        entrypoints.health.page.routes entrypoints.health.page.runs entrypoints.health.page.snapshot
        entrypoints.health.page.templates entrypoints.health.page.templates.alerts.html
        entrypoints.health.page.templates.broken.html entrypoints.health.page.templates.deployment.html
        entrypoints.health.page.templates.gpus.html entrypoints.health.page.templates.hosts.html
        entrypoints.health.page.templates.jobs.html
        entrypoints.health.page.templates.nodes.html entrypoints.health.page.templates.page.html
        entrypoints.health.page.templates.runs.html entrypoints.health.page.templates.services.html
        entrypoints.health.page.templates.summary.html entrypoints.health.page.templates.tiles.html
        entrypoints.health.page.templates.upkeep.html entrypoints.health.page.tiles
        entrypoints.health.page.words
        entrypoints.health.probes
        entrypoints.health.ray_cluster entrypoints.health.secrets entrypoints.health.server
        entrypoints.health.targets""",
    "ray-gateway": """contracts.document contracts.gateway contracts.redis coordination.errors coordination.lease
        coordination.redis_client coordination.redis_pair coordination.redis_users entrypoints.command_line
        entrypoints.gateway.gateway entrypoints.gateway.proxy entrypoints.heartbeat entrypoints.log""",
    "firewall": "contracts.document contracts.firewall entrypoints.firewall entrypoints.log",
    "keeper": """contracts.document contracts.exporter contracts.keeper entrypoints.heartbeat entrypoints.keeper
        entrypoints.log""",
    "ray-head": """contracts.datasets contracts.document contracts.gpus contracts.ray_memory contracts.ray_node
        contracts.ray_nodes
        contracts.redis coordination.election coordination.errors coordination.lease
        coordination.own_address coordination.redis_client coordination.redis_users entrypoints.command_line
        entrypoints.log entrypoints.ray.agent entrypoints.ray.command entrypoints.ray.container
        entrypoints.ray.epoch_store entrypoints.ray.hidden_files entrypoints.ray.janitor entrypoints.ray.jobs
        entrypoints.ray.launcher entrypoints.ray.memory_guard entrypoints.ray.node_guard
        entrypoints.ray.process_guard entrypoints.ray.scratch entrypoints.ray.supervision entrypoints.ray.watchdog""",
    "ray-cpu": """contracts.datasets contracts.document contracts.gpus contracts.ray_memory contracts.ray_node
        contracts.ray_nodes
        contracts.redis contracts.status coordination.errors
        coordination.lease
        coordination.membership coordination.own_address coordination.redis_client coordination.redis_users
        entrypoints.command_line entrypoints.gpu_devices entrypoints.log entrypoints.ray.command
        entrypoints.ray.container
        entrypoints.ray.hidden_files entrypoints.ray.janitor entrypoints.ray.jobs entrypoints.ray.launcher
        entrypoints.ray.memory_guard
        entrypoints.ray.node entrypoints.ray.node_guard entrypoints.ray.process_guard entrypoints.ray.redis_relay
        entrypoints.ray.scratch entrypoints.ray.single_host entrypoints.ray.supervision entrypoints.ray.worker""",
    "marimo": """entrypoints.examples entrypoints.marimo.notebook_packages entrypoints.marimo.server
        entrypoints.ray.hidden_files entrypoints.ray.launcher entrypoints.ray.memory_guard
        entrypoints.ray.process_guard""",
}


def modules_of(container: Any) -> set[str]:
    """The modules of a container's programs."""
    modules = {target.removeprefix("/run/cslr/").removesuffix(".py").replace("/", ".") for target in container.mounts}
    return {name for name in modules if name.startswith(("contracts.", "coordination.", "entrypoints."))}


@pytest.fixture(scope="module")
def state_home(tmp_path_factory):
    """One state folder for all runs of this module, so that they share secrets and can be compared."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def dev(state_home) -> Deployed:
    return deploy(stack_settings("dev"), state_home=state_home)


PROGRAMS = [(stack, preview) for stack in ("dev", "gpu") for preview in (False, True)]


@pytest.fixture(scope="module", params=PROGRAMS, ids=str)
def program(request, state_home) -> Deployed:
    """Each stack file, in an update and in a preview."""
    stack, preview = request.param
    return deploy(stack_settings(stack), state_home=state_home, stack=stack, preview=preview)


@pytest.fixture(scope="module")
def matrix(state_home) -> Deployed:
    """A stack that builds and pushes the image family for two platforms."""
    several = {"registry": "localhost:5000/cslr", "push": True, "platforms": ["linux/amd64", "linux/arm64"]}
    settings = merged(stack_settings("matrix", MATRIX), several)
    return deploy(settings, state_home=state_home, stack="matrix", key=MATRIX)


@pytest.fixture(scope="module", params=[*PROGRAMS, ("matrix", False)], ids=str)
def any_program(request, state_home, matrix: Deployed) -> Deployed:
    """Each stack file, also that of the image family."""
    stack, preview = request.param
    if stack == "matrix":
        return matrix
    return deploy(stack_settings(stack), state_home=state_home, stack=stack, preview=preview)


def changed_containers(before: Deployed, after: Deployed) -> dict[str, set[str]]:
    """Service → names of the inputs that differ; `{"*"}` for a container that is new or gone."""
    services = {*before.containers, *after.containers}
    changes = {}
    for service in services:
        old, new = before.containers.get(service), after.containers.get(service)
        if old is None or new is None:
            changes[service] = {"*"}
        elif keys := {k for k in {*old.inputs, *new.inputs} if old.inputs.get(k) != new.inputs.get(k)}:
            changes[service] = keys
    return changes


def told_to_gateway(deployed: Deployed) -> GatewaySettings:
    return load(GatewaySettings, deployed.containers["ray-gateway"].env[SETTINGS_VARIABLE])


def told_to_node(container: Any) -> NodeSettings:
    return load(NodeSettings, container.env[SETTINGS_VARIABLE])


def told_to_agent(container: Any) -> AgentSettings:
    return load(AgentSettings, container.env[SETTINGS_VARIABLE])


def everything_said(deployed: Deployed) -> str:
    """All inputs, outputs and names of a run as one text, to search in."""
    said = [[r.urn, r.inputs, r.outputs] for r in deployed.resources.values()]
    return json.dumps([said, deployed.outputs], default=str)


class TestEveryContainer:
    def test_stands_for_a_service_of_the_stack(self, program):
        stack = next(iter(program.resources)).split(":")[2]
        assert set(program.containers) == SERVICES_OF[stack]
        for service, container in program.containers.items():
            assert container.inputs["name"] == f"cslr-{stack}-{service}"

    def test_says_when_it_is_healthy_and_is_waited_for(self, program):
        for container in program.containers.values():
            check = container.inputs["healthcheck"]
            assert check["tests"][0] == "CMD"
            assert len(check["tests"]) > 1
            assert {"interval", "timeout", "retries", "startPeriod"} <= set(check)
            assert container.inputs["wait"] is True
            assert container.inputs["waitTimeout"] >= 60

    def test_cannot_fill_the_disk_with_its_log(self, program):
        for container in program.containers.values():
            assert container.inputs["logDriver"] == "json-file"
            assert container.inputs["logOpts"] == {"max-file": "3", "max-size": "10m"}

    def test_says_whose_it_is(self, program):
        stack = next(iter(program.resources)).split(":")[2]
        for service, container in program.containers.items():
            assert container.labels == {"cslr.project": "cslr", "cslr.stack": stack, "cslr.component": service}

    def test_has_no_more_rights_than_it_needs(self, program):
        users = {"keeper": f"1000:{SOCKET.group}", "firewall": "0:0"}
        for service, container in program.containers.items():
            adds = {"adds": ["CAP_NET_ADMIN"]} if service == "firewall" else {}
            assert container.inputs["user"] == users.get(service, "1000:1000")
            assert container.inputs["readOnly"] is True
            assert container.inputs["capabilities"] == {"drops": ["ALL"], **adds}
            assert container.inputs["securityOpts"] == ["no-new-privileges:true"]
            assert "privileged" not in container.inputs

    def test_cannot_reach_the_docker_daemon_unless_it_is_the_keeper(self, program):
        for service, container in program.containers.items():
            for mount in container.mounts.values() if service != "keeper" else ():
                assert "docker" not in str(mount["source"])
                assert not str(mount["source"]).startswith(("/var/run", "/run"))

    def test_without_a_port_is_watched_by_what_the_keeper_tells(self, program):
        told, keeper, health = str(TOLD_TARGET), program.containers["keeper"], program.containers["health"]
        assert keeper.mounts[told]["source"] == health.mounts[told]["source"]
        assert (keeper.mounts[told]["readOnly"], health.mounts[told]["readOnly"]) == (False, True)
        written = load_settings(KeeperSettings, keeper.env).look
        settings = load_settings(HealthSettings, health.env)
        assert written == settings.look
        assert {Kind.KEEPER, Kind.FIREWALL} <= {service.kind for service in settings.services}

    def test_publishes_on_the_bind_address_alone(self, program):
        for container in program.containers.values():
            for port in container.inputs.get("ports", []):
                assert port["ip"] == "127.0.0.1"
                assert port["protocol"] == "tcp"

    def test_cannot_swap(self, program):
        for container in program.containers.values():
            assert container.inputs["memory"] == container.inputs["memorySwap"] > 0

    def test_is_reached_by_the_name_of_its_service(self, program):
        for service, container in program.containers.items():
            if service in ("keeper", "firewall"):
                continue  # they are unreachable
            (network,) = container.inputs["networksAdvanced"]
            former = {"redis": ["ray-redis"], "postgres": ["mlflow-postgres"]}.get(service, [])
            assert network["aliases"] == [service, *former]
            assert network["name"] == "ray-network"

    def test_keeps_data_in_a_labelled_volume_that_outlives_it(self, program):
        volumes = program.of_type(VOLUME)
        of_work = {"workspace-ray-scratch", "workspace-home"}
        assert set(volumes) == {"redis-data", "postgres-data", "mlflow-artifacts", "marimo-notebooks", *of_work}
        for volume in volumes.values():
            assert volume.retain_on_delete
            assert volume.labels["cslr.project"] == "cslr"


class TestGpu:
    def test_none_is_asked_for_on_dev(self, dev):
        assert all("gpus" not in r.inputs and "deviceRequests" not in r.inputs for r in dev.custom)
        assert told_to_node(dev.containers["ray-cpu"]).node.gpus == NO_GPUS

    def test_one_container_alone_asks_for_it_on_gpu(self, state_home):
        gpu = deploy(stack_settings("gpu"), state_home=state_home, stack="gpu")
        assert {s for s, c in gpu.containers.items() if "deviceRequests" in c.inputs} == {"ray-gpu"}
        assert told_to_node(gpu.containers["ray-gpu"]).node.gpus == ALL_GPUS

    def test_stacks_differ_only_where_meant(self, dev, state_home):
        gpu = deploy(stack_settings("gpu"), state_home=state_home)
        assert changed_containers(dev, gpu) == {
            "ray-gpu": {"*"},
            "ray-cpu": {"image", "envs"},  # torch for CUDA; a second candidate
            "marimo": {"image"},
            "health": {"envs"},  # one node more to watch
        }
        assert {r.name for r in gpu.custom} - {r.name for r in dev.custom} == {"ray-gpu-container"}
        assert {r.name for r in dev.custom} <= {r.name for r in gpu.custom}

    def test_listed_devices_are_requested_and_counted(self, state_home):
        settings = merged(stack_settings("gpu"), {"gpu": {"devices": [1, 0]}})
        node = deploy(settings, state_home=state_home, stack="gpu").containers["ray-gpu"]
        assert node.inputs["deviceRequests"][0]["deviceIds"] == ["0", "1"]
        assert told_to_node(node).node.gpus.count == 2


class TestSecrets:
    def test_no_generated_secret_is_said_anywhere(self, dev):
        secrets = dev.generated_secrets()
        assert set(secrets) == {
            "redis-password",
            "postgres-password",
            "ray-token",
            "ray-authority",
            "marimo-token",
            TRANSCRIPTION,
            "grafana-password",
            "grafana-secret-key",
            "mlflow-admin-password",
            "mlflow-password",
            "mlflow-gateway-key",
            "salt",
        }
        said = everything_said(dev)
        assert [name for name, value in secrets.items() if value in said] == []

    @pytest.mark.parametrize("preview", [False, True])
    def test_no_configured_secret_is_said_anywhere(self, state_home, preview):
        deployed = deploy(stack_settings("dev"), state_home=state_home, secrets=SECRETS, preview=preview)
        said = everything_said(deployed)
        assert [key for key, value in SECRETS.items() if value in said] == []

    def test_reach_a_container_as_read_only_files(self, program):
        for service, container in program.containers.items():
            mounts = [m for target, m in container.mounts.items() if target.startswith("/run/secrets/")]
            assert bool(mounts) == (service not in ("keeper", "firewall"))
            assert all(mount["type"] == "bind" and mount["readOnly"] is True for mount in mounts)

    def test_go_only_where_they_are_needed(self, dev):
        given = {
            service: {target.rpartition("/")[2] for target in container.mounts if target.startswith("/run/secrets/")}
            for service, container in dev.containers.items()
        }
        assert given == {
            "redis": {"redis.conf", "redis-password"},
            "postgres": {"postgres-password", "postgres-mlflow", "postgres-queue", "postgres-monitor"},
            "mlflow": {"postgres-mlflow", "mlflow-gateway-key", "mlflow-password", "mlflow-admin-password"},
            "ray-cpu": {"ray-token", "redis-reader", "redis-agent", "mlflow-password"},
            "marimo": {"marimo-token", "ray-token", "mlflow-password"},
            "health": {"redis-reader", "postgres-monitor", "ray-token", "marimo-token", "mlflow-password"},
            "keeper": set(),
            "firewall": set(),
        }

    def test_unusable_one_is_refused_by_its_key(self, state_home):
        with pytest.raises(ProgramError, match=r"Pulumi\.dev\.yaml: cslr:rayToken: not usable as a secret"):
            deploy({}, state_home=state_home, secrets={"rayToken": "short"})


class TestDatasets:
    SETTINGS: ClassVar = {
        "datasets": {"signs": {"source": "/srv/signs"}, "notes": {"source": "/srv/notes", "read_only": False}},
        "transcription": {"enabled": True},
    }

    @pytest.fixture
    def without(self, state_home):
        return deploy({"transcription": {"enabled": True}}, state_home=state_home)

    @pytest.fixture
    def deployed(self, state_home):
        return deploy(self.SETTINGS, state_home=state_home)

    @pytest.mark.parametrize(
        ("service", "folder"),
        [("ray-cpu", "/data"), ("marimo", "/data"), ("transcription", "/media/datasets")],
    )
    def test_are_mounted_as_they_are_declared(self, deployed, service, folder):
        found = {t: (m["source"], m["type"], m["readOnly"]) for t, m in deployed.containers[service].mounts.items()}
        assert found[f"{folder}/signs"] == ("/srv/signs", "bind", True)
        assert found[f"{folder}/notes"] == ("/srv/notes", "bind", False)

    def test_are_told_to_the_node_that_offers_them(self, deployed):
        assert told_to_node(deployed.containers["ray-cpu"]).node.datasets == ("notes", "signs")

    def test_change_only_the_containers_that_mount_them(self, deployed, without):
        """Which a deployment replaces; all others run on."""
        changed = {
            service
            for service, container in deployed.containers.items()
            if container.inputs != without.containers[service].inputs
        }
        assert changed == {"ray-cpu", "marimo", "transcription"}

    def test_of_a_cluster_are_on_the_hosts_that_hold_them(self, state_home):
        block = CLUSTER | {
            "datasets": {"everywhere": {"source": "/srv/a"}, "elsewhere": {"source": "/srv/b", "hosts": ["gamma"]}}
        }
        deployed = deploy({}, state_home=state_home, stack="beta", cluster=block)
        targets = [target for target in deployed.containers["ray-cpu"].mounts if target.startswith("/data")]
        assert targets == ["/data/everywhere"]
        assert told_to_node(deployed.containers["ray-cpu"]).node.datasets == ("everywhere",)
        assert not [target for target in deployed.containers["ray-head"].mounts if target.startswith("/data")]


class TestCheckpoints:
    @staticmethod
    def given(state_home: Path, checkpoints: str | None) -> dict[str, tuple[str | None, str | None]]:
        """Each service → what it has at /checkpoints, and what Ray is told there."""
        deployed = deploy({"ray": {"checkpoints": checkpoints}}, state_home=state_home)
        return {
            name: (container.mounts.get("/checkpoints", {}).get("source"), container.env.get("CSLR_CHECKPOINTS"))
            for name, container in deployed.containers.items()
            if name in ("ray-cpu", "marimo", "mlflow")
        }

    @pytest.mark.parametrize(
        ("checkpoints", "had"),
        [
            (None, (None, None)),
            ("/mnt/nfs", ("/mnt/nfs", "/checkpoints")),
            ("s3://bucket/lab", (None, "s3://bucket/lab")),
        ],
    )
    def test_are_at_one_path_for_nodes_and_notebooks(self, state_home, checkpoints, had):
        assert self.given(state_home, checkpoints) == {"ray-cpu": had, "marimo": had, "mlflow": (None, None)}

    def test_of_a_cluster_are_there_for_drivers_on_the_head(self, state_home):
        settings = {"ray": {"checkpoints": "/mnt/nfs"}}
        deployed = deploy(settings, state_home=state_home, stack="beta", cluster=CLUSTER)
        assert deployed.containers["ray-head"].mounts["/checkpoints"]["source"] == "/mnt/nfs"


class TestQueue:
    SETTINGS: ClassVar = {
        "queue": {
            "enabled": True,
            "env_secrets": ["ANNA"],
            "users": {
                "anna": {
                    "shares": 2,
                    "limits": {"GPU": 4, "memory": "64g"},
                    "tell": [{"kind": "slack", "variable": "ANNA", "events": ["failed"]}],
                }
            },
            "half_life_days": 1,
        }
    }
    SECRETS: ClassVar = {"envSecrets": '{"ANNA": "https://hooks.example.org/anna"}'}

    def test_is_off_unless_asked_for(self, dev):
        assert "queue" not in dev.containers

    def test_is_told_its_users_and_where_ray_postgres_and_mlflow_are(self, state_home):
        container = deploy(self.SETTINGS, state_home=state_home, secrets=self.SECRETS).containers["queue"]
        told = load_settings(QueueSettings, container.env)
        anna = QueueUser(
            shares=2.0,
            limits={"GPU": 4.0, "memory": 64.0 * 2**30},
            tell=(Channel(kind="slack", target="ANNA", events=("failed",)),),
        )
        assert (told.users, told.half_life) == ({"anna": anna}, 86400.0)
        assert told.database == "host=postgres port=5432 dbname=queue user=queue"
        assert (told.dashboards, told.tracking_uri) == (("ray-cpu:8265",), "http://mlflow:5000")

    def test_does_not_have_the_password_of_the_owner_of_postgres(self, state_home):
        mounts = deploy(self.SETTINGS, state_home=state_home, secrets=self.SECRETS).containers["queue"].mounts
        secrets = {target.removeprefix("/run/secrets/") for target in mounts if target.startswith("/run/secrets/")}
        assert secrets == {"ray-token", "postgres-queue", "env/ANNA"}

    def test_is_given_the_scheduler_and_is_watched(self, state_home):
        deployed = deploy(self.SETTINGS, state_home=state_home, secrets=self.SECRETS)
        assert "/run/cslr/scheduling/decide.py" in deployed.containers["queue"].mounts
        watched = load_settings(HealthSettings, deployed.containers["health"].env).services
        assert Kind.QUEUE in {service.kind for service in watched}

    def test_changes_no_container_of_other_work(self, state_home):
        """Above all not Postgres, which MLflow uses."""
        with_queue = deploy({"queue": {"enabled": True}}, state_home=state_home)
        without = deploy({}, state_home=state_home)
        same = ("postgres", "mlflow", "redis", "ray-cpu", "marimo", "keeper")
        assert all(with_queue.containers[name].inputs == without.containers[name].inputs for name in same)

    def test_runs_on_the_host_of_postgres(self, state_home):
        with pytest.raises(ProgramError, match="which the cluster lab has on gamma"):
            deploy({"queue": {"enabled": True}}, state_home=state_home, stack="beta", cluster=CLUSTER)

    def test_is_reached_from_all_hosts(self, state_home):
        deployed = deploy({"queue": {"enabled": True}}, state_home=state_home, stack="gamma", cluster=CLUSTER)
        (port,) = deployed.containers["queue"].inputs["ports"]
        assert (port["ip"], port["external"]) == (CLUSTER["hosts"]["gamma"]["address"], 8070)


OTHER_KEY = (  # RFC 8032's first public key
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea ben@desk"
)


class TestDevel:
    def test_is_off_unless_asked_for(self, dev):
        assert "devel" not in dev.containers
        assert "ssh" not in dev.outputs

    def test_has_what_notebooks_have(self, state_home):
        """So that a program runs there as in a notebook, and finds the same files."""
        settings = merged(LOGIN, {"datasets": {"signs": {"source": "/srv/signs"}}})
        deployed = deploy(settings, state_home=state_home)
        devel, marimo = deployed.containers["devel"], deployed.containers["marimo"]
        same = ("/home/cslr", "/scratch", "/workspace/notebooks", "/data/signs", "/run/secrets/ray-token")
        assert all(devel.mounts[target] == marimo.mounts[target] for target in same)
        differ = {name for name in marimo.env if devel.env.get(name) != marimo.env[name]}
        assert differ == {"TMPDIR"}
        assert devel.env["RAY_API_SERVER_ADDRESS"] == "http://ray-cpu:8265"

    def test_keys_are_in_a_folder_that_follows_the_stack(self, state_home):
        """A key that comes or goes replaces no container, and so ends nobody's session; yet the engine sees it."""
        more = merged(LOGIN, {"devel": {"keys": [LOGIN_KEY, OTHER_KEY]}})
        one, two = (deploy(settings, state_home=state_home) for settings in (LOGIN, more))
        assert one.containers["devel"].inputs == two.containers["devel"].inputs
        mount = two.containers["devel"].mounts["/run/cslr/keys"]
        assert mount["readOnly"] is True
        assert Path(mount["source"], "authorized_keys").read_text() == f"{LOGIN_KEY}\n{OTHER_KEY}\n"
        assert one.verification_spec != two.verification_spec

    def test_is_published_on_loopback_and_watched(self, state_home):
        deployed = deploy(LOGIN, state_home=state_home)
        (port,) = deployed.containers["devel"].inputs["ports"]
        assert (port["ip"], port["external"], port["internal"]) == ("127.0.0.1", 2222, 2222)
        watched = load_settings(HealthSettings, deployed.containers["health"].env).services
        (found,) = (service for service in watched if service.kind is Kind.DEVEL)
        assert (found.port, found.url) == (2222, "ssh://cslr@127.0.0.1:2222")
        assert deployed.outputs["urls"]["devel"] == "ssh://cslr@127.0.0.1:2222"

    def test_how_to_log_in_is_an_output(self, state_home):
        network = {"network": {"bind_address": "192.168.1.20", "names": ["gpuhost.example.org"]}}
        outputs = deploy(merged(LOGIN, network), state_home=state_home).outputs
        assert outputs["login_keys"] == ["ann@laptop SHA256:lfNceiA6WSZEebxxhxoReuZWxx8F56fYCTHAczmEH/w"]
        lines = outputs["ssh"].splitlines()
        assert lines[0] == "ssh -p 2222 cslr@gpuhost.example.org"
        assert lines[1:] == [
            "Host cslr-dev-devel",
            "    HostName gpuhost.example.org",
            "    Port 2222",
            "    User cslr",
            "    HostKeyAlias cslr-dev-devel",
        ]

    def test_a_port_of_loopback_is_reached_by_way_of_the_host(self, state_home):
        lines = deploy(LOGIN, state_home=state_home).outputs["ssh"].splitlines()
        assert "ProxyJump" in lines[-1]

    def test_notebooks_of_people_stay_theirs(self, state_home):
        deployed = deploy(merged(LOGIN, {"marimo": {"users": ["ann"]}}), state_home=state_home)
        assert "/workspace/notebooks" not in deployed.containers["devel"].mounts

    def test_has_the_packages_of_the_stack(self, state_home):
        images = deploy(merged(LOGIN, {"images": {"apt": ["ffmpeg"]}}), state_home=state_home).of_type(IMAGE)
        assert {"packages", "packages-devel", "devel-ssh"} <= set(images)
        assert images["devel-ssh"].inputs["build"]["args"]["BASE"] == images["packages-devel"].inputs["imageName"]

    def test_changes_no_container_of_other_work(self, state_home):
        with_devel, without = (deploy(settings, state_home=state_home) for settings in (LOGIN, {}))
        same = ("postgres", "mlflow", "redis", "ray-cpu", "marimo", "keeper")
        assert all(with_devel.containers[name].inputs == without.containers[name].inputs for name in same)

    def test_in_a_cluster_it_reaches_the_head_wherever_that_is(self, state_home):
        deployed = deploy(LOGIN, state_home=state_home, stack="beta", cluster=CLUSTER)
        env = deployed.containers["devel"].env
        assert env["RAY_ADDRESS"] == deployed.containers["marimo"].env["RAY_ADDRESS"]
        assert env["RAY_API_SERVER_ADDRESS"] == "http://10.88.0.2:8265"


class TestTranscription:
    SETTINGS: ClassVar = {
        "transcription": {"enabled": True, "dataset": "/srv/media", "models": "whisper", "model": "large", "cpus": 4}
    }

    def test_is_off_unless_asked_for(self, dev):
        assert "transcription" not in dev.containers

    def test_reads_the_dataset_and_the_models_and_writes_only_its_data(self, state_home):
        container = deploy(self.SETTINGS, state_home=state_home).containers["transcription"]
        found = {t: (m["source"], m["type"], m["readOnly"]) for t, m in container.mounts.items() if "cslr" not in t}
        assert found["/media/dataset"] == ("/srv/media", "bind", True)
        assert found["/models"] == ("whisper", "volume", True)
        assert [target for target, (*_, read_only) in found.items() if not read_only] == ["/data"]

    def test_is_told_its_threads_its_model_and_where_runs_go(self, state_home):
        container = deploy(self.SETTINGS, state_home=state_home).containers["transcription"]
        told = load_settings(TranscriptionSettings, container.env)
        assert (told.threads, told.default_model, told.tracking_uri) == (4, "large", "http://mlflow:5000")

    def test_has_its_own_token_and_no_other_secret(self, state_home):
        container = deploy(self.SETTINGS, state_home=state_home).containers["transcription"]
        assert [t for t in container.mounts if t.startswith("/run/secrets/")] == [f"/run/secrets/{TRANSCRIPTION}"]

    def test_runs_jobs_in_its_container_unless_asked_for_more(self, state_home):
        deployed = deploy(self.SETTINGS, state_home=state_home)
        assert load_settings(TranscriptionSettings, deployed.containers["transcription"].env).ray is None
        mounted = deployed.containers["ray-cpu"].mounts
        assert not [target for target in mounted if "transcription" in target]

    def test_is_verified_and_watched(self, state_home):
        deployed = deploy(self.SETTINGS, state_home=state_home)
        watched = load_settings(HealthSettings, deployed.containers["health"].env).services
        assert Kind.TRANSCRIPTION in {service.kind for service in watched}


class TestTranscriptionOnRay:
    SETTINGS: ClassVar = {
        "transcription": {
            "enabled": True, "dataset": "/srv/media", "models": "whisper", "data": "heard",
            "jobs": {"run_on": "ray", "cpus": 2, "gpus": 0},
        },
        # A pulled image brings faster-whisper itself: the packages of a built one need a lock.
        "ray": {"cpu": {"image": {"source": "pull", "reference": "registry.example.org/ray:1"}, "torch": False}},
    }  # fmt: skip

    @pytest.fixture
    def deployed(self, state_home):
        return deploy(self.SETTINGS, state_home=state_home)

    def test_nodes_mount_what_jobs_read_and_write(self, deployed):
        mounts = deployed.containers["ray-cpu"].mounts
        told = load_settings(TranscriptionSettings, deployed.containers["transcription"].env).ray
        assert told is not None
        found = {
            key: (mounts[str(target)]["source"], mounts[str(target)]["type"], mounts[str(target)]["readOnly"])
            for key, target in (("data", told.data), ("dataset", told.dataset), ("models", told.models))
        }
        assert found == {
            "data": ("heard", "volume", False),
            "dataset": ("/srv/media", "bind", True),
            "models": ("whisper", "volume", True),
        }

    def test_nodes_mount_the_program_of_jobs_without_the_services_own(self, deployed):
        mounts = deployed.containers["ray-cpu"].mounts
        names = {Path(t).stem for t in mounts if t.startswith("/run/cslr/entrypoints/transcription/")}
        assert names == {"ray_job", "ray_task", "hearing", "files", "failures", "recognizer", "sound", "transcript"}

    def test_service_has_rays_token_and_knows_where_the_head_is(self, deployed):
        container = deployed.containers["transcription"]
        told = load_settings(TranscriptionSettings, container.env).ray
        assert told is not None
        assert (told.dashboards, told.cpus, told.gpus) == (("ray-cpu:8265",), 2, 0)
        assert str(told.token) in container.mounts


class TestTranscriptionOnGpus:
    SETTINGS: ClassVar = {
        "transcription": {"enabled": True, "variant": "cuda"},
        "gpu": {"enabled": True, "devices": ["1"]},
        "images": {"cuda": "12.8.1", "python": "3.13"},
    }

    @pytest.fixture
    def deployed(self, state_home):
        return deploy(self.SETTINGS, state_home=state_home)

    def test_gets_the_gpus_of_the_stack_and_says_so_to_its_program(self, deployed):
        container = deployed.containers["transcription"]
        assert container.inputs["deviceRequests"][0]["deviceIds"] == ["1"]
        assert load_settings(TranscriptionSettings, container.env).device == "cuda"

    def test_runs_an_image_that_begins_with_the_runtime_image(self, deployed):
        images = deployed.of_type(IMAGE)
        assert "transcription-backend" not in images
        args = images["transcription-backend-cuda"].inputs["build"]["args"]
        assert args["BASE"] == images["runtime"].inputs["imageName"]
        assert args["BUILD_BASE"].startswith("cslr/base:forky-")
        assert args["TORCH_VARIANT"] == "cuda"
        assert "runtime" in deployed.needs(images["transcription-backend-cuda"])

    def test_has_the_image_of_the_matrix(self, deployed, state_home):
        settings = {"targets": [], "services": ["transcription-backend-cuda"], "python": ["3.13"]}
        built = deploy(settings, state_home=state_home, stack="matrix", key=MATRIX).of_type(IMAGE)
        run = deployed.of_type(IMAGE)["transcription-backend-cuda"].inputs["imageName"]
        assert run.startswith("cslr/transcription-backend-cuda:cuda12.8.1-py3.13-")
        assert {image.inputs["imageName"] for image in built.values()} == {
            run,
            deployed.of_type(IMAGE)["runtime"].inputs["imageName"],
        }

    def test_of_cpus_gets_none(self, state_home):
        settings = {**self.SETTINGS, "transcription": {"enabled": True}}
        container = deploy(settings, state_home=state_home).containers["transcription"]
        assert "deviceRequests" not in container.inputs
        assert load_settings(TranscriptionSettings, container.env).device == "cpu"


class TestStrangeKey:
    def test_is_refused_before_anything_is_declared(self, state_home):
        with pytest.raises(ProgramError, match=r"Pulumi\.dev\.yaml: cslr:platfrom: unknown key"):
            deploy({}, state_home=state_home, secrets={"platfrom": "{}"})


# Classes that have moved, and kept their tokens for the sake of stacks that are deployed.
MOVED = {"cslr:image:ImageFamily": "image_family", "cslr:image:ImageIndex": "image_index"}


class TestComponents:
    def test_tokens_name_package_module_and_class(self, any_program):
        for component in any_program.components:
            package, module, name = component.type.split(":")
            assert package == "cslr"
            declared = getattr(importlib.import_module(f"components.{MOVED.get(component.type, module)}"), name)
            assert f"**Pulumi type** ``{component.type}``" in declared.__doc__

    def test_of_a_matrix_stack_are_the_family_its_images_and_their_indices(self, matrix):
        kinds = {component.type for component in matrix.components}
        assert kinds == {f"cslr:image:{name}" for name in ("BaseImage", "ImageFamily", "ImageIndex", "ImageVariant")}

    def test_every_resource_belongs_to_one(self, any_program):
        components = {component.urn: component for component in any_program.components}
        for resource in any_program.custom:
            assert resource.parent in components
            assert resource.name.startswith(components[resource.parent].name)

    def test_every_one_belongs_to_the_platform(self, program):
        (platform,) = [c for c in program.components if c.name == "platform"]
        assert program.resources[platform.parent].type == "pulumi:pulumi:Stack"
        assert {c.parent for c in program.components if c is not platform} == {platform.urn}

    def test_every_one_ends_its_construction_with_outputs(self, program):
        assert [c.name for c in program.components if not c.outputs] == []


class TestOrder:
    @pytest.mark.parametrize(
        ("service", "needed"),
        [
            ("mlflow", {"postgres"}),
            ("ray-cpu", {"redis", "health"}),
            ("ray-gpu", {"redis", "health", "ray-cpu"}),
            ("marimo", {"ray-cpu", "ray-gpu", "mlflow"}),
        ],
    )
    def test_service_waits_for_what_it_needs(self, state_home, service, needed):
        gpu = deploy(stack_settings("gpu"), state_home=state_home, stack="gpu")
        assert {f"{name}-container" for name in needed} <= gpu.needs(gpu.containers[service])

    @pytest.mark.parametrize("service", ["redis", "postgres", "health"])
    def test_others_wait_for_no_service_but_the_firewall(self, program, service):
        needed = program.needs(program.containers[service])
        assert {name for name in needed if name.endswith("-container")} == {"firewall-container"}

    def test_nothing_is_open_before_the_firewall_stands(self, program, hosts):
        for deployed in (program, *hosts.values()):
            for service, container in deployed.containers.items():
                assert service == "firewall" or "firewall-container" in deployed.needs(container)

    def test_every_container_waits_for_its_network_and_image(self, dev):
        for service, container in dev.containers.items():
            image = IMAGES[IMAGE_OF.get(service, service)]
            assert ({image} if service == "keeper" else {"network", image}) <= dev.needs(container)

    def test_verification_waits_for_all(self, program):
        verification = program.of_type(COMMAND)["verification"]
        assert {c.name for c in program.containers.values()} <= program.needs(verification)

    def test_preferred_head_starts_first(self, state_home):
        settings = merged(stack_settings("gpu"), {"ray": {"head_whitelist": ["ray-gpu", "ray-cpu"]}})
        gpu = deploy(settings, state_home=state_home, stack="gpu")
        assert "ray-gpu-container" in gpu.needs(gpu.containers["ray-cpu"])
        assert "ray-cpu-container" not in gpu.needs(gpu.containers["ray-gpu"])
        assert gpu.containers["marimo"].env["RAY_ADDRESS"] == "ray://ray-gpu:10001"

    def test_every_node_has_a_fixed_address_of_its_own(self, state_home):
        gpu = deploy(stack_settings("gpu"), state_home=state_home, stack="gpu")
        addresses = {
            service: network.get("ipv4Address")
            for service, container in gpu.containers.items()
            for network in container.inputs.get("networksAdvanced", [])
        }
        assert {s: a for s, a in addresses.items() if a} == {"ray-cpu": "172.28.0.10", "ray-gpu": "172.28.0.11"}
        (pool,) = gpu.of_type(NETWORK)["network"].inputs["ipamConfigs"]
        assert pool == {"subnet": "172.28.0.0/16", "ipRange": "172.28.128.0/17", "gateway": "172.28.0.1"}


class TestImages:
    @pytest.mark.parametrize("parallel", [1, 2, 6])
    def test_no_more_are_built_at_once_than_allowed(self, state_home, parallel):
        deployed = deploy({"images": {"parallel_builds": parallel}}, state_home=state_home)
        images = deployed.of_type(IMAGE)
        needs = {name: deployed.needs(image) & set(images) for name, image in images.items()}
        together = max(
            size
            for size in range(1, len(images) + 1)
            for group in combinations(images, size)
            if all(b not in needs[a] and a not in needs[b] for a, b in combinations(group, 2))
        )
        assert len(images) == 7
        assert together == parallel

    def test_wait_for_their_base(self, dev):
        for image in dev.of_type(IMAGE).values():
            assert {"base-forky", "base-trixie"} & dev.needs(image)

    def test_are_built_for_one_platform_from_paths_that_every_checkout_shares(self, program):
        for image in program.of_type(IMAGE).values():
            build = image.inputs["build"]
            assert build["platform"] == "linux/amd64"
            assert build["builderVersion"] == "BuilderBuildKit"
            assert not build["context"].startswith("/")
            assert not build["dockerfile"].startswith("/")
            assert image.inputs["skipPush"] is True

    def test_tag_names_the_content(self, dev):
        for image in dev.of_type(IMAGE).values():
            assert re.fullmatch(r"cslr/[a-z-]+:(cuda13\.1\.1-py3\.14-cpu-)?[0-9a-f]{12}", image.inputs["imageName"])

    def test_containers_run_image_ids_and_no_tags(self, dev):
        assert all(c.inputs["image"].startswith("sha256:") for c in dev.containers.values())

    def test_registry_prefixes_the_tags(self, state_home):
        deployed = deploy({"images": {"registry": "registry.example.org:5000/lab"}}, state_home=state_home)
        names = [image.inputs["imageName"] for image in deployed.of_type(IMAGE).values()]
        assert all(name.startswith("registry.example.org:5000/lab/") for name in names)

    def test_pulled_one_is_not_built(self, state_home):
        deployed = deploy({"marimo": {"image": PULLED}}, state_home=state_home)
        assert "marimo-runtime" not in deployed.of_type(IMAGE)
        (pulled,) = deployed.of_type(REMOTE_IMAGE).values()
        assert pulled.inputs == {"name": PULLED["reference"], "keepLocally": True}
        assert pulled.name in deployed.needs(deployed.containers["marimo"])

    def test_same_reference_is_pulled_once(self, state_home):
        deployed = deploy(ALL_PULLED, state_home=state_home)
        assert len(deployed.of_type(REMOTE_IMAGE)) == 1
        assert deployed.of_type(IMAGE) == {}
        commands = set(deployed.of_type(COMMAND))
        assert commands == {"postgres-dump", "mlflow-dump", "verification"}, "a base is made that nothing is built on"

    def test_versions_of_a_pulled_node_are_not_expected(self, state_home):
        deployed = deploy(ALL_PULLED, state_home=state_home)
        spec = VerificationSpec.model_validate_json(deployed.verification_spec)
        assert set(spec.versions.model_dump().values()) == {None}


class TestGrafana:
    SETTINGS: ClassVar = {"metrics": {"enabled": True, "grafana": {"enabled": True, "port": 3001}}}
    VARIABLES: ClassVar = {
        "RAY_GRAFANA_HOST": "http://grafana:3000",
        "RAY_GRAFANA_IFRAME_HOST": "http://127.0.0.1:3001",
        "RAY_PROMETHEUS_HOST": "http://prometheus:9090",
        "RAY_PROMETHEUS_NAME": "Prometheus",
        "RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR": "/run/dashboards",
    }

    @pytest.fixture(scope="class")
    @classmethod
    def deployed(cls, state_home) -> Deployed:
        return deploy(cls.SETTINGS, state_home=state_home)

    def test_is_off_unless_asked_for(self, dev, state_home):
        assert "grafana" not in dev.containers
        assert not {name for name in dev.containers["ray-cpu"].env if name.startswith(("RAY_GRAFANA", "RAY_PROM"))}
        assert "grafana" not in deploy({"metrics": {"enabled": True}}, state_home=state_home).containers
        assert "grafana" not in deploy({"metrics": {"grafana": {"enabled": True}}}, state_home=state_home).containers

    def test_runs_a_pulled_image_as_its_user_and_with_no_more_rights_than_others(self, deployed):
        (pulled,) = deployed.of_type(REMOTE_IMAGE).values()
        assert pulled.inputs["name"].startswith("grafana/grafana:")
        container = deployed.containers["grafana"]
        assert (container.inputs["user"], container.inputs["readOnly"]) == ("472:0", True)
        assert container.inputs["capabilities"] == {"drops": ["ALL"]}
        assert deployed.outputs["urls"]["grafana"] == "http://127.0.0.1:3001"

    def test_has_its_password_in_a_file_and_no_other_secret(self, deployed):
        container = deployed.containers["grafana"]
        secrets = ("grafana-password", "grafana-secret-key")
        assert [t for t in container.mounts if t.startswith("/run/secrets/")] == [f"/run/secrets/{s}" for s in secrets]
        assert not [s for s in secrets if deployed.generated_secrets()[s] in everything_said(deployed)]

    def test_reads_what_rays_head_writes(self, deployed):
        ray, grafana = (deployed.containers[name].mounts["/run/dashboards"] for name in ("ray-cpu", "grafana"))
        assert ray["source"] == grafana["source"]
        assert (ray["readOnly"], grafana["readOnly"]) == (False, True)

    def test_folder_belongs_to_the_node_that_leads(self, state_home):
        ray = {"cpu": {"enabled": False}, "gpu": {"enabled": True, "user": "2000:2000"}}
        deployed = deploy(merged(self.SETTINGS, {"ray": ray, "gpu": {"enabled": True}}), state_home=state_home)
        folder = Path(deployed.containers["ray-gpu"].mounts["/run/dashboards"]["source"])
        assert folder.stat().st_uid == 2000 or os.getuid() != 0

    def test_is_where_rays_dashboard_looks_for_it(self, deployed):
        assert self.VARIABLES.items() <= deployed.containers["ray-cpu"].env.items()
        assert not self.VARIABLES.keys() & deployed.containers["marimo"].env.keys()

    def test_in_a_cluster_is_found_on_the_host_by_a_head_there(self, state_home):
        settings = {"metrics": {"enabled": True, "grafana": {"enabled": True}}}
        deployed = deploy(settings, state_home=state_home, stack="beta", cluster=CLUSTER)
        head = deployed.containers["ray-head"]
        assert head.env["RAY_GRAFANA_HOST"] == "http://127.0.0.1:3000"
        assert head.env["RAY_PROMETHEUS_HOST"] == "http://127.0.0.1:9090"
        assert "RAY_GRAFANA_HOST" not in deployed.containers["ray-cpu"].env
        assert (
            head.mounts["/run/dashboards"]["source"]
            == deployed.containers["grafana"].mounts["/run/dashboards"]["source"]
        )

    def test_is_never_built(self, state_home):
        with pytest.raises(ProgramError, match=r"metrics\.grafana\.image\.source"):
            deploy(
                merged(self.SETTINGS, {"metrics": {"grafana": {"image": {"source": "build"}}}}), state_home=state_home
            )


class TestDisabledServices:
    @pytest.mark.parametrize(
        ("disabled", "image"),
        [
            (("marimo",), "marimo-runtime"),
            (("health",), None),  # the keeper runs its image
            (("health", "keeper"), "health"),
            (("mlflow",), "mlflow"),
            (("mlflow", "postgres"), "postgres"),
            (("ray-cpu",), None),
            (("firewall",), "firewall"),
        ],
        ids=lambda value: "+".join(value) if isinstance(value, tuple) else None,
    )
    def test_leave_nothing(self, state_home, disabled, image):
        changes: dict[str, Any] = {}
        for service in disabled:
            path = SERVICES[service]
            change: dict[str, Any] = {"enabled": False}
            for step in reversed(path):
                change = {step: change}
            changes = merged(changes, change)
        deployed = deploy(merged(stack_settings("dev"), changes), state_home=state_home)
        assert set(deployed.containers) == DEV_SERVICES - set(disabled)
        assert image not in deployed.of_type(IMAGE)
        assert not {r.name.split("-")[0] for r in deployed.of_type(VOLUME).values()} & set(disabled)
        assert not set(deployed.outputs["urls"]) & set(disabled)
        spec = VerificationSpec.model_validate_json(deployed.verification_spec)
        assert [name for name in disabled if getattr(spec, name, None)] == []
        if "health" in deployed.containers:
            watched = {w["name"] for w in json.loads(deployed.containers["health"].env[SETTINGS_VARIABLE])["services"]}
            assert not watched & set(disabled)

    def test_notebooks_without_mlflow_know_no_tracking_server(self, state_home):
        off = {"mlflow": {"enabled": False}, "postgres": {"enabled": False}}
        assert "MLFLOW_TRACKING_URI" not in deploy(off, state_home=state_home).containers["marimo"].env


class TestHeadElsewhere:
    def test_is_joined_and_used(self, state_home):
        deployed = deploy({"ray": {"head_address": "192.168.7.5:6379"}}, state_home=state_home)
        assert told_to_node(deployed.containers["ray-cpu"]).static_head == "192.168.7.5:6379"
        assert deployed.containers["marimo"].env["RAY_ADDRESS"] == "ray://192.168.7.5:10001"
        spec = VerificationSpec.model_validate_json(deployed.verification_spec)
        assert spec.heads is not None
        assert spec.heads.hosts == ("192.168.7.5",)
        assert spec.other_nodes is True


@pytest.fixture(scope="module")
def hosts(tmp_path_factory) -> dict[str, Deployed]:
    """Every host of a cluster of several, each with a state folder of its own."""
    return {
        host: deploy({}, state_home=tmp_path_factory.mktemp(host), stack=host, cluster=CLUSTER)
        for host in CLUSTER["hosts"]
    }


class TestSeveralHosts:
    """Each host deploys its own part of the cluster; what they share is one block."""

    def test_each_runs_its_part(self, hosts):
        assert {host: set(deployed.containers) - ON_EVERY_HOST for host, deployed in hosts.items()} == {
            "alpha": {"ray-head"},
            "beta": {"ray-head", "redis-replica"},
            "gamma": {"redis", "postgres", "mlflow"},
        }
        assert all(set(deployed.containers) >= ON_EVERY_HOST for deployed in hosts.values())

    def test_ray_is_on_the_host_network_and_the_keeper_on_none(self, hosts):
        for deployed in hosts.values():
            modes = {service: c.inputs["networkMode"] for service, c in deployed.containers.items()}
            on_the_host = {s for s in modes if s.startswith("ray-")} | {"firewall"}
            assert {s for s, mode in modes.items() if mode == "host"} == on_the_host
            assert {s for s, mode in modes.items() if mode == "none"} == {"keeper"}

    def test_no_container_with_a_network_has_the_docker_socket(self, hosts):
        for deployed in hosts.values():
            having = {
                s for s, c in deployed.containers.items() if SOCKET.path in {m["source"] for m in c.mounts.values()}
            }
            assert having == {"keeper"}

    def test_nodes_have_names_of_their_own_in_the_cluster(self, hosts):
        names = [
            c.env["RAY_NODE_NAME"]
            for d in hosts.values()
            for c in d.containers.values()
            if "RAY_NODE_NAME=" in str(c.inputs["envs"])
        ]
        assert sorted(names) == ["alpha-ray-cpu", "alpha-ray-head", "beta-ray-cpu", "beta-ray-head", "gamma-ray-cpu"]

    def test_nodes_know_no_address_that_moves(self, hosts):
        """The host's own gateway leads to the head, wherever it is."""
        for host, deployed in hosts.items():
            told = told_to_node(deployed.containers["ray-cpu"])
            assert told.gateway == "127.0.0.2:6379"
            assert told.node.address == CLUSTER["hosts"][host]["address"]
            assert "RAY_REDIS_ADDRESS" not in deployed.containers["ray-cpu"].env

    def test_a_host_may_lead_only_if_it_is_on_the_whitelist(self, hosts):
        assert {host: told_to_gateway(deployed).candidate for host, deployed in hosts.items()} == {
            "alpha": True,
            "beta": True,
            "gamma": False,
        }
        assert told_to_agent(hosts["alpha"].containers["ray-head"]).candidates == ("alpha", "beta")

    def test_a_head_computes_nothing(self, hosts):
        assert told_to_agent(hosts["alpha"].containers["ray-head"]).node.cpus == 0

    def test_gcs_is_reached_on_the_own_host_alone_and_clients_from_everywhere(self, hosts):
        assert {route.target: route.listen for route in told_to_gateway(hosts["beta"]).routes} == {
            Target.GCS: ("127.0.0.2:6379",),
            Target.CLIENT: ("10.88.0.2:10001", "127.0.0.1:10001"),
            Target.DASHBOARD: ("10.88.0.2:8265", "127.0.0.1:8265"),
        }

    def test_what_other_hosts_need_is_published_on_the_lan_and_the_rest_on_the_loopback(self, hosts):
        published = {
            (service, port["external"]): port["ip"]
            for deployed in hosts.values()
            for service, container in deployed.containers.items()
            for port in container.inputs.get("ports", [])
        }
        assert published == {
            ("redis", 6381): "10.88.0.3",
            ("redis-replica", 6382): "10.88.0.2",
            ("mlflow", 5000): "10.88.0.3",
            ("marimo", 8080): "127.0.0.1",
            ("health", 8888): "127.0.0.1",
        }

    def test_experiments_go_to_the_one_tracking_server(self, hosts):
        for deployed in hosts.values():
            for service in ("ray-cpu", "marimo"):
                assert deployed.containers[service].env["MLFLOW_TRACKING_URI"] == "http://10.88.0.3:5000"

    def test_clients_of_a_host_use_its_own_gateway(self, hosts):
        beta = hosts["beta"]
        assert beta.containers["marimo"].env["RAY_ADDRESS"] == "ray://10.88.0.2:10001"
        assert beta.outputs["urls"] == {
            "ray-gateway": "http://10.88.0.2:8265",
            "redis-replica": "redis://10.88.0.2:6382",
            "marimo": "http://127.0.0.1:8080",
            "health": "http://127.0.0.1:8888",
        }
        watched = {w["name"]: w for w in json.loads(beta.containers["health"].env[SETTINGS_VARIABLE])["services"]}
        assert watched["beta-ray-cpu"]["host"] == "10.88.0.2"
        assert set(watched) == {"redis-replica", "marimo", "beta-ray-cpu", "keeper", "firewall"}

    def test_neither_of_two_redis_believes_itself_the_primary_by_itself(self, hosts):
        for host, service in (("gamma", "redis"), ("beta", "redis-replica")):
            conf = Path(hosts[host].containers[service].mounts["/run/secrets/redis.conf"]["source"]).read_text()
            assert "replicaof 127.0.0.1 1\n" in conf
            assert conf.count('auth "') + conf.count('requirepass "') == 2
        own = {host: told_to_gateway(deployed).own_redis for host, deployed in hosts.items()}
        assert own == {"alpha": None, "beta": "10.88.0.2:6382", "gamma": "10.88.0.3:6381"}

    def test_redis_without_a_copy_is_the_primary(self, tmp_path):
        alone = {**CLUSTER, "redis": {"host": "gamma"}}
        gamma = deploy({}, state_home=tmp_path, stack="gamma", cluster=alone)
        assert (
            "replicaof" not in Path(gamma.containers["redis"].mounts["/run/secrets/redis.conf"]["source"]).read_text()
        )
        assert told_to_gateway(gamma).own_redis is None

    def test_the_head_remembers_the_election_in_a_folder_of_the_host(self, hosts):
        alpha = hosts["alpha"]
        mount = alpha.containers["ray-head"].mounts["/var/lib/cslr"]
        assert mount == {
            "type": "bind",
            "source": str(alpha.state / "cluster"),
            "target": "/var/lib/cslr",
            "readOnly": False,
        }
        assert (alpha.state / "cluster").is_dir()

    def test_programs_are_mounted_with_all_that_they_import_and_start(self, hosts):
        for service, container in hosts["beta"].containers.items():
            mounted = modules_of(container)
            for target, mount in container.mounts.items():
                if not target.startswith("/run/cslr/") or not target.endswith(".py"):
                    continue
                text = Path(mount["source"]).read_text()
                needed = set()
                for room, names in re.findall(
                    r"^\s*from ((?:entrypoints|coordination)\S*) import (.+)$", text, re.MULTILINE
                ):
                    found = {room, *(f"{room}.{name.split(' as ')[0]}" for name in names.split(", "))}
                    needed |= {module for module in found if source_of(module).is_file()}
                needed |= set(re.findall(r'"-m", "(entrypoints\.[\w.]+)"', text))
                assert needed <= mounted, (service, target)
        assert "coordination.election" in modules_of(hosts["beta"].containers["ray-head"])

    def test_every_document_is_that_of_the_containers_program(self, dev, hosts):
        """A program refuses a field too many or too few, so this is what it will read."""
        for deployed in (dev, *hosts.values()):
            documents = {
                s: c.env[SETTINGS_VARIABLE] for s, c in deployed.containers.items() if SETTINGS_VARIABLE in c.env
            }
            assert set(documents) == set(SETTINGS) & set(deployed.containers)
            for service, document in documents.items():
                assert json.loads(dump(load(SETTINGS[service], document))) == json.loads(document)

    @pytest.mark.parametrize(("service", "modules"), MODULES.items())
    def test_a_container_is_given_these_modules_and_no_others(self, hosts, service, modules):
        """An edit of one of them replaces the container, and an edit of any other does not."""
        given = modules_of(hosts["beta"].containers[service])
        assert {name for name in given if not name.startswith("entrypoints.hooks.")} == set(modules.split())

    def test_gateway_and_head_wait_for_nobody(self, hosts):
        """Whatever order hosts come up in, and whatever is missing elsewhere."""
        for service in ("ray-gateway", "ray-head"):
            needed = hosts["beta"].needs(hosts["beta"].containers[service])
            assert {name for name in needed if name.endswith("-container")} == {"firewall-container"}

    def test_only_the_nodes_of_this_host_are_expected_and_others_allowed(self, hosts):
        spec = VerificationSpec.model_validate_json(hosts["gamma"].verification_spec)
        assert spec.network == "host"
        assert [node.name for node in spec.nodes] == ["gamma-ray-cpu"]
        assert spec.other_nodes
        assert spec.heads is not None
        assert spec.heads.hosts == ("10.88.0.3",)
        assert spec.deadline > spec.settle + spec.heads.patience > 900  # a host that leads may build its images first
        assert spec.mlflow is not None
        assert spec.mlflow.url == "http://10.88.0.3:5000"
        assert spec.health is not None
        assert spec.health.url == "http://127.0.0.1:8888"

    def test_secrets_are_the_same_on_all_hosts(self, hosts):
        tokens = {
            Path(d.containers["ray-cpu"].mounts["/run/secrets/ray-token"]["source"]).read_text() for d in hosts.values()
        }
        assert len(tokens) == 1

    def test_two_nodes_of_one_host_share_no_port(self, tmp_path):
        settings = {"ray": {"gpu": {"enabled": True}}, "gpu": {"enabled": True}}
        both = deploy(settings, state_home=tmp_path, stack="alpha", cluster=CLUSTER)
        ports = [told_to_node(both.containers[s]).node.ports for s in ("ray-cpu", "ray-gpu")]
        ports.append(told_to_agent(both.containers["ray-head"]).node.ports)
        numbers = [number for of_node in ports for number in of_node.values()]
        assert len(numbers) == len(set(numbers))

    def test_a_host_more_changes_nothing_on_the_others(self, hosts):
        """Else every node of the cluster would be replaced, and lose its tasks, because one joins."""
        grown = merged(CLUSTER, {"hosts": {"delta": {"address": "10.88.0.4"}}})
        before = hosts["alpha"]
        after = deploy({}, state_home=before.state.parents[2], stack="alpha", cluster=grown)
        assert changed_containers(before, after) == {"firewall": {"envs"}}  # which lets it in

    def test_who_leads_first_concerns_only_those_that_may_and_who_tells_why_none_does(self, hosts):
        other = {**CLUSTER, "head_whitelist": ["beta", "alpha"]}
        before = hosts["alpha"]
        after = deploy({}, state_home=before.state.parents[2], stack="alpha", cluster=other)
        assert changed_containers(before, after) == {"ray-head": {"envs"}, "health": {"envs"}}

    def test_head_address_turns_the_election_off(self, tmp_path):
        fixed = {**CLUSTER, "head_address": "10.88.0.1:6385"}
        fixed.pop("head_whitelist")
        beta = deploy({}, state_home=tmp_path, stack="beta", cluster=fixed)
        assert "ray-head" not in beta.containers
        assert told_to_gateway(beta).static_head == {
            "gcs": "10.88.0.1:6385",
            "client": "10.88.0.1:10011",
            "dashboard": "10.88.0.1:8275",
        }

    def test_preview_before_first_use_writes_nothing(self, tmp_path):
        deploy({}, state_home=tmp_path, stack="alpha", cluster=CLUSTER, preview=True)
        assert list(tmp_path.rglob("*")) == []

    def test_topology_single_is_as_without_the_block(self, dev, state_home):
        single = {
            **CLUSTER,
            "topology": "single",
            "hosts": {"dev": {"address": "10.88.0.1"}},
            "head_whitelist": ["dev"],
        }
        single |= {"redis": {"host": "dev"}, "mlflow": {"host": "dev"}}
        assert changed_containers(dev, deploy(stack_settings("dev"), state_home=state_home, cluster=single)) == {}


class TestKeeper:
    def test_has_the_socket_and_the_folder_in_which_it_tells_others_and_nothing_else(self, dev):
        keeper = dev.containers["keeper"]
        programs = {target for target in keeper.mounts if target.startswith("/run/cslr/")}
        assert set(keeper.mounts) - programs == {"/run/docker.sock", str(TOLD_TARGET)}
        assert keeper.mounts["/run/docker.sock"]["source"] == SOCKET.path
        assert keeper.inputs["networkMode"] == "none"
        assert "networksAdvanced" not in keeper.inputs

    def test_watches_its_own_stack(self, dev):
        environment = dev.containers["keeper"].env
        assert load(KeeperSettings, environment.pop(SETTINGS_VARIABLE)) == KeeperSettings(
            project="cslr",
            stack="dev",
            service="keeper",
            socket=Path("/run/docker.sock"),
            containers=CONTAINERS,
            look=LOOK,
        )
        assert environment == {"HOME": "/tmp"}

    def test_is_left_out_where_the_engine_is_on_another_host(self, state_home):
        deployed = deploy(stack_settings("dev"), state_home=state_home, socket=None)
        assert set(deployed.containers) == DEV_SERVICES - {"keeper"}
        settings = load_settings(HealthSettings, deployed.containers["health"].env)
        assert settings.look is None
        assert not {Kind.KEEPER, Kind.FIREWALL} & {service.kind for service in settings.services}

    @pytest.mark.parametrize(
        ("address", "found"), [("ssh://elsewhere", False), ("tcp://10.0.0.1:2375", False), ("unix://{socket}", True)]
    )
    def test_socket_is_found_by_docker_host(self, tmp_path, monkeypatch, address, found):
        (tmp_path / "docker.sock").touch()
        monkeypatch.setenv("DOCKER_HOST", address.format(socket=tmp_path / "docker.sock"))
        socket = docker_socket()
        expected = DockerSocket(path=str(tmp_path / "docker.sock"), group=(tmp_path / "docker.sock").stat().st_gid)
        assert socket == (expected if found else None)


PUBLISHED = ("redis", "mlflow", "health", "ray-cpu", "marimo")
ONE_SETTING = {
    "marimo.memory": ({"marimo": {"memory": "5g"}}, {"marimo": {"memory", "memorySwap", "shmSize"}}),
    "mlflow.env": ({"mlflow": {"env": {"NEW": "1"}}}, {"mlflow": {"envs"}}),
    "redis.user": ({"redis": {"user": "2000:2000"}}, {"redis": {"user", "mounts", "tmpfs"}}),
    "marimo.notebooks": ({"marimo": {"notebooks": "/srv/notebooks"}}, {"marimo": {"mounts"}}),
    "postgres.volumes": (
        {"postgres": {"volumes": [{"source": "backups", "target": "/backups"}]}},
        {"postgres": {"mounts"}},
    ),
    "ray.cpu.cpus": ({"ray": {"cpu": {"cpus": 3}}}, {"ray-cpu": {"cpus", "envs"}}),
    "ray.cpu.torch": ({"ray": {"cpu": {"torch": False}}}, {"ray-cpu": {"image"}}),
    "ray.health_timeout": ({"ray": {"health_timeout": 2}}, {"ray-cpu": {"envs"}}),
    "ray.head_address": (
        {"ray": {"head_address": "10.0.0.5:6379"}},
        {"ray-cpu": {"envs", "mounts"}, "marimo": {"envs"}},
    ),
    # The page of the health service links what is published.
    "redis.port": ({"redis": {"port": 6399}}, {"redis": {"ports"}, "health": {"envs"}}),
    # MLflow must know by which addresses it is asked.
    "network.bind_address": (
        {"network": {"bind_address": "0.0.0.0"}},
        {**{name: {"ports"} for name in PUBLISHED}, "mlflow": {"ports", "envs"}},
    ),
    "network.names": ({"network": {"names": ["gpuhost.example.org"]}}, {"mlflow": {"envs"}}),
    # A replaced network takes its containers with it; only the fixed address is an input.
    "network.subnet": (
        {"network": {"subnet": "172.29.0.0/16"}},
        {"ray-cpu": {"networksAdvanced"}, "firewall": {"envs"}},
    ),
    "firewall.allow": ({"firewall": {"allow": ["10.0.0.5"]}}, {"firewall": {"envs"}}),
    "images.torch": ({"images": {"torch": "cuda"}}, {"ray-cpu": {"image"}, "marimo": {"image"}}),
    "images.parallel_builds": ({"images": {"parallel_builds": 5}}, {}),
}


class TestOneSetting:
    @pytest.mark.parametrize(("change", "expected"), ONE_SETTING.values(), ids=ONE_SETTING)
    def test_changes_only_the_containers_that_depend_on_it(self, dev, state_home, change, expected):
        after = deploy(merged(stack_settings("dev"), change), state_home=state_home)
        assert changed_containers(dev, after) == expected

    def test_nothing_changes_where_nothing_was_set(self, dev, state_home):
        again = deploy(stack_settings("dev"), state_home=state_home)
        assert {u: r.inputs for u, r in again.resources.items()} == {u: r.inputs for u, r in dev.resources.items()}

    def test_stack_file_of_dev_says_nothing_but_defaults_and_logins(self, dev, state_home):
        assert changed_containers(dev, deploy({"mlflow": {"logins": True}}, state_home=state_home)) == {}

    def test_rotated_secret_changes_those_that_use_it(self, dev, state_home):
        after = deploy(stack_settings("dev"), state_home=state_home, secrets={"redisPassword": "another-password"})
        mounts = {"mounts"}
        assert changed_containers(dev, after) == {"redis": mounts, "ray-cpu": mounts, "health": mounts}


class TestPreviewBeforeFirstUse:
    @pytest.mark.parametrize("stack", ["dev", "gpu"])
    def test_writes_nothing(self, tmp_path, stack):
        deploy(stack_settings(stack), state_home=tmp_path, stack=stack, preview=True)
        assert list(tmp_path.rglob("*")) == []

    def test_survives_what_is_not_known_yet(self, tmp_path):
        deployed = deploy(stack_settings("dev"), state_home=tmp_path, preview=True)
        assert all(isinstance(c.inputs["image"], Unknown) for c in deployed.containers.values())
        assert set(deployed.outputs) == {"urls", "sources"}

    def test_knows_all_else(self, tmp_path):
        deployed = deploy(stack_settings("dev"), state_home=tmp_path, preview=True)
        unknown = {key for c in deployed.containers.values() for key, value in c.inputs.items() if holds_unknown(value)}
        assert unknown == {"image"}


def holds_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(holds_unknown(item) for item in value.values())
    return any(holds_unknown(item) for item in value) if isinstance(value, list) else isinstance(value, Unknown)


class TestOutputs:
    def test_say_where_everything_is(self, dev):
        assert dev.outputs["urls"] == {
            "redis": "redis://127.0.0.1:6381",
            "mlflow": "http://127.0.0.1:5000",
            "health": "http://127.0.0.1:8888",
            "ray-cpu": "http://127.0.0.1:8265",
            "marimo": "http://127.0.0.1:8080",
        }

    def test_say_what_was_chosen_and_checked(self, dev):
        assert dev.outputs["sources"] == {"bases": "registry", "torch": "cpu"}
        assert dev.outputs["verification"] == "13 of 13 passed"

    def test_expectation_of_the_verification_is_that_of_the_stack(self, state_home):
        gpu = deploy(stack_settings("gpu"), state_home=state_home, stack="gpu")
        spec = VerificationSpec.model_validate_json(gpu.verification_spec)
        assert {node.name: node.gpus for node in spec.nodes} == {"ray-cpu": 0, "ray-gpu": None}
        assert spec.versions.torch_cuda == "13.0"
        names = {c.inputs["name"] for c in gpu.containers.values()}
        assert {node.container for node in spec.nodes} <= names

    def test_verification_runs_again_when_a_container_was_replaced(self, dev):
        verification = dev.of_type(COMMAND)["verification"]
        assert set(verification.inputs["triggers"]) == {f"{name}-container-id" for name in DEV_SERVICES}


class TestRefusal:
    def test_is_the_sentence_of_the_settings(self, tmp_path):
        with pytest.raises(ProgramError, match=r"Pulumi\.dev\.yaml: cslr:platform\.marimo\.prot: "):
            deploy({"marimo": {"prot": 8081}}, state_home=tmp_path)
        assert list(tmp_path.rglob("*")) == []


def test_every_container_goes_through_the_factory(dev):
    """The factory alone marks containers so; a container declared elsewhere would lack it."""
    assert all(r.delete_before_replace and r.replace_on_changes for r in dev.of_type(CONTAINER).values())


def test_resources_hold_no_secret_wrappers(dev):
    """Nothing secret reaches an engine, so nothing need be encrypted in its state."""
    assert [r.name for r in dev.resources.values() if r.secret_inputs] == []


def test_the_owners_record_names_this_checkout(tmp_path):
    """By it, another copy of the program is noticed that deploys the same stack."""
    deploy({}, state_home=tmp_path)
    (record,) = tmp_path.rglob(RECORD)
    assert json.loads(record.read_text())["checkout"] == str(FOLDER)
