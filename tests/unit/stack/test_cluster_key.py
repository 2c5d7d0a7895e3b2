"""The secrets of a cluster: derived from one key, equal on every host, and generated only on the host of Redis."""

import itertools
import stat

import pytest

from stack.cluster_key import cluster_key, derived, key_file
from stack.identity import StackIdentity
from stack.secrets import SECRETS, SecretError
from stack.stack import Stack
from stack.state import stack_folder
from testing.lab import membership_of

KEY = "0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def state(monkeypatch, tmp_path):
    """Gives each host a state folder of its own, and chooses one."""

    def choose(host: str):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / host))

    choose("gamma")
    return choose


def find(host: str, *, configured: str | None = None, dry_run: bool = False) -> str:
    """The key, as a host's deployment finds it."""
    config = {"clusterKey": configured} if configured is not None else {}
    file = f"Pulumi.{host}.yaml"
    return cluster_key(membership_of(host), config.get, project="cslr", stack_file=file, dry_run=dry_run)


def secrets(host: str, **configured: str) -> dict[str, str]:
    """All secrets of a host's stack."""
    identity = StackIdentity(project="cslr", stack=host)
    stack = Stack(identity=identity, config=configured.get, dry_run=False, python="python")
    return stack.secrets(membership_of(host)).values


class TestHostOfRedis:
    def test_makes_the_key_once_and_closes_it_to_others(self, state):
        key = find("gamma")
        file = key_file("cslr", "lab")
        assert key == find("gamma") == file.read_text().strip()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    def test_makes_a_key_that_it_would_accept(self, state):
        assert find("gamma", configured=find("gamma")) == find("gamma")

    def test_writes_nothing_in_a_preview(self, state):
        assert find("gamma", dry_run=True) != find("gamma", dry_run=True)
        assert not key_file("cslr", "lab").exists()


class TestOtherHost:
    @pytest.mark.parametrize("dry_run", [False, True])
    def test_is_told_where_to_get_the_key(self, state, dry_run):
        state("alpha")
        with pytest.raises(SecretError) as caught:
            find("alpha", dry_run=dry_run)
        text = str(caught.value)
        assert text.startswith("Pulumi.alpha.yaml: cslr:clusterKey: is needed")
        assert "Deploy gamma first" in text
        assert f"scp 10.88.0.3:{key_file('cslr', 'lab')} {key_file('cslr', 'lab')})" in text
        assert "ws set clusterKey" in text
        assert not key_file("cslr", "lab").exists()

    def test_takes_a_copy(self, state):
        made = find("gamma")
        state("alpha")
        key_file("cslr", "lab").parent.mkdir(parents=True)
        key_file("cslr", "lab").write_text(f"{made}\n")
        assert find("alpha") == made


class TestKeyInTheStackConfig:
    def test_wins_over_the_file(self, state):
        find("gamma")
        assert find("gamma", configured=KEY) == KEY

    @pytest.mark.parametrize("value", ["", "short", "x" * 31, f"{KEY} {KEY}", f"{KEY}\n{KEY}", "ключ" * 10])
    def test_is_refused_where_it_is_none_without_being_shown(self, state, value):
        with pytest.raises(SecretError) as caught:
            find("gamma", configured=value)
        assert "Pulumi.gamma.yaml: cslr:clusterKey: is not a key of a cluster" in str(caught.value)
        assert not value or value not in str(caught.value)

    def test_and_so_is_a_file_that_was_not_copied_whole(self, state):
        state("alpha")
        key_file("cslr", "lab").parent.mkdir(parents=True)
        key_file("cslr", "lab").write_text(KEY[:20])
        with pytest.raises(SecretError, match=r"cluster-lab.key: is not a key of a cluster"):
            find("alpha")


class TestSecrets:
    def test_are_the_same_on_all_hosts_and_differ_from_each_other(self, state):
        values = secrets("gamma", clusterKey=KEY)
        assert set(values) == set(SECRETS)
        assert len({*values.values(), KEY}) == len(SECRETS) + 1
        state("alpha")
        assert secrets("alpha", clusterKey=KEY) == values

    def test_are_kept_where_people_look_for_them(self, state):
        values = secrets("gamma", clusterKey=KEY)
        kept = stack_folder(StackIdentity(project="cslr", stack="gamma")) / "generated"
        assert {path.name: path.read_text() for path in kept.iterdir()} == values
        assert stat.S_IMODE((kept / "ray-token").stat().st_mode) == 0o600
        changed = secrets("gamma", clusterKey=KEY[::-1])
        assert (kept / "ray-token").read_text() == changed["ray-token"] != values["ray-token"]

    def test_of_another_cluster_or_key_are_others(self):
        made = [derived(*each) for each in itertools.product((KEY, KEY[::-1]), ("lab", "lab2"), SECRETS)]
        assert len(set(made)) == len(made)

    def test_stay_the_same_from_version_to_version(self):
        """Another derivation would lock a host that was updated out of its cluster."""
        assert derived(KEY, "lab", "redis-password") == "nXNzL4l5NbWawd658Avqkkywkvg7gOpLaqqag-sB3oU"

    def test_of_the_stack_config_win(self, state):
        assert secrets("gamma", clusterKey=KEY, rayToken="a-token-of-mine")["ray-token"] == "a-token-of-mine"

    def test_of_a_host_on_its_own_are_its_own(self, state):
        identity = StackIdentity(project="cslr", stack="dev")
        stack = Stack(identity=identity, config=lambda _: None, dry_run=False, python="python")
        assert stack.secrets(None).values != secrets("gamma")
        assert (stack.files.folder / "generated" / "ray-token").is_file()
