"""The running work that a change ends: by the containers that stop, and the work that outlives them."""

from dataclasses import replace
from typing import Any

import pytest

from embedded_engine.deployment import Action, Change
from stack.running_work import Deployed, Kind, RunningWork, Work
from ws.cost import Cost, all_stop, concerns, cost, reasons, stops

CONTAINER, NETWORK = "docker:index/container:Container", "docker:index/network:Network"
RELAY = {"/run/cslr/entrypoints/ray/redis_relay.py": "/state/redis_relay.py"}
MEMORY = [
    "envs: CSLR_SETTINGS.node.memory: 4294967296 → 6442450944",
    "memory: 4096 → 6144",
    "memorySwap: 4096 → 6144",
]


def deployed(service: str, **fields: Any) -> Deployed:
    return Deployed(**{
        "service": service, "name": f"cslr-dev-{service}", "running": True, "healthy": True,
        "mounts": {"/data": "cslr-dev-redis-data"} if service == "redis" else RELAY, **fields,
    })  # fmt: skip


def change(service: str, action: Action = Action.REPLACE, *lines: str, **fields: Any) -> Change:
    name = f"{service}-container"
    return Change(urn=f"urn::{name}", type=CONTAINER, name=name, action=action, reasons=list(lines), **fields)


JOB = Work(kind=Kind.JOB, identifier="raysubmit_x", what="python train.py", node="ray-cpu")
CLIENT = Work(kind=Kind.CLIENT, identifier="05000000", node="ray-cpu")
DETACHED = Work(kind=Kind.ACTOR, identifier="1", what="counter", node="ray-cpu")
ON_GPU = Work(kind=Kind.TASK, identifier="2", what="train", node="ray-gpu", part=True)
NOTEBOOK = Work(kind=Kind.NOTEBOOK, identifier="s_1", what="foo.py", node="marimo")
SERVICES = ("health", "keeper", "marimo", "mlflow", "postgres", "ray-cpu", "ray-gpu", "redis")
ONE_HOST = RunningWork(
    works=(JOB, CLIENT, DETACHED, ON_GPU, NOTEBOOK), head="ray-cpu", services=tuple(map(deployed, SERVICES))
)


def ends(found: Cost) -> list[tuple[str, str]]:
    return [(", ".join(work.what or work.identifier for work in end.works), end.because) for end in found.ends]


def of(*changes: Change, running: RunningWork = ONE_HOST) -> Cost:
    return cost(stops(changes, running.services), running)


class TestWhatStops:
    @pytest.mark.parametrize("action", [Action.SAME, Action.CREATE, Action.UPDATE])
    def test_nothing_where_the_container_stays(self, action):
        assert stops([change("ray-cpu", action)], ONE_HOST.services) == []

    @pytest.mark.parametrize(
        ("action", "lines", "said"),
        [
            (Action.REPLACE, MEMORY, "ray-cpu is replaced (memory 4g → 6g)"),
            (Action.REPLACE, ["its network is replaced"], "ray-cpu is replaced (its network is replaced)"),
            (Action.REPLACE, [], "ray-cpu is replaced"),
            (Action.REPAIR, ["is unhealthy"], "ray-cpu is restarted (is unhealthy)"),
            (Action.DELETE, ["is no longer in the program"], "ray-cpu is removed (is no longer in the program)"),
        ],
    )
    def test_is_told_with_the_reason(self, action, lines, said):
        assert [stop.because for stop in stops([change("ray-cpu", action, *lines)], ONE_HOST.services)] == [said]

    @pytest.mark.parametrize("reason", ["is exited", "is paused", "is starting"])
    def test_a_container_that_is_started_or_goes_on_ends_nothing(self, reason):
        assert stops([change("ray-cpu", Action.REPAIR, reason)], ONE_HOST.services) == []

    def test_a_container_that_does_not_run_ends_nothing(self):
        services = (deployed("ray-cpu", running=False, healthy=False),)
        assert stops([change("ray-cpu")], services) == []

    def test_one_that_left_the_program_is_known_by_its_name(self):
        gone = Change(urn="x", type=CONTAINER, name="cslr-dev-ray-gpu", action=Action.DELETE)
        assert [stop.service for stop in stops([gone], ONE_HOST.services)] == ["ray-gpu"]

    def test_all_of_them_go_with_their_network(self):
        network = Change(urn="n", type=NETWORK, name="network", action=Action.REPLACE)
        assert {stop.service for stop in stops([network], ONE_HOST.services)} == set(SERVICES)

    @pytest.mark.parametrize(
        ("one", "expected"),
        [
            (change("redis"), True), (change("redis", Action.CREATE), False),
            (Change(urn="n", type=NETWORK, name="network", action=Action.REPLACE), True),
            (Change(urn="i", type="docker:index/image:Image", name="ray", action=Action.REPLACE), False),
        ],
    )  # fmt: skip
    def test_only_containers_and_networks_are_looked_at(self, one, expected):
        assert concerns(one) == expected


class TestReasons:
    @pytest.mark.parametrize(
        ("lines", "said"),
        [
            (MEMORY, "memory 4g → 6g"),
            (["memory: 512 → 1024", "memorySwap: 512 → 1024", "mounts.source: /a/redis.conf → /b"], "memory 512m → 1g"),
            (["shmSize: 64 → 128"], "shmSize 64m → 128m"),
            (["cpus: 2.0 → 4.0"], "cpus 2.0 → 4.0"),
            (["cpus: 1.0 → 2.0", "envs: A=1 → A=2", "user: 1 → 2"], "cpus 1.0 → 2.0, envs A=1 → A=2 and 1 more"),
            ([], ""),
        ],
    )
    def test_are_said_as_people_wrote_them(self, lines, said):
        assert reasons(lines) == said


class TestOneHost:
    def test_the_head_ends_all_that_ray_runs(self):
        assert ends(of(change("ray-cpu", Action.REPLACE, *MEMORY))) == [
            ("python train.py, 05000000, counter", "ray-cpu is replaced (memory 4g → 6g)")
        ]

    def test_another_node_ends_what_is_there(self):
        assert ends(of(change("ray-gpu"))) == [("train", "ray-gpu is replaced")]

    def test_the_gpu_node_may_be_head(self):
        running = RunningWork(works=(JOB, ON_GPU), head="ray-gpu", services=ONE_HOST.services)
        assert ends(of(change("ray-gpu"), running=running)) == [("python train.py", "ray-gpu is replaced")]
        assert ends(of(change("ray-cpu"), running=running)) == [("python train.py", "ray-cpu is replaced")]

    def test_marimo_ends_its_notebooks(self):
        assert ends(of(change("marimo"))) == [("foo.py", "marimo is replaced")]

    @pytest.mark.parametrize("service", ["health", "keeper", "mlflow", "postgres"])
    def test_the_others_end_nothing(self, service):
        assert not of(change(service))
        assert of(change(service)).notices == ()

    @pytest.mark.parametrize(("runs", "said"), [(1, "1 MLflow run is not ended"), (3, "3 MLflow runs are not ended")])
    @pytest.mark.parametrize("service", ["mlflow", "postgres"])
    def test_runs_of_mlflow_go_on(self, service, runs, said):
        found = of(change(service), running=RunningWork(runs=runs, services=ONE_HOST.services))
        assert not found
        assert said in found.notices[0]

    def test_at_the_end_of_all_nothing_is_promised_to_runs(self):
        running = RunningWork(runs=1, services=ONE_HOST.services)
        found = cost(all_stop(running.services, "the stack is taken down"), running)
        assert found.notices == ("the stack is taken down; 1 MLflow run is not ended",)

    def test_the_end_of_all_is_one_sentence_and_names_each_once(self):
        found = cost(all_stop(ONE_HOST.services, "the stack is taken down"), ONE_HOST)
        assert [str(end) for end in found.ends] == [
            "1 running job, 1 driver connected by Ray Client, 1 detached actor, 1 running task, 1 notebook session "
            "would end: the stack is taken down"
        ]

    def test_two_causes_are_two_sentences(self):
        found = of(change("ray-cpu", Action.REPLACE, *MEMORY), change("marimo"))
        assert [str(end) for end in found.ends] == [
            "1 running job, 1 driver connected by Ray Client, 1 detached actor would end: "
            "ray-cpu is replaced (memory 4g → 6g)",
            "1 notebook session would end: marimo is replaced",
        ]

    def test_is_told_to_programs(self):
        (end,) = of(change("marimo")).as_json()
        assert end["because"] == "marimo is replaced"
        assert end["works"] == [{"kind": "notebook", "id": "s_1", "what": "foo.py", "since": None}]


class TestRedis:
    def test_its_replacement_ends_nothing(self):
        found = of(change("redis", Action.REPLACE, "memory: 512 → 1024"))
        assert not found
        assert found.notices == (
            "redis is replaced (memory 512m → 1g); running work continues, since the head waits for Redis",
        )

    def test_with_an_idle_cluster_there_is_nothing_to_say(self):
        idle = RunningWork(head="ray-cpu", services=ONE_HOST.services)
        assert of(change("redis"), running=idle).notices == ()

    @pytest.mark.parametrize("source", ["cslr-dev-other", "/srv/redis", "[not known yet]"])
    def test_other_data_ends_what_runs(self, source):
        after = {
            "mounts": [{"target": "/data", "source": source}, {"target": "/run/secrets/redis.conf", "source": "x"}]
        }
        assert ends(of(change("redis", Action.REPLACE, after=after))) == [
            ("python train.py, 05000000, counter", "redis is replaced, and starts without its data")
        ]

    def test_its_removal_ends_what_runs(self):
        assert ends(of(change("redis", Action.DELETE))) == [("python train.py, 05000000, counter", "redis is removed")]

    def test_other_data_may_end_what_nobody_knows(self):
        running = RunningWork(services=ONE_HOST.services, head="", not_asked={"ray-cpu": "it is silent"})
        (end,) = of(change("redis", Action.DELETE), running=running).ends
        assert str(end) == "running work is not known and may end: redis is removed (it is silent)"

    def test_the_same_data_ends_nothing(self):
        after = {"mounts": [{"target": "/data", "source": "cslr-dev-redis-data"}]}
        assert not of(change("redis", Action.REPLACE, after=after))

    def test_a_head_of_a_version_without_the_relay_ends(self):
        services = tuple(deployed(name, mounts={}) if name == "ray-cpu" else deployed(name) for name in SERVICES)
        running = RunningWork(works=ONE_HOST.works, head="ray-cpu", services=services)
        ((_, because),) = ends(of(change("redis"), running=running))
        assert because == "redis is replaced, and ray-cpu is of a version that does not survive that"

    @pytest.mark.parametrize("folder", ["/run/cslr/entrypoints", "/run/cslr/entrypoints/ray"])
    def test_a_head_outlives_it_wherever_its_version_has_the_relay(self, folder):
        mounts = {f"{folder}/redis_relay.py": "/state/redis_relay.py"}
        services = tuple(deployed(name, mounts=mounts) if name == "ray-cpu" else deployed(name) for name in SERVICES)
        running = RunningWork(works=ONE_HOST.works, head="ray-cpu", services=services)
        assert not of(change("redis"), running=running)

    def test_with_the_head_it_is_the_head_that_ends(self):
        found = of(change("redis"), change("ray-cpu"))
        assert [because for _, because in ends(found)] == ["ray-cpu is replaced"]
        assert found.notices == ()


class TestNotAsked:
    RUNNING = RunningWork(services=ONE_HOST.services, not_asked={"ray-cpu": "Ray's dashboard does not answer"})

    def test_what_may_end_is_said(self):
        found = of(change("ray-cpu"), running=self.RUNNING)
        assert [str(end) for end in found.ends] == [
            "running work is not known and may end: ray-cpu is replaced (Ray's dashboard does not answer)"
        ]
        assert not found.known

    def test_one_node_is_asked_for_the_others(self):
        (end,) = of(change("ray-gpu"), running=self.RUNNING).ends
        assert str(end).startswith("running work is not known and may end: ray-gpu is replaced")

    def test_it_is_no_matter_for_what_else_changes(self):
        assert not of(change("marimo"), running=self.RUNNING)


def several(leads: str) -> RunningWork:
    names = ("health", "ray-cpu", "ray-gateway", "ray-head", "redis")
    return RunningWork(
        works=(
            JOB,
            Work(kind=Kind.JOB, identifier="y", what="elsewhere"),
            Work(kind=Kind.TASK, identifier="3", what="here", node="ray-cpu", part=True),
            Work(kind=Kind.TASK, identifier="4", what="there", part=True),
            Work(kind=Kind.CLIENT, identifier="05000000", node=leads),
        ),
        head=leads,
        services=tuple(deployed(name, several_hosts=True) for name in names),
    )


class TestSeveralHosts:
    def test_a_worker_ends_what_is_there_alone(self):
        assert ends(of(change("ray-cpu"), running=several(""))) == [
            ("python train.py, here", "ray-cpu is replaced, the node of this host")
        ]

    def test_the_head_moves_and_takes_the_clients_of_ray_client_alone(self):
        found = of(change("ray-head"), running=several("ray-head"))
        assert ends(found) == [("05000000", "ray-head is replaced, and the head moves to another host")]
        assert "jobs, tasks and actors on other hosts continue" in found.notices[0]

    @pytest.mark.parametrize("service", ["ray-head", "ray-gateway", "health"])
    def test_what_does_not_lead_ends_nothing(self, service):
        assert not of(change(service), running=several(""))

    def test_the_primary_of_redis_takes_the_head_for_a_while_and_no_task(self):
        found = of(change("redis"), running=several(""))
        assert ends(found) == [("05000000", "redis is replaced, and the head restarts")]
        assert "jobs, tasks and actors on other hosts continue" in found.notices[0]

    def test_a_copy_of_redis_ends_nothing(self):
        stopping = stops([change("redis")], several("").services)
        assert cost(stopping, several(""), redis_leads=False) == Cost()


def test_the_notebooks_of_one_person_end_with_their_own_container_alone():
    works = tuple(replace(NOTEBOOK, node=f"marimo-{name}", what=f"{name}.py") for name in ("alice", "bob"))
    running = RunningWork(works=works, services=tuple(deployed(work.node) for work in works))
    found = of(change("marimo-bob", Action.REPLACE, "memory: 1024 → 2048"), running=running)
    assert ends(found) == [("bob.py", "marimo-bob is replaced (memory 1g → 2g)")]
