"""The embedded engine's decisions and operations for each resource, on resource types in memory."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from docker_api.api import DockerError
from docker_api.builds import BuildError
from embedded_engine.changes import EVERYTHING, Scope
from embedded_engine.deployment import Action, Change, Deployment
from embedded_engine.registration import Registration, recorded
from embedded_engine.resources.base import Actual, Progress, ResourceError
from embedded_engine.resources.container import Container
from embedded_engine.resources.network import Network

NETWORK = "docker:index/network:Network"
CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/image:Image"


class Memory:
    """A resource type whose objects are in a dictionary, by URN."""

    def __init__(
        self,
        *,
        replaces: bool = True,
        replaces_dependents: str = "",
        replaced_with_dependencies: bool = False,
        broken: Exception | None = None,
    ) -> None:
        self.replaces = replaces
        self.replaces_dependents = replaces_dependents
        self.replaced_with_dependencies = replaced_with_dependencies
        self.inputs = frozenset({"name", "memory"})
        self.broken = broken
        self.there: dict[str, Actual] = {}
        self.done: list[str] = []

    def read(self, wanted: Registration) -> Actual | None:
        return self.there.get(wanted.urn)

    def create(self, wanted: Registration, defective: Actual | None, progress: Progress) -> Actual:
        self.done.append(f"{'repair' if defective else 'create'} {wanted.name}")
        progress("working")
        if self.broken:
            raise self.broken
        made = Actual(identifier=f"id of {wanted.name}", outputs={"name": wanted.name}, inputs=wanted.recorded)
        self.there[wanted.urn] = made
        return made

    def delete(self, actual: Actual, progress: Progress) -> None:
        self.done.append(f"delete {actual.outputs['name']}")


class Shown:
    """A display that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def started(self, change: Change) -> None:
        self.events.append(f"{change.name}: {change.action}")

    def progress(self, change: Change, text: str) -> None:
        self.events.append(f"{change.name}: {text}")

    def ended(self, change: Change) -> None:
        self.events.append(f"{change.name}: ended")

    def interrupted(self) -> None:
        self.events.append("interrupted")


def wanted(name: str, kind: str = CONTAINER, after: tuple[Registration, ...] = (), /, **inputs: Any) -> Registration:
    return Registration(
        urn=f"urn:pulumi:dev::cslr::{kind}::{name}",
        type=kind,
        name=name,
        inputs=inputs,
        recorded=recorded(inputs),
        dependencies=tuple(other.urn for other in after),
        retain_on_delete=False,
    )


class Host:
    """A host with types in memory, on which one run follows another."""

    def __init__(self) -> None:
        self.containers = Memory(replaced_with_dependencies=Container.replaced_with_dependencies)
        self.networks = Memory(replaces_dependents=Network.replaces_dependents)
        self.images = Memory(replaces=False)
        self.shown = Shown()
        self.cancelled = threading.Event()
        self.guarded: list[str] = []
        self.objection = ""

    def guard(self, change: Change) -> str:
        self.guarded.append(f"{change.name}: {change.action}")
        return self.objection

    def run(self, *registrations: Registration, preview: bool = False, scope: Scope = EVERYTHING) -> dict[str, Change]:
        """One run of a program with these resources, in this order; what happened to each."""
        types = {CONTAINER: self.containers, NETWORK: self.networks, IMAGE: self.images}
        deployment = Deployment(
            types, self.shown, preview=preview, cancelled=self.cancelled, guard=self.guard, scope=scope
        )
        self.outcomes = {r.name: deployment.handle(r) for r in registrations}
        return {change.name: change for change in deployment.changes.values()}


@pytest.fixture
def host():
    return Host()


REDIS = wanted("redis", name="cslr-dev-redis", memory=512)
BIGGER = wanted("redis", name="cslr-dev-redis", memory=1024)


class TestGuard:
    """Asked at the moment at which something that exists would end."""

    def test_an_objection_keeps_the_container_and_is_its_error(self, host):
        host.run(REDIS)
        host.objection = "1 running job began meanwhile"
        change = host.run(BIGGER)["redis"]
        assert (change.action, change.error) == (Action.REPLACE, "1 running job began meanwhile")
        assert host.containers.done == ["create redis"]

    def test_what_depends_on_it_is_not_reached(self, host):
        host.run(REDIS)
        host.objection = "a job began"
        after = wanted("ray-cpu", CONTAINER, (BIGGER,), name="cslr-dev-ray-cpu")
        assert host.run(BIGGER, after)["ray-cpu"].skipped

    def test_it_is_asked_for_repairs_too(self, host):
        host.run(REDIS)
        host.containers.there[REDIS.urn] = replace(host.containers.there[REDIS.urn], defect="is unhealthy")
        host.run(REDIS)
        assert host.guarded == ["redis: repair"]

    def test_it_is_not_asked_for_what_is_made_or_stays(self, host):
        host.run(REDIS)
        host.run(REDIS)
        host.run(BIGGER, preview=True)
        assert host.guarded == []

    def test_it_knows_what_will_be(self, host):
        host.run(REDIS)
        assert host.run(BIGGER)["redis"].after["memory"] == 1024


class TestScope:
    """A run that may change some resources alone: the rolling replacement's, one node after the other."""

    OTHER = wanted("ray-cpu", name="cslr-dev-ray-cpu", memory=512)
    OTHER_BIGGER = wanted("ray-cpu", name="cslr-dev-ray-cpu", memory=1024)

    @pytest.mark.parametrize("scope", [Scope(only={OTHER.urn}), Scope(without={REDIS.urn})])
    def test_what_is_outside_stays_as_it_is_and_gives_its_outputs(self, host, scope):
        host.run(REDIS, self.OTHER)
        changes = host.run(BIGGER, self.OTHER_BIGGER, scope=scope)
        assert {name: change.action for name, change in changes.items()} == {
            "redis": Action.SAME, "ray-cpu": Action.REPLACE,
        }  # fmt: skip
        assert host.outcomes["redis"] == ("id of redis", {"name": "redis"})
        assert host.containers.done[2:] == ["delete ray-cpu", "create ray-cpu"]

    def test_what_is_outside_and_not_there_is_not_made(self, host):
        assert host.run(REDIS, self.OTHER, scope=Scope(only={self.OTHER.urn}))["redis"].action is Action.SAME
        assert host.containers.done == ["create ray-cpu"]

    def test_everything_is_the_whole(self):
        assert (EVERYTHING.whole, "any" in EVERYTHING, Scope(only=set()).whole) == (True, True, False)


class TestDecision:
    def test_what_is_not_there_is_created(self, host):
        change = host.run(REDIS)["redis"]
        assert (change.action, change.reasons, change.error) == (Action.CREATE, [], None)
        assert host.outcomes["redis"] == ("id of redis", {"name": "redis"})
        assert host.shown.events == ["redis: create", "redis: working", "redis: ended"]

    def test_what_is_as_wanted_stays(self, host):
        host.run(REDIS)
        host.containers.done.clear()
        assert host.run(REDIS)["redis"].action is Action.SAME
        assert host.outcomes["redis"] == ("id of redis", {"name": "redis"}), "its outputs are known"
        assert host.containers.done == []

    def test_container_that_differs_is_replaced(self, host):
        host.run(REDIS)
        change = host.run(BIGGER)["redis"]
        assert (change.action, change.reasons) == (Action.REPLACE, ["memory: 512 → 1024"])
        assert host.containers.done == ["create redis", "delete redis", "create redis"]

    def test_image_that_differs_is_made_in_place(self, host):
        before, after = wanted("redis", IMAGE, memory=1), wanted("redis", IMAGE, memory=2)
        host.run(before)
        assert host.run(after)["redis"].action is Action.UPDATE
        assert host.images.done == ["create redis", "create redis"]

    def test_defect_is_repaired(self, host):
        host.run(REDIS)
        host.containers.there[REDIS.urn] = replace(host.containers.there[REDIS.urn], defect="is exited")
        change = host.run(REDIS)["redis"]
        assert (change.action, change.reasons) == (Action.REPAIR, ["is exited"])
        assert host.containers.done == ["create redis", "repair redis"]

    def test_difference_counts_more_than_a_defect(self, host):
        host.run(REDIS)
        host.containers.there[REDIS.urn] = replace(host.containers.there[REDIS.urn], defect="is exited")
        assert host.run(BIGGER)["redis"].action is Action.REPLACE

    def test_what_another_engine_made_is_made_anew(self, host):
        host.run(REDIS)
        host.containers.there[REDIS.urn] = replace(host.containers.there[REDIS.urn], inputs=None)
        change = host.run(REDIS)["redis"]
        assert change.action is Action.REPLACE
        assert change.reasons == ["was made by another engine, or left half made"]

    def test_replaced_network_takes_its_containers_with_it(self, host):
        before, after = wanted("network", NETWORK, name="a"), wanted("network", NETWORK, name="b")
        on_it, beside = replace(REDIS, dependencies=(before.urn,)), wanted("other", name="x")
        image = wanted("image", IMAGE, (before,), memory=1)
        host.run(before, on_it, beside, image)
        changes = host.run(after, on_it, beside, image)
        assert (changes["redis"].action, changes["redis"].reasons) == (Action.REPLACE, ["its network is replaced"])
        assert changes["other"].action is Action.SAME
        assert changes["image"].action is Action.SAME


class TestPreview:
    def test_changes_nothing(self, host):
        host.run(REDIS, preview=True)
        host.run(REDIS)
        host.containers.done.clear()
        change = host.run(BIGGER, preview=True)["redis"]
        assert (change.action, change.reasons) == (Action.REPLACE, ["memory: 512 → 1024"])
        assert host.containers.done == []

    def test_does_not_know_what_is_made_anew(self, host):
        host.run(REDIS, preview=True)
        assert host.outcomes["redis"] == ("", {})

    def test_knows_what_is_only_repaired(self, host):
        host.run(REDIS)
        host.containers.there[REDIS.urn] = replace(host.containers.there[REDIS.urn], defect="is exited")
        host.run(REDIS, preview=True)
        assert host.outcomes["redis"] == ("id of redis", {"name": "redis"})


class TestFailure:
    @pytest.mark.parametrize("kind", [ResourceError, DockerError, BuildError])
    def test_is_told_in_its_own_words(self, host, kind):
        host.containers.broken = kind("port 6381 is taken")
        change = host.run(REDIS)["redis"]
        assert change.error == "port 6381 is taken"
        assert host.outcomes["redis"] is None

    def test_that_nobody_foresaw_is_told_with_its_kind(self, host):
        host.containers.broken = KeyError("x")
        assert host.run(REDIS)["redis"].error == "KeyError: 'x'"

    def test_skips_what_needs_it_and_what_needs_that(self, host):
        host.networks.broken = ResourceError("no address left")
        network = wanted("network", NETWORK, name="a")
        redis = replace(REDIS, dependencies=(network.urn,))
        ray = wanted("ray", CONTAINER, (redis,), name="x")
        changes = host.run(network, redis, ray)
        assert [(c.skipped, c.error) for c in changes.values()] == [
            (False, "no address left"),
            (True, None),
            (True, None),
        ]
        assert host.containers.done == []

    def test_lets_all_else_come_to_its_end(self, host):
        host.networks.broken = ResourceError("no address left")
        changes = host.run(wanted("network", NETWORK, name="a"), REDIS)
        assert changes["redis"].error is None
        assert host.containers.done == ["create redis"]

    def test_is_made_good_by_the_next_run(self, host):
        host.containers.broken = ResourceError("no")
        host.run(REDIS)
        host.containers.broken = None
        assert host.run(REDIS)["redis"].action is Action.CREATE
        assert host.run(REDIS)["redis"].action is Action.SAME


class TestRefusal:
    @pytest.mark.parametrize("preview", [True, False])
    def test_of_an_unknown_type_names_it(self, host, preview):
        change = host.run(wanted("bucket", "aws:s3/bucket:Bucket"), preview=preview)["bucket"]
        assert change.error is not None
        assert "does not know the type aws:s3/bucket:Bucket, only " in change.error
        assert "--engine pulumi" in change.error

    @pytest.mark.parametrize("preview", [True, False])
    def test_of_an_unknown_input_names_it(self, host, preview):
        change = host.run(wanted("redis", name="x", gpus="all", dns="y"), preview=preview)["redis"]
        assert change.error is not None
        assert f"does not know the input dns, gpus of {CONTAINER}" in change.error
        assert host.containers.done == []

    def test_of_one_resource_declared_twice(self, host):
        types = {CONTAINER: host.containers}
        deployment = Deployment(types, host.shown, preview=False, cancelled=host.cancelled)
        assert deployment.handle(REDIS) is not None
        assert deployment.handle(REDIS) is None
        assert deployment.changes[REDIS.urn].error == "is declared twice"


class TestCancelled:
    def test_begins_nothing_more(self, host):
        host.cancelled.set()
        change = host.run(REDIS)["redis"]
        assert (change.skipped, change.error) == (True, None)
        assert host.containers.done == []
