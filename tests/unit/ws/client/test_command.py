"""`ws client` as a person calls it, on a project with one stack."""

import json
import tomllib
from typing import Any, ClassVar

import pytest
import yaml

from contracts import ray_tls
from images.lockfile import locked
from images.variants import VARIANTS
from images.versions import versions
from testing.harness import LOGIN, PROJECT, merged
from ws import cli

WHEEL = "https://mirror.example.org/ray-3.0.0.dev0-cp314-cp314-manylinux2014_x86_64.whl"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Gives a function that makes a bundle of a stack with these settings; the exit code is 0 unless named."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("ws.stack_settings.FOLDER", tmp_path)
    monkeypatch.setattr("preflight.host_facts.outside_addresses", lambda: ("192.168.1.20",))
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
    generated = tmp_path / "state" / "cslr" / "cslr" / "lab" / "generated"
    generated.mkdir(parents=True)
    (generated / "ray-token").write_text("made-before")

    def run(*words: str, settings: Any = None, code: int = 0, **config: Any) -> Any:
        values = config or {"cslr:platform": settings or {}}
        (tmp_path / "Pulumi.lab.yaml").write_text(yaml.safe_dump({"config": values}))
        assert cli.main(["client", "--stack", "lab", "--output", str(tmp_path / "bundle"), *words]) == code
        return tmp_path / "bundle"

    return run


def facts(folder: Any) -> Any:
    return json.loads((folder / "bundle.json").read_text())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.key)
def test_versions_are_those_of_the_images(call, variant):
    folder = call(settings={"images": {"cuda": variant.cuda, "python": variant.python}})
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    locks = locked(*(PROJECT / "images" / "ml" / "locks" / variant.key).glob("*.txt"))
    chosen = versions().packages
    assert project["dependencies"] == [
        f"ray[client,default]=={chosen['ray']}",
        f"mlflow-skinny=={chosen['mlflow']}",
    ]
    assert (locks["ray"], locks["mlflow-skinny"]) == (chosen["ray"], chosen["mlflow"])
    assert (folder / ".python-version").read_text().strip() == variant.python


def test_the_token_is_the_stacks(call):
    assert (call() / "ray-token").read_text() == "made-before"


def test_the_host_is_the_one_that_others_know_or_the_one_named(call, capsys):
    assert facts(call())["host"] == "192.168.1.20"
    assert facts(call("--host", "gpuhost", "--user", "ann"))["host"] == "gpuhost"
    said = capsys.readouterr()
    assert "whoever has it can run programs on the cluster" in said.err
    assert "scp -rp" in said.out


@pytest.mark.parametrize(
    ("words", "bound", "host", "jump"),
    [
        (("--user", "ann"), "127.0.0.1", "127.0.0.1", "ann@gpuhost"),
        ((), "127.0.0.1", "127.0.0.1", "gpuhost"),
        ((), "0.0.0.0", "gpuhost", None),
        ((), "192.168.1.20", "192.168.1.20", None),
        (("--tunnel",), "0.0.0.0", "127.0.0.1", "gpuhost"),
    ],
)
def test_the_way_to_the_devel_container_is_told(call, words, bound, host, jump):
    settings = merged(LOGIN, {"network": {"bind_address": bound}})
    lines = (call("--host", "gpuhost", *words, settings=settings) / "README.md").read_text().splitlines()
    entry = lines[lines.index("Host cslr-lab-devel") :]
    expected = ["HostName " + host, "Port 2222", "User cslr", "HostKeyAlias cslr-lab-devel"]
    expected += [f"ProxyJump {jump}"] if jump else []
    assert [line.strip() for line in entry[1 : 1 + len(expected)]] == expected


def test_without_a_devel_container_nothing_is_said_of_one(call):
    assert "VS Code" not in (call() / "README.md").read_text()


def test_a_name_that_mlflow_refuses_is_told(call, capsys):
    call("--host", "gpuhost", settings={"network": {"bind_address": "0.0.0.0"}})
    assert "ws set network.names '[gpuhost]' -s lab" in capsys.readouterr().err


def test_a_pulled_ray_is_told(call, capsys):
    image = {"source": "pull", "reference": "rayproject/ray:2.60.0-py314-cpu"}
    call(settings={"ray": {"cpu": {"image": image, "torch": False}}})
    assert "The image of ray-cpu is pulled" in capsys.readouterr().err


def test_a_build_of_ray_of_ones_own_is_pinned_and_told(call, capsys):
    wheel = {"wheel": WHEEL, "version": "3.0.0.dev0", "sha256": "0" * 64}
    folder = call(settings={"images": {"ray": wheel}})
    assert facts(folder)["packages"]["ray"] == "3.0.0.dev0"
    assert WHEEL in capsys.readouterr().err


def test_a_stack_that_was_never_deployed_has_no_token_to_give(call, capsys, tmp_path):
    (tmp_path / "state/cslr/cslr/lab/generated/ray-token").unlink()
    assert not call(code=1).exists()
    assert "has no token yet: its first deployment makes that. Run: ws up --stack lab" in capsys.readouterr().err


def test_a_stack_that_only_builds_is_refused(call, capsys):
    call(code=1, **{"cslr:matrix": {}})
    assert "only builds images" in capsys.readouterr().err


def test_a_host_without_ray_and_mlflow_is_refused(call, capsys):
    without = {"enabled": False}
    call(code=1, settings={"mlflow": without, "postgres": without, "ray": {"head_address": "10.0.0.7:6379"}})
    assert "has neither Ray nor MLflow" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [("--host", "-oProxyCommand=x"), ("--host", "a b"), ("--host", ""), ("--user", "$(id)"), ("--user", "-l")]
)
def test_words_that_ssh_or_a_shell_would_take_otherwise_are_refused(call, words):
    assert not call(*words, code=2).exists()


class TestRaysOwnTls:
    ON: ClassVar[dict[str, Any]] = {"ray": {"tls": True}, "network": {"bind_address": "0.0.0.0"}}

    @pytest.fixture
    def authority(self, tmp_path):
        """What the stack's first deployment makes."""
        (tmp_path / "state/cslr/cslr/lab/generated/ray-authority").write_text("made-before-" * 4)

    def test_the_bundle_gets_a_certificate_and_loses_it_without_tls(self, call, authority, capsys):
        folder = call(settings=self.ON)
        assert all((folder / name).is_file() for name in ray_tls.FILES)
        assert "Ray's certificate is not for" not in capsys.readouterr().err
        call(settings={})
        assert not any((folder / name).exists() for name in ray_tls.FILES)

    def test_a_name_that_ray_would_refuse_is_told_with_the_key(self, call, authority, capsys):
        call("--host", "gpuhost", settings=self.ON)
        said = " ".join(capsys.readouterr().err.split())
        assert "Ray's certificate is not for gpuhost" in said
        assert "ws set network.names '[gpuhost]' -s lab" in said

    def test_before_the_first_deployment_there_is_no_authority(self, call, capsys):
        call(settings=self.ON, code=1)
        assert "ws up --stack lab" in capsys.readouterr().err
