"""Two stacks of one host do not keep data in one place."""

from typing import Any

import pytest

from config.load import load
from config.platform_rules import DATA_TARGETS
from config.problems import SettingsError
from preflight.host import check
from preflight.host_facts import DataMount, DockerVolume, HostFacts, _data_mounts
from preflight.shared_data import key_of

FILE = "Pulumi.dev.yaml"
FOLDER = "/srv/data"


def mount(component: str, source: str = FOLDER, target: str | None = None, stack: str = "gpu") -> DataMount:
    return DataMount(
        container=f"cslr-{stack}-{component}",
        source=source,
        target=target or DATA_TARGETS[component],
        labels={"cslr.project": "cslr", "cslr.stack": stack, "cslr.component": component},
    )


def problems(raw: object, *mounts: DataMount, **more: Any) -> str:
    """What is said of the data of a stack on a host; the folders themselves are not there."""
    facts = HostFacts(data_mounts=mounts, **{"spellings": lambda path, _: (path,), **more})
    try:
        check(load(raw, stack_file=FILE), facts, FILE)
    except SettingsError as error:
        return "\n".join(line for line in str(error).splitlines() if "there is no folder" not in line)
    return ""


@pytest.mark.parametrize(
    ("raw", "key", "component"),
    [
        ({"postgres": {"data": FOLDER}}, "postgres.data", "postgres"),
        ({"redis": {"data": FOLDER}}, "redis.data", "redis"),
        ({"mlflow": {"artifacts": FOLDER}}, "mlflow.artifacts", "mlflow"),
        ({"marimo": {"notebooks": FOLDER}}, "marimo.notebooks", "marimo"),
        ({"metrics": {"enabled": True, "data": FOLDER}}, "metrics.data", "prometheus"),
    ],
)
def test_same_folder_is_refused_with_both_stacks_and_keys(raw, key, component):
    said = problems(raw, mount(component))
    assert f"{FILE}: cslr:platform.{key}: {FOLDER} is {key} of the stack gpu as well" in said
    assert f"(container cslr-gpu-{component})" in said
    assert f"ws unset {key}" in said
    assert "\n    ws down -s gpu" in said


def test_data_of_different_services_is_refused_too():
    assert "redis.data of the stack gpu" in problems({"postgres": {"data": FOLDER}}, mount("redis"))


def test_own_containers_are_no_others():
    assert "as well" not in problems({"postgres": {"data": FOLDER}}, mount("postgres", stack="dev"))


@pytest.mark.parametrize(("theirs", "refused"), [("/srv", True), ("/srv/data/inner", True), ("/srv/data2", False)])
def test_folder_in_the_other_is_refused(theirs, refused):
    said = problems({"postgres": {"data": FOLDER}}, mount("mlflow", theirs))
    assert (f"{FOLDER} overlaps {theirs}, which is mlflow.artifacts of the stack gpu" in said) is refused


def test_folder_under_another_path_is_refused():
    links = {"/link": ("/link", FOLDER)}
    said = problems(
        {"postgres": {"data": "/link"}}, mount("postgres"), spellings=lambda path, _: links.get(path, (path,))
    )
    assert f"/link overlaps {FOLDER}" in said


def test_volume_by_its_name_and_by_the_folder_behind_it():
    raw = {"postgres": {"data": "pgdata"}}
    assert "pgdata is postgres.data of the stack gpu" in problems(raw, mount("postgres", "pgdata"))
    assert problems(raw, mount("postgres", "another")) == ""
    behind = {"pgdata": DockerVolume(device=FOLDER)}
    assert f"pgdata overlaps {FOLDER}" in problems(raw, mount("postgres"), docker_volumes=behind)


def test_scratch_is_not_shared_but_home_is():
    """The guard of one stack's scratch would delete the other's files."""
    theirs = mount("ray-cpu", target="/scratch")
    assert f"{FOLDER} is ray.scratch of the stack gpu" in problems({"ray": {"scratch": FOLDER}}, theirs)
    assert "as well" not in problems({"ray": {"home": FOLDER}}, mount("ray-cpu", target="/home/cslr"))


def test_what_another_stack_only_reads_is_not_its_data():
    assert "as well" not in problems({"marimo": {"notebooks": FOLDER}}, mount("marimo", target="/more"))


def test_person_is_named():
    assert key_of(mount("marimo-anna", target=DATA_TARGETS["marimo"])) == ("marimo", "users", "anna", "notebooks")


def test_mounts_are_read_as_docker_tells_them():
    told = {
        "Names": ["/cslr-gpu-postgres"],
        "Labels": {"cslr.stack": "gpu"},
        "Mounts": [
            {"Type": "bind", "Source": "/srv/pg", "Destination": "/var/lib/postgresql/data"},
            {"Type": "volume", "Name": "v", "Source": "/var/lib/docker/volumes/v/_data", "Destination": "/data"},
        ],
    }
    assert [(one.source, one.target) for one in _data_mounts(told)] == [
        ("/srv/pg", "/var/lib/postgresql/data"),
        ("v", "/data"),
    ]
