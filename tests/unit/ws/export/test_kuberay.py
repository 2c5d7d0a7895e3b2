"""The manifests for KubeRay: what the pods get, from settings alone."""

import dataclasses
from typing import Any

import pytest
import yaml

from config.ports import RAY_CLIENT, RAY_DASHBOARD, RAY_GCS
from testing.harness import platform_settings
from testing.lab import at
from ws.export.kuberay import Exported, manifests, ray_nodes, text_of

GIBIBYTE = 2**30
GPUS: dict[str, Any] = {"gpu": {"enabled": True}, "ray": {"gpu": {"enabled": True}}}
IMAGES = {name: f"registry.example.org/{name}:1" for name in ("redis", "ray-cpu", "ray-gpu", "ray-head")}


def exported(settings: Any = None, replicas: int = 1) -> Exported:
    parsed = platform_settings(settings or {})
    return Exported(name="cslr-dev", settings=parsed, images=IMAGES, ray="2.60.0", gpus=4, replicas=replicas)


def objects(found: Exported) -> dict[tuple[str, str], Any]:
    return {(one["kind"], one["metadata"]["name"]): one for one in manifests(found)}


def cluster(found: Exported) -> Any:
    return objects(found)["RayCluster", "cslr-dev"]["spec"]


def container(group: Any) -> Any:
    (found,) = group["template"]["spec"]["containers"]
    return found


class TestPods:
    def test_one_node_is_the_head_and_works(self):
        found = cluster(exported({"ray": {"cpu": {"cpus": 3.5, "memory": "8g"}}}))
        head = found["headGroupSpec"]
        assert container(head)["resources"]["limits"] == {"cpu": "3.5", "memory": "8192Mi"}
        assert container(head)["resources"]["requests"] == container(head)["resources"]["limits"]
        assert head["rayStartParams"]["num-cpus"] == "3"
        assert found["workerGroupSpecs"] == []

    def test_head_has_the_ports_of_ray(self):
        ports = {port["containerPort"] for port in container(cluster(exported())["headGroupSpec"])["ports"]}
        assert ports == {RAY_GCS, RAY_DASHBOARD, RAY_CLIENT}

    def test_gpus_are_those_of_the_gpu_node_alone(self):
        found = cluster(exported(GPUS))
        (worker,) = found["workerGroupSpecs"]
        assert worker["groupName"] == "ray-gpu"
        assert container(worker)["resources"]["limits"]["nvidia.com/gpu"] == "4"
        assert "nvidia.com/gpu" not in container(found["headGroupSpec"])["resources"]["limits"]

    def test_the_first_of_the_whitelist_is_the_head(self):
        settings = {**GPUS, "ray": {**GPUS["ray"], "head_whitelist": ["ray-gpu"]}}
        assert ray_nodes(platform_settings(settings)) == ("ray-gpu", "ray-cpu")

    def test_workers_are_as_many_as_wanted(self):
        (worker,) = cluster(exported(GPUS, replicas=3))["workerGroupSpecs"]
        assert {worker[key] for key in ("replicas", "minReplicas", "maxReplicas")} == {3}

    def test_object_store_fits_into_shared_memory(self):
        head = cluster(exported({"ray": {"cpu": {"memory": "8g"}}}))["headGroupSpec"]
        (shm,) = (one for one in head["template"]["spec"]["volumes"] if one["name"] == "dev-shm")
        size = int(shm["emptyDir"]["sizeLimit"].removesuffix("Mi")) * 2**20
        assert int(head["rayStartParams"]["object-store-memory"]) < size < 8 * GIBIBYTE

    def test_user_settings_reach_the_environment(self):
        head = cluster(exported({"ray": {"cpu": {"env": {"OMP_NUM_THREADS": "1"}}}}))["headGroupSpec"]
        assert {"name": "OMP_NUM_THREADS", "value": "1"} in container(head)["env"]

    def test_ray_watches_memory_itself_where_no_guard_does(self):
        names = {variable["name"] for variable in container(cluster(exported())["headGroupSpec"])["env"]}
        assert "RAY_maximum_gcs_destroyed_actor_cached_count" in names
        assert "RAY_memory_monitor_refresh_ms" not in names

    @pytest.mark.parametrize("kind", [("RayCluster", "cslr-dev"), ("StatefulSet", "cslr-dev-redis")])
    def test_are_hardened_as_containers_are(self, kind):
        spec = objects(exported())[kind]["spec"]
        pod = (spec["headGroupSpec"] if kind[0] == "RayCluster" else spec)["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 1000
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


class TestClusterOfSeveralHosts:
    def test_head_is_a_pod_of_its_own_that_takes_no_tasks(self):
        found = cluster(dataclasses.replace(exported(), settings=at("alpha")))
        assert found["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert [worker["groupName"] for worker in found["workerGroupSpecs"]] == ["ray-cpu"]


class TestRedis:
    def test_keeps_the_state_of_the_gcs_on_a_volume(self):
        found = objects(exported())
        service = found["Service", "cslr-dev-redis"]["spec"]
        assert cluster(exported())["gcsFaultToleranceOptions"]["redisAddress"] == "cslr-dev-redis:6379"
        assert service["ports"][0]["port"] == 6379
        stateful = found["StatefulSet", "cslr-dev-redis"]["spec"]
        assert service["selector"] == stateful["template"]["metadata"]["labels"]
        assert stateful["volumeClaimTemplates"][0]["metadata"]["name"] == "data"

    def test_refuses_what_does_not_fit_into_its_memory(self):
        found = objects(exported({"redis": {"memory": "1g"}}))["ConfigMap", "cslr-dev-redis"]
        assert f"maxmemory {int(GIBIBYTE * 0.625)}\n" in found["data"]["redis.conf"]


class TestText:
    def test_says_what_the_manifests_say(self):
        text = text_of(exported(GPUS), header="A line.\nAnother.")
        assert text.startswith("# A line.\n# Another.\n---\n")
        assert list(yaml.safe_load_all(text)) == manifests(exported(GPUS))

    def test_has_scripts_line_by_line_and_no_references(self):
        text = text_of(exported(GPUS), header="")
        assert "&id" not in text
        assert "exec redis-server /tmp/redis.conf\n" in text
