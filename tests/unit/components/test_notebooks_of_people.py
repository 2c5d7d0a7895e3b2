"""Notebooks per person: what each person's container has of its own, and what nobody else's change touches."""

import json
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from config.platform import PlatformSettings
from testing.harness import Deployed, deploy, merged

PEOPLE: dict[str, Any] = {"marimo": {"users": {"alice": {"memory": "8g", "port": 9000}, "bob": None}, "idle": "2h"}}
PROXY: dict[str, Any] = {"network": {"proxy": "http://proxy.example.org:3128"}}
OWN = "/workspace/notebooks/.own"


@pytest.fixture(scope="module")
def people(home) -> Deployed:
    return deploy(PEOPLE, state_home=home)


def token(deployed: Deployed, service: str) -> str:
    return Path(deployed.containers[service].mounts["/run/secrets/marimo-token"]["source"]).read_text()


def spec(deployed: Deployed) -> Any:
    return json.loads(deployed.verification_spec)


class TestContainers:
    def test_are_one_for_each_person_and_none_for_all(self, people):
        assert {name for name in people.containers if name.startswith("marimo")} == {"marimo-alice", "marimo-bob"}

    def test_have_the_limits_and_the_port_of_the_person_or_of_all(self, people):
        alice, bob = (people.containers[name].inputs for name in ("marimo-alice", "marimo-bob"))
        assert (alice["memory"], bob["memory"]) == (8192, 4096)
        assert [one["ports"][0]["external"] for one in (alice, bob)] == [9000, 8081]

    def test_have_a_volume_each(self, people):
        sources = {
            people.containers[name].mounts["/workspace/notebooks"]["source"] for name in ("marimo-alice", "marimo-bob")
        }
        assert sources == {"cslr-dev-marimo-alice-notebooks", "cslr-dev-marimo-bob-notebooks"}

    def test_have_tokens_that_open_no_other(self, people):
        tokens = {token(people, name) for name in ("marimo-alice", "marimo-bob")}
        assert len(tokens) == 2
        assert tokens == {
            (people.state / "generated" / f"marimo-token-{name}").read_text() for name in ("alice", "bob")
        }

    def test_give_no_persons_token_to_the_health_service(self, people):
        given = people.containers["health"].mounts
        assert not [target for target in given if "marimo-token" in target]
        watched = json.loads(people.containers["health"].env["CSLR_SETTINGS"])["services"]
        assert {one["name"]: one["kind"] for one in watched if one["name"].startswith("marimo")} == {
            "marimo-alice": "marimo",
            "marimo-bob": "marimo",
        }

    def test_keep_what_is_the_persons_on_the_persons_volume(self, people):
        env = people.containers["marimo-alice"].env
        assert (env["LOGNAME"], env["CSLR_USER"], env["HOME"]) == ("alice", "alice", "/home/cslr")
        assert all(
            env[name].startswith(OWN)
            for name in ("MARIMO_OWN_FOLDER", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "GIT_CONFIG_GLOBAL")
        )

    def test_take_requests_of_their_own_pages_alone(self, people):
        env = people.containers["marimo-alice"].env
        assert env["CSLR_MARIMO_LINKS"] == "/run/cslr/links/marimo-alice.json"
        named = deploy(
            merged(PEOPLE, {"network": {"names": ["gpuhost.example.org"]}}),
            state_home=people.state.parents[3] / "named",
        )
        origins = {
            name: set(json.loads((named.state / "links" / f"marimo-{name}.json").read_text())["origins"])
            for name in ("alice", "bob")
        }
        assert "http://gpuhost.example.org:9000" in origins["alice"]
        assert "http://gpuhost.example.org:9000" not in origins["bob"]

    def test_end_idle_kernels_after_the_time_of_the_stack_file(self, people, home):
        assert people.containers["marimo-bob"].env["CSLR_MARIMO_IDLE"] == "7200"
        assert "CSLR_MARIMO_IDLE" not in deploy({}, state_home=home).containers["marimo"].env

    def test_share_one_image_also_a_pulled_one(self, home):
        image = {"source": "pull", "reference": "registry.example.org/marimo:1"}
        pulled = deploy(merged(PEOPLE, {"marimo": {"image": image}}), state_home=home)
        (name,) = pulled.of_type("docker:index/remoteImage:RemoteImage")
        for service in ("marimo-alice", "marimo-bob"):
            assert name in pulled.needs(pulled.containers[service])

    def test_have_their_places_below_a_path_and_a_folder(self):
        settings = load(
            merged(PEOPLE, {"marimo": {"base_url": "https://x.example.org/nb/", "notebooks": "/srv/notebooks"}}),
            stack_file="",
        )
        assert settings.marimo.of("bob").notebooks == "/srv/notebooks/bob"
        assert settings.base_url("marimo-bob") == "https://x.example.org/nb/bob"
        assert (
            load({"marimo": {"notebooks": "nb", "users": ["bob"]}}, stack_file="").marimo.of("bob").notebooks
            == "nb-bob"
        )


class TestComingAndGoing:
    @pytest.mark.parametrize("settings", [{}, PROXY], ids=["plain", "proxy"])
    def test_replaces_no_container_of_anybody_else(self, home, settings):
        before = deploy(merged(PEOPLE, settings), state_home=home)
        more = merged(PEOPLE, settings, {"marimo": {"users": {"carol": {"port": 9001}}}})
        after = deploy(more, state_home=home)
        changed = {
            name for name in before.containers if before.containers[name].inputs != after.containers[name].inputs
        }
        assert changed == {"health"}

    def test_is_verified_with_the_first_ones_token(self, people):
        found = spec(people)
        assert found["marimo"]["url"] == "http://marimo-alice:8080"
        assert Path(found["secrets"]["marimo_token"]).read_text() == token(people, "marimo-alice")

    def test_is_verified_without_the_proxy(self, home):
        client = spec(deploy(merged(PEOPLE, PROXY), state_home=home))["client"]["environment"]
        assert "marimo-alice" in client["no_proxy"].split(",")


class TestSettings:
    def refused(self, marimo: dict[str, Any], **more: Any) -> str:
        with pytest.raises(Exception, match=r"Pulumi\.dev\.yaml") as error:
            load({"marimo": marimo, **more}, stack_file="Pulumi.dev.yaml")
        return str(error.value)

    def test_of_a_list_and_of_a_mapping_are_the_same(self):
        names = ["alice", "bob"]
        one, other = (load({"marimo": {"users": users}}, stack_file="") for users in (names, dict.fromkeys(names)))
        assert one == other
        assert one.services() == other.services()

    def test_are_those_of_all_without_people(self):
        assert "marimo" in PlatformSettings().services()
        assert load({"marimo": {"users": []}}, stack_file="").services() == PlatformSettings().services()

    def test_of_disabled_notebooks_start_nobodys(self):
        settings = load({"marimo": {"users": ["alice"], "enabled": False}}, stack_file="")
        assert not [name for name in settings.services() if name.startswith("marimo")]

    @pytest.mark.parametrize(
        ("users", "said"),
        [
            (["Alice"], "marimo.users.Alice: 'Alice' is not a person's name here"),
            (["a--b"], "the first a letter, and single hyphens between them, as in ann-lee"),
            (["ray-cpu"], "'ray-cpu' is not a person's name here: it reads like the name of a Ray node"),
            (["alice", "alice"], "marimo.users: lists 'alice' twice"),
            (["alice", 7], "marimo.users: names people, and '7' is no name"),
            ({"alice": {"mem": "8g"}}, "marimo.users.alice.mem: unknown key"),
            ({"alice": {"memory": "64m"}}, "ws set marimo.users.alice.memory 4g -s dev"),
            ({"alice": {"port": 5000}}, "marimo.users.alice.port: 5000 is already mlflow.port"),
            ({"alice": {"port": 8080}, "bob": {"port": 8080}}, "8080 is already marimo.users.alice.port"),
        ],
    )
    def test_of_people_are_refused_at_their_key(self, users, said):
        assert said in self.refused({"users": users})

    def test_of_all_are_refused_once_for_all(self):
        assert self.refused({"users": ["alice", "bob"], "memory": "64m"}).count("64m is less") == 1

    def test_ports_that_follow_from_the_first_are_moved_with_it(self):
        said = self.refused({"users": ["alice", "bob"], "port": 4999})
        assert "marimo.port: 5000 is already mlflow.port" in said

    def test_of_an_image_are_refused_once_for_all_at_the_key_that_all_have(self):
        said = self.refused({"users": ["alice", "bob"], "image": {"source": "pull"}})
        assert said.count("is missing") == 1
        assert "ws set marimo.image.reference registry.example.org/marimo:1.0 -s dev" in said
        assert "marimo.image.path: is missing" in self.refused({"users": ["alice"], "image": {"source": "dockerfile"}})

    def test_ports_that_follow_from_the_first_end_where_all_ports_do(self):
        said = self.refused({"users": ["alice", "bob", "carol"], "port": 65534})
        assert "marimo.port: marimo-carol would get port 65536, and ports end at 65535" in said
        load({"marimo": {"users": ["alice", "bob"], "port": 65534}}, stack_file="")
        load({"marimo": {"users": {"alice": None, "bob": {"port": 1024}}, "port": 65535}}, stack_file="")

    @pytest.mark.parametrize(("idle", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), (60, 60)])
    def test_idle_is_a_duration(self, idle, seconds):
        assert load({"marimo": {"idle": idle}}, stack_file="").marimo.idle == seconds

    @pytest.mark.parametrize("idle", ["2", "2 h", "h", "1s", "31d", 0, 1.5, True, "", "-1h"])
    def test_idle_is_nothing_else(self, idle):
        assert "marimo.idle" in self.refused({"idle": idle})
