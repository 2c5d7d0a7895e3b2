"""`ws export kuberay` as a person calls it, and what KubeRay's own definition of a Ray cluster says to the file."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from tests.process.ws.copied_project import CopiedProject

KUBERAY = "github.com/ray-project/kuberay/ray-operator@v1.6.2"
DEFINITION = "config/crd/bases/ray.io_rayclusters.yaml"
PLATFORM = {
    "gpu": {"enabled": True, "devices": ["0", "1"]},
    "ray": {"gpu": {"enabled": True}},
    "images": {"bases": "bootstrap", "torch": "cuda"},  # what is said is not looked for on the network
}
pytestmark = pytest.mark.usefixtures("docker_engine")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return CopiedProject.make(tmp_path_factory.mktemp("export"), PLATFORM)


@pytest.fixture(scope="module")
def written(project):
    done = project.ws("export", "kuberay", "--registry", "registry.example.org/lab")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def documents(written, project) -> list[dict[str, Any]]:
    assert written
    return list(yaml.safe_load_all((project.folder / "_build/kuberay.yaml").read_text()))


@pytest.fixture(scope="module")
def definition() -> Any:
    """KubeRay's schema of a RayCluster, in which keys that it does not know are wrong."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("needs go, whose module mirror has KubeRay's definition of a RayCluster")
    command = [go, "mod", "download", "-json", KUBERAY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"KubeRay's definition of a RayCluster cannot be had here: {done.stdout or done.stderr}"[:200])
    file = Path(json.loads(done.stdout)["Dir"], DEFINITION)
    versions = yaml.safe_load(file.read_text())["spec"]["versions"]
    (schema,) = (one["schema"]["openAPIV3Schema"] for one in versions if one["name"] == "v1")
    return strict(schema)


def strict(schema: Any) -> Any:
    """A schema of Kubernetes as one of JSON: what may be a number or a text is marked there in a way of its own."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if found.pop("x-kubernetes-int-or-string", False):
        found.pop("type", None)
    if isinstance(found.get("properties"), dict) and "metadata" not in found["properties"]:
        found.setdefault("additionalProperties", False)
    return found


def test_file_is_a_ray_cluster_to_kuberay(documents, definition):
    (cluster,) = (one for one in documents if one["kind"] == "RayCluster")
    jsonschema.Draft7Validator(definition).validate(cluster)


def test_the_definition_finds_mistakes(documents, definition):
    (cluster,) = (one for one in documents if one["kind"] == "RayCluster")
    wrong = json.loads(json.dumps(cluster))
    wrong["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Never"
    assert "imagePolicy" in str(jsonschema.Draft7Validator(definition).iter_errors(wrong).__next__().message)


def test_images_are_in_the_registry_and_gpus_as_many_as_the_stack_has(documents):
    (cluster,) = (one for one in documents if one["kind"] == "RayCluster")
    (worker,) = cluster["spec"]["workerGroupSpecs"]
    (container,) = worker["template"]["spec"]["containers"]
    assert container["image"].startswith("registry.example.org/lab/ray-runtime:cuda")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"


def test_secrets_are_files_that_the_next_command_reads(written, project):
    text = (project.folder / "_build/kuberay.yaml").read_text()
    files = re.findall(r"--from-file=\S+?=(\S+)", written.stdout)
    assert len(files) == 2
    for file in files:
        secret = Path(file).read_text()
        assert len(secret) >= 20
        assert secret == secret.strip()
        assert secret not in text
    assert "kubectl apply -f _build/kuberay.yaml" in written.stdout


def test_refuses_a_stack_that_only_builds(project):
    (project.folder / "Pulumi.family.yaml").write_text(yaml.safe_dump({"config": {"cslr:matrix": {}}}))
    done = project.ws("export", "kuberay", "--stack", "family")
    assert done.returncode == 1
    assert "only builds images" in done.stderr
