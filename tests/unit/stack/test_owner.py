"""The owner of a stack's containers and networks, and the message for a run that is not the owner."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.problems import SettingsError
from stack.identity import StackIdentity
from stack.owner import (
    Known,
    OwnerRecord,
    Situation,
    StackObject,
    another_checkout,
    check,
    pulumi_backend,
    stack_objects,
)

DEV = StackIdentity(project="cslr", stack="dev")
FOLDER = Path("/home/me/.local/state/cslr/cslr/dev")
HERE = "file:///home/me/backend"
EMBEDDED = Known(engine="embedded")


def container(name: str, *, embedded: bool = False, folder: Path = FOLDER) -> StackObject:
    return StackObject(
        kind="container",
        name=f"cslr-dev-{name}",
        identifier=f"id of {name}",
        embedded=embedded,
        sources=("/srv/data", f"{folder}/programs/abc/health.py"),
    )


def network(*, embedded: bool = False) -> StackObject:
    return StackObject(kind="network", name="ray-network", identifier="id of network", embedded=embedded)


def pulumi(*names: str) -> Known:
    return Known(engine="pulumi", identifiers=frozenset(f"id of {name}" for name in names))


def situation(*objects: StackObject, known: Known, last: OwnerRecord | None = None) -> Situation:
    own = OwnerRecord(engine=known.engine, backend=HERE if known.engine == "pulumi" else "", checkout="/home/me/here")
    return Situation(identity=DEV, objects=objects, known=known, own=own, last=last, folder=FOLDER)


def refusal(*objects: StackObject, known: Known, last: OwnerRecord | None = None) -> str:
    with pytest.raises(SettingsError) as refused:
        check(situation(*objects, known=known, last=last))
    return str(refused.value)


class TestOwnObjects:
    @pytest.mark.parametrize("known", [EMBEDDED, pulumi()])
    def test_of_a_stack_that_is_not_here_anybody_may_deploy_it(self, known):
        check(situation(known=known))

    def test_what_the_state_knows_is_its_own(self):
        check(situation(container("redis"), network(), known=pulumi("redis", "network", "of a container that went")))

    def test_what_carries_its_labels_is_the_embedded_engines(self):
        check(situation(container("redis", embedded=True), network(embedded=True), known=EMBEDDED))

    def test_a_container_that_mounts_nothing_of_the_state_folder_tells_nothing(self):
        plain = StackObject(
            kind="container", name="x", identifier="id of x", embedded=True, sources=("/srv/dev/secrets/a",)
        )
        check(situation(plain, known=EMBEDDED))


class TestOtherEngine:
    def test_pulumi_leaves_what_the_embedded_engine_made(self):
        text = refusal(container("redis", embedded=True), network(embedded=True), known=pulumi())
        assert text.startswith(
            "stack dev: 1 container and 1 network (cslr-dev-redis, ray-network) of it were made by the embedded engine"
        )
        assert text.index("ws up -s dev\n") < text.index("ws down -s dev\n") < text.index("pulumi up -s dev")

    def test_the_embedded_engine_leaves_what_pulumi_made(self):
        last = OwnerRecord(engine="pulumi", backend=HERE)
        text = refusal(container("redis"), container("mlflow"), known=EMBEDDED, last=last)
        assert f"2 containers (cslr-dev-redis, cslr-dev-mlflow) of it were made by Pulumi in {HERE}" in text
        assert text.index("pulumi up -s dev") < text.index("ws down") < text.index("ws up -s dev --engine embedded")

    @pytest.mark.parametrize("known", [EMBEDDED, pulumi()])
    def test_either_engine_leaves_what_docker_compose_started(self, known):
        started = replace(container("redis"), compose=True)
        text = refusal(started, known=known, last=OwnerRecord(engine="pulumi", backend=HERE))
        assert "1 container (cslr-dev-redis) of it were started by Docker Compose" in text
        assert text.index("ws generate -s dev") < text.index("ws down -s dev") < text.index(" up -s dev")

    def test_one_stranger_among_its_own_is_enough(self):
        assert "(cslr-dev-redis)" in refusal(container("redis"), container("b", embedded=True), known=EMBEDDED)
        assert "(cslr-dev-b)" in refusal(container("redis"), container("b", embedded=True), known=pulumi("redis"))


class TestOtherState:
    def test_of_another_backend_is_named(self):
        last = OwnerRecord(engine="pulumi", backend="s3://team")
        text = refusal(container("redis"), known=pulumi(), last=last)
        assert "export PULUMI_BACKEND_URL=s3://team" in text
        assert "ws down -s dev" in text

    @pytest.mark.parametrize("last", [None, OwnerRecord(engine="pulumi", backend=HERE), OwnerRecord(engine="embedded")])
    def test_that_lost_everything_is_said(self, last):
        text = refusal(container("redis"), network(), known=pulumi(), last=last)
        assert f"are not in Pulumi's state of {HERE}" in text
        assert "pulumi stack import -s dev" in text

    @pytest.mark.parametrize("known", [EMBEDDED, pulumi("redis")])
    def test_of_another_users_folder_is_refused_by_either_engine(self, known):
        theirs = Path("/root/.local/state/cslr/cslr/dev")
        text = refusal(container("redis", embedded=known is EMBEDDED, folder=theirs), known=known)
        assert f"belong to the state folder {theirs}, and this run has {FOLDER}" in text
        assert "export XDG_STATE_HOME=/root/.local/state\n" in text

    def test_another_name_of_the_same_folder_is_the_same(self, tmp_path):
        real, link = tmp_path / "real" / "cslr" / "dev", tmp_path / "link"
        real.mkdir(parents=True)
        link.symlink_to(tmp_path / "real")
        now = situation(container("redis", embedded=True, folder=link / "cslr" / "dev"), known=EMBEDDED)
        check(Situation(**{**vars(now), "folder": real}))


class TestInterruptedRun:
    def test_what_it_left_is_named_with_the_commands(self):
        text = refusal(container("redis"), container("health"), network(), known=pulumi("network", "redis"))
        assert "a run that was interrupted left 1 container (cslr-dev-health)" in text
        assert "docker rm -f cslr-dev-health" in text
        assert "redis" not in text.replace("cslr-dev-redis-", "")

    def test_containers_go_before_their_network(self):
        left = situation(network(), container("redis"), container("health"), known=pulumi("health"))
        text = refusal(*left.objects, known=left.known)
        assert text.index("docker rm -f cslr-dev-redis") < text.index("docker network rm ray-network")

    def test_a_network_alone_is_no_others_stack(self):
        assert situation(network(), known=pulumi()).leftovers == [network()]

    def test_of_the_first_deployment_is_this_states_where_it_was_the_last(self):
        last = OwnerRecord(engine="pulumi", backend=HERE)
        begun, empty = pulumi("a volume"), pulumi()
        assert situation(container("keeper"), known=begun, last=last).leftovers == [container("keeper")]
        for now in (
            situation(container("keeper"), known=empty, last=last),
            situation(container("keeper"), known=begun),
        ):
            assert now.leftovers == []

    def test_nothing_that_runs_is_taken_for_a_leftover_of_a_state_that_knows_nothing(self):
        assert situation(container("redis"), network(), known=pulumi()).leftovers == []


class TestRecord:
    def test_is_kept_and_read(self, tmp_path):
        record = OwnerRecord(engine="pulumi", backend=HERE, checkout="/here")
        record.write(tmp_path / "dev")
        assert OwnerRecord.read(tmp_path / "dev") == record
        assert (tmp_path / "dev" / "owner.json").stat().st_mode & 0o077 == 0

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"engine": "terraform"}', '{"engine": "pulumi", "more": 1}'])
    def test_that_is_none_is_nobody(self, tmp_path, text):
        (tmp_path / "owner.json").write_text(text)
        assert OwnerRecord.read(tmp_path) is None

    def test_another_checkout_is_told_where_there_is_something(self):
        last = OwnerRecord(engine="embedded", checkout="/home/me/there")
        assert "from /home/me/there" in (another_checkout(situation(network(), known=EMBEDDED, last=last)) or "")
        assert another_checkout(situation(known=EMBEDDED, last=last)) is None


class TestBackend:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("file:///home/me/b", "file:///home/me/b"),
            ("postgres://me:secret@db:5432/pulumi?sslmode=disable", "postgres://db:5432/pulumi"),
            ("s3://bucket/folder?region=eu", "s3://bucket/folder"),
        ],
    )
    def test_is_named_without_credentials(self, url, shown):
        assert pulumi_backend({"PULUMI_BACKEND_URL": url}) == shown

    def test_of_a_login_is_found(self, tmp_path):
        (tmp_path / "credentials.json").write_text('{"current": "https://api.pulumi.com"}')
        assert pulumi_backend({"PULUMI_HOME": str(tmp_path)}) == "https://api.pulumi.com"
        assert pulumi_backend({"PULUMI_HOME": str(tmp_path / "none")}) == ""


class Listing:
    """Docker, as far as it is asked."""

    def __init__(self, *mounts: dict[str, str]) -> None:
        labels = {"cslr.project": "cslr", "cslr.stack": "dev"}
        redis = {"Names": ["/cslr-dev-redis"], "Id": "1", "Labels": {**labels, "cslr.component": "redis"}}
        client = {"Names": ["/x"], "Id": "2", "Labels": {**labels, "cslr.component": "verification"}}
        self._found = {
            "/containers/json": [{**redis, "Mounts": list(mounts)}, client],
            "/networks": [{"Name": "ray-network", "Id": "3", "Labels": {**labels, "cslr.engine.urn": "urn"}}],
        }

    def labelled(self, path: str, _key: str, labels: list[str]) -> Any:
        assert labels == ["cslr.project=cslr", "cslr.stack=dev"]
        return self._found[path]


class TestLook:
    def test_finds_containers_and_networks_but_no_verification(self):
        found = stack_objects(DEV, Listing())  # type: ignore[arg-type]
        assert [(one.kind, one.name, one.identifier, one.embedded) for one in found] == [
            ("container", "cslr-dev-redis", "1", False),
            ("network", "ray-network", "3", True),
        ]

    def test_takes_no_folder_of_the_users_for_a_state_folder(self):
        """One that is called like a part of it would have the stack refused for good."""
        own = {"Source": f"{FOLDER}/secrets/abc/1000/ray-token", "Destination": "/run/secrets/ray-token"}
        mine = {"Source": "/srv/cslr/dev/programs/mine", "Destination": "/workspace/mine"}
        redis, _ = stack_objects(DEV, Listing(mine, own))  # type: ignore[arg-type]
        assert redis.state_folder(DEV) == str(FOLDER)
