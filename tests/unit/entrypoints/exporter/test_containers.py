"""Containers: from the files of their control groups, of both versions, to series; and who a process belongs to."""

from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest

from contracts.document import dump
from contracts.exporter import ContainerList, ListedContainer, RayDashboard
from entrypoints.exporter.attribution import Attribution, Owner, Work
from entrypoints.exporter.cgroups import Groups
from entrypoints.exporter.containers import Containers, KeptList
from entrypoints.exporter.proc import Processes
from entrypoints.exporter.ray_work import ACTORS_PATH, TASKS_PATH, RayError, workers

OWN, FOREIGN = "a" * 64, "b" * 64
LISTED = ListedContainer(identifier=OWN, name="cslr-dev-ray-gpu", service="ray-gpu", image="cslr/ml:1")
DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0
  eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0
"""


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def version_2(tmp_path):
    root = tmp_path / "cgroup"
    write(root, cgroup__controllers="cpu memory")
    for identifier in (OWN, FOREIGN):
        write(
            root / f"system.slice/docker-{identifier}.scope",
            cpu__stat="usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nthrottled_usec 100000\n",
            memory__stat="anon 300\nfile 500\ninactive_file 200\n",
            memory__current="1000\n",
            memory__max="4096\n",
            cpu__max="150000 100000\n",
            pids__current="7\n",
            cgroup__procs="41\n",
        )
    return root


@pytest.fixture
def version_1(tmp_path):
    root = tmp_path / "cgroup"
    group = f"docker/{OWN}"
    write(
        root / "memory" / group,
        memory__stat="total_rss 300\ntotal_cache 500\ntotal_inactive_file 200\n",
        memory__usage_in_bytes="1000",
        memory__limit_in_bytes="9223372036854771712",
        cgroup__procs="41\n42\n",
    )
    write(root / "cpuacct" / group, cpuacct__usage="2500000000", cpuacct__stat="user 200\nsystem 50\n")
    write(
        root / "cpu" / group,
        cpu__stat="nr_periods 1\nnr_throttled 1\nthrottled_time 100000000\n",
        cpu__cfs_quota_us="-1",
        cpu__cfs_period_us="100000",
    )
    write(root / "pids" / group, pids__current="7")
    return root


@pytest.fixture
def proc(tmp_path):
    folder = tmp_path / "proc"
    write(folder / "41", cgroup=f"0::/system.slice/docker-{OWN}.scope\n", comm="ray::train\n", status="NSpid:\t41\t9\n")
    write(folder / "41/net", dev=DEV)
    write(folder / "50", cgroup="0::/user.slice\n", comm="python3\n", status="NSpid:\t50\n")
    return folder


def kept(tmp_path: Path, *listed: ListedContainer) -> KeptList:
    file = tmp_path / "containers.json"
    file.write_text(dump(ContainerList(containers=listed)))
    return KeptList(file)


def text(root: Path, proc: Path, listed: KeptList) -> str:
    containers = Containers(Groups(root), Processes(proc), listed)
    containers.collect()
    return generate_latest(type("All", (), {"collect": lambda self: containers.metrics()})()).decode()


class TestContainer:
    def test_of_cgroup_2_has_the_names_of_cadvisor(self, version_2, proc, tmp_path):
        shown = text(version_2, proc, kept(tmp_path, LISTED))
        labels = f'id="/system.slice/docker-{OWN}.scope",image="cslr/ml:1",'
        rest = 'name="cslr-dev-ray-gpu",service="ray-gpu"'
        assert f"container_cpu_usage_seconds_total{{{labels}{rest}}} 2.5" in shown
        assert f"container_memory_working_set_bytes{{{labels}{rest}}} 800.0" in shown
        assert f"container_spec_memory_limit_bytes{{{labels}{rest}}} 4096.0" in shown
        assert f"container_spec_cpu_quota{{{labels}{rest}}} 150000.0" in shown
        assert f'container_network_transmit_bytes_total{{{labels}interface="eth0",{rest}}} 2000.0' in shown
        assert 'interface="lo"' not in shown

    def test_of_cgroup_1_has_the_same(self, version_1, proc, tmp_path):
        shown = text(version_1, proc, kept(tmp_path, LISTED))
        for line in (
            "container_cpu_usage_seconds_total",
            "container_cpu_user_seconds_total",
            "container_memory_rss",
            "container_network_receive_bytes_total",
            "container_last_seen",
        ):
            assert f"{line}{{" in shown
        assert f'container_spec_memory_limit_bytes{{id="/docker/{OWN}"' in shown
        assert "container_spec_cpu_quota" not in shown

    def test_of_another_stack_is_not_shown(self, version_2, proc, tmp_path):
        assert FOREIGN not in text(version_2, proc, kept(tmp_path, LISTED))

    def test_is_known_by_its_id_alone_where_nothing_is_listed(self, version_2, proc):
        shown = text(version_2, proc, KeptList(None))
        assert FOREIGN in shown
        assert "service=" not in shown

    def test_on_the_network_of_the_host_has_no_figures_of_it(self, version_2, proc, tmp_path):
        on_host = ListedContainer(identifier=OWN, name="n", service="s", image="i", host_network=True)
        assert "container_network" not in text(version_2, proc, kept(tmp_path, on_host))

    def test_list_that_cannot_be_read_leaves_the_last_one(self, tmp_path):
        listed = kept(tmp_path, LISTED)
        assert set(listed()) == {OWN}
        (tmp_path / "containers.json").write_text("half a docu")
        assert set(listed()) == {OWN}


class TestOwner:
    def test_is_found_from_the_pid_of_the_host_to_the_task(self, proc, tmp_path):
        work = {("gpuhost/ray-gpu", 9): Work(job="01000000", task="train")}
        found = Attribution(
            Processes(proc), kept(tmp_path, LISTED), {"ray-gpu": "gpuhost/ray-gpu"}, lambda: work
        ).owner(41)
        assert found == Owner(
            container="cslr-dev-ray-gpu",
            service="ray-gpu",
            name="ray::train",
            ray_node="gpuhost/ray-gpu",
            ray_job="01000000",
            ray_task="train",
        )

    def test_outside_the_stack_has_only_a_name(self, proc, tmp_path):
        assert Attribution(Processes(proc), kept(tmp_path, LISTED), {}).owner(50) == Owner(name="python3")

    def test_of_a_process_that_is_gone_is_nobody(self, proc, tmp_path):
        assert Attribution(Processes(proc), kept(tmp_path, LISTED), {}).owner(99) is None


class TestRayWork:
    def test_is_that_of_actors_and_of_tasks(self, monkeypatch):
        node = {"node_id": "n1", "node_name": "x", "node_ip": "172.28.0.10", "is_head_node": True, "state": "ALIVE"}
        answers = {
            TASKS_PATH: [
                {"node_id": "n1", "worker_pid": 9, "job_id": "01000000", "name": "train", "actor_id": None},
                {"node_id": "n1", "worker_pid": 10, "job_id": "01000000", "name": "A.f", "actor_id": "a1"},
                {"node_id": None, "worker_pid": None, "job_id": "01000000", "name": "waits"},
            ],
            ACTORS_PATH: [{"node_id": "n1", "pid": 10, "job_id": "02000000", "class_name": "A"}],
        }
        monkeypatch.setattr(
            "entrypoints.exporter.ray_work._asked",
            lambda address, path, token: {
                "data": {"result": {"result": answers.get(path, [{**node, "labels": {"cslr.node": "ray-cpu"}}])}}
            },
        )
        assert workers(dashboard()) == {
            ("ray-cpu", 9): Work(job="01000000", task="train"),
            ("ray-cpu", 10): Work(job="02000000", task="A"),
        }

    def test_says_which_dashboard_does_not_answer(self):
        with pytest.raises(RayError, match=r"127\.0\.0\.1:1: .*refused"):
            workers(dashboard())


def dashboard() -> RayDashboard:
    return RayDashboard(addresses=("127.0.0.1:1",), token=Path("/dev/null"))
