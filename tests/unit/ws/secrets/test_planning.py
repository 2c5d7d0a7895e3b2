"""What a rotation takes, refuses and says, before anything changes."""

from typing import Any

import pytest

from config.cluster import ClusterSettings, Membership
from embedded_engine.changes import COMMAND, CONTAINER, NETWORK, Action, Change
from stack.running_work import Deployed
from testing.harness import CLUSTER
from testing.stack_files import configured
from ws.errors import WsError
from ws.secrets import planning
from ws.secrets.catalogue import Secret, secrets_of
from ws.secrets.listing import Listed, Origin

OLD, NEW = "/state/secrets/aaa/1000/redis-password", "/state/secrets/bbb/1000/redis-password"
SECRET_AT, DATA_AT = "/run/secrets/redis-password", "/data"
REDIS = Deployed(
    service="redis", name="cslr-dev-redis", running=True, healthy=True, mounts={SECRET_AT: OLD, DATA_AT: "volume"}
)
KNOWN = secrets_of(configured("config:\n  cslr:platform: {ray: {env_secrets: [HF_TOKEN]}}\n"))


def chosen(*names: str, everything: bool = False) -> list[str]:
    return [one.name for one in planning.chosen(KNOWN, names, "dev", everything=everything)]


def secret(name: str) -> Secret:
    return next(one for one in KNOWN if one.name == name)


def change(service: str, action: Action, *reasons: str, source: str = NEW, **fields: Any) -> Change:
    mounts = [{"target": SECRET_AT, "source": source}, {"target": DATA_AT, "source": fields.pop("data", "volume")}]
    return Change(**{
        "urn": service, "type": CONTAINER, "name": f"{service}-container", "action": action, "reasons": list(reasons),
        "after": {"mounts": mounts}, **fields,
    })  # fmt: skip


def pending(*changes: Change) -> list[str]:
    return planning.refuse_pending(changes, [REDIS], {"redis", "mlflow"}, "dev")


class TestChosen:
    @pytest.mark.parametrize("name", ["redis-password", "redisPassword", "cslr:redisPassword"])
    def test_by_name_or_key(self, name):
        assert chosen(name) == ["redis-password"]

    def test_each_once(self):
        assert chosen("redisPassword", "redis-password", "HF_TOKEN") == ["redis-password", "HF_TOKEN"]

    def test_all_are_those_that_are_made_here(self):
        assert "ray-token" in chosen(everything=True)
        assert not {"HF_TOKEN", "slackWebhook"} & set(chosen(everything=True))

    def test_an_unknown_one_is_refused_with_a_guess(self):
        with pytest.raises(WsError, match=r"Did you mean ray-token\?.*ws secrets list -s dev"):
            chosen("ray-tokn")

    @pytest.mark.parametrize(("names", "everything"), [((), False), (("ray-token",), True)])
    def test_names_or_all_and_not_both(self, names, everything):
        with pytest.raises(WsError, match="ws secrets list"):
            chosen(*names, everything=everything)


class TestCluster:
    MEMBERSHIP = Membership(cluster=ClusterSettings.model_validate(CLUSTER), host="beta", file="cluster.yaml", key="")

    def test_one_host_does_not_change_what_all_must_have(self):
        with pytest.raises(WsError, match=r"alpha, gamma would keep(.|\n)*on gamma: .*ws cluster key") as refused:
            planning.refuse_alone([secret("ray-token"), secret("marimo-token")], self.MEMBERSHIP, "beta", "cslr")
        assert "marimo-token" not in str(refused.value)

    @pytest.mark.parametrize("name", ["marimo-token", "HF_TOKEN", "postgres-password"])
    def test_but_what_is_its_own(self, name):
        planning.refuse_alone([secret(name)], self.MEMBERSHIP, "beta", "cslr")

    def test_a_single_host_changes_everything(self):
        planning.refuse_alone([secret("redis-password")], None, "dev", "cslr")


class TestPending:
    def test_nothing(self):
        assert pending(change("redis", Action.SAME), change("verification", Action.UPDATE, type=COMMAND)) == []

    def test_what_an_interrupted_rotation_left(self):
        left = [change("redis", Action.REPLACE, "mounts.source: a → b"), change("mlflow", Action.CREATE)]
        assert pending(*left) == ["redis-container", "mlflow-container"]

    @pytest.mark.parametrize(
        "other",
        [
            change("redis", Action.REPLACE, "mounts.source: a → b", "memory: 1 → 2"),
            change("redis", Action.REPLACE, "mounts.source: a → b", data="/elsewhere"),
            change("queue", Action.CREATE),  # newly enabled
            change("redis", Action.DELETE),
            change("redis", Action.REPLACE, type=NETWORK),
        ],
    )
    def test_an_edit_of_the_stack_file_is_not_deployed_with_it(self, other):
        with pytest.raises(WsError, match=r"(?s)Nothing was changed.*ws up -s dev"):
            pending(other)


class TestSaid:
    FOUND = (
        Listed(secret=secret("ray-token"), origin=Origin.STACK_FILE, services=("health", "devel")),
        Listed(secret=secret("redis-password"), origin=Origin.PLAIN, services=("redis", "health")),
        Listed(secret=secret("grafana-password"), origin=Origin.CLUSTER),
    )

    def test_a_service_stops_once_for_all_its_secrets(self):
        stops = {one.service: one.because for one in planning.stops_of(self.FOUND)}
        assert stops["health"] == "health is replaced (ray-token, redis-password)"
        assert set(stops) == {"health", "devel", "redis"}

    def test_what_is_replaced_and_what_to_do_afterwards(self):
        text = "\n".join(planning.lines(self.FOUND, given=False))
        assert "ray-token: a new value in the stack file; replaces health, devel" in text
        assert "bundles anew (ws client)" in text
        assert "devel: everybody who is logged in" in text
        assert "grafana-password: a new value in the stack file; no service here uses it" in text
        assert "reset-admin-password" not in text  # of a Grafana that is not there
