"""`ws set`, `unset`, `get`: one key changes, and only to what can be deployed; secrets are encrypted as Pulumi does."""

import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import encryption
from config.keys import SECRETS, WEBHOOKS
from config.load import load
from config.platform import PlatformSettings
from config.problems import SettingsError
from testing.stack_files import read_stack_config
from ws import cli, stack_settings
from ws.config import editing
from ws.config.keys import OWN_KEYS, Key
from ws.config.values import readings
from ws.errors import WsError

FILE = """\
# mine
config:
  cslr:platform:
    redis: {port: 6381}   # beside Ray's
    marimo:
      # where we write
      notebooks: /home/me/notebooks
      volumes:
      - {source: /srv, target: /srv}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The stack file of a project of its own."""
    for module in (editing, stack_settings):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "correct horse")
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    monkeypatch.setattr(encryption, "ITERATIONS", 10)
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\nruntime: python\n")
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(FILE)
    return file


def platform(file: Path) -> Any:
    return yaml.safe_load(file.read_text())["config"]["cslr:platform"]


class TestKeys:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("redis.port", "cslr:platform.redis.port"),
            ("cslr:platform.redis.port", "cslr:platform.redis.port"),
            ("platform.redis.port", "cslr:platform.redis.port"),
            ("marimo.volumes[0].source", "cslr:platform.marimo.volumes[0].source"),
            ('redis.env["my var"]', 'cslr:platform.redis.env["my var"]'),
            ("rayToken", "cslr:rayToken"),
            ("cluster", "cslr:cluster"),
            ("matrix.cuda", "cslr:matrix.cuda"),
            ("docker:host", "docker:host"),
        ],
    )
    def test_are_what_errors_show_or_shorter(self, text, shown):
        assert Key.parse(text).shown == shown
        assert Key.parse(Key.parse(text).short) == Key.parse(text)

    @pytest.mark.parametrize(
        "text",
        ["", ".", "a..b", "[0]", "a b", "redis[", "redis.port=1", "-x", "é.ü", "a" * 9 + "[", r'redis.env["\q"]'],
    )
    def test_that_are_none_are_refused(self, text):
        with pytest.raises(WsError, match="is not a key"):
            Key.parse(text)

    def test_of_the_platform_and_of_the_stack_have_different_names(self):
        assert not set(PlatformSettings.model_fields) & {*OWN_KEYS, "platform"}

    @pytest.mark.parametrize("key", [*SECRETS, *WEBHOOKS, "cslr:clusterKey"])
    def test_that_are_secrets_are_known(self, key):
        assert Key.parse(key).is_secret


@pytest.mark.parametrize(
    ("key", "text", "meant"),
    [
        ("redis.port", "6390", 6390),
        ("redis.memory", "1g", "1g"),
        ("redis.cpus", "1.5", 1.5),
        ("images.python", "3.14", "3.14"),
        ("redis.user", "1000:59", "1000:59"),
        ("redis.user", "010", "010"),
        ("marimo.enabled", "no", "no"),
        ("marimo.enabled", "false", False),
        ("ray.head_whitelist", "[ray-cpu]", ["ray-cpu"]),
        ("redis.env.X", "'true'", "true"),
        ("redis.data", "2026-01-01", "2026-01-01"),
        ("redis.data", "", ""),
    ],
)
def test_a_value_is_what_people_mean(key, text, meant):
    assert readings(Key.parse(key), text)[0] == meant


class TestSet:
    def test_changes_its_key_and_no_other_character(self, file, capsys):
        assert cli.main(["set", "redis.port", "6390", "-s", "dev"]) == 0
        assert file.read_text() == FILE.replace("6381", "6390")
        assert "redis.port: 6381 → 6390" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("key", "value", "path", "found"),
        [
            ("redis.memory", "1g", ("redis", "memory"), "1g"),
            ("ray.cpu.cpus", "3", ("ray", "cpu", "cpus"), 3),
            ("mlflow.env.LOG", "true", ("mlflow", "env", "LOG"), "true"),
            ("marimo.volumes[0].target", "/data", ("marimo", "volumes", 0, "target"), "/data"),
            ("marimo.volumes[1]", "{source: a, target: /a}", ("marimo", "volumes", 1), {"source": "a", "target": "/a"}),
            ("ray.head_whitelist", '["ray-cpu"]', ("ray", "head_whitelist"), ["ray-cpu"]),
            ("images.python", "3.14", ("images", "python"), "3.14"),
        ],
    )
    def test_finds_or_makes_the_place(self, file, key, value, path, found):
        assert cli.main(["set", key, value, "-s", "dev"]) == 0
        at = platform(file)
        for step in path:
            at = at[step]
        assert at == found
        assert "# where we write" in file.read_text()

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["redis.port", "5000"], "5000 is already mlflow.port"),
            (["redis.port", "lots"], "must be a whole number"),
            (["redis.memroy", "1g"], "Did you mean memory?"),
            (["redis", "1"], "holds other keys"),
            (["images.cuda", "12.0"], "12.0"),
            (["marimo.volumes[7].target", "/x"], "there is no entry 7"),
            (["redis.port.x", "1"], "not a mapping"),
            (["ray.head_whitelist", "[ray-cpu"], "begins like a list"),
            (["redis.port"], "has no value"),
            (["redis.port", "1", "redis.port", "2"], "twice"),
            (["marimo.volumes[0].source", "/var/run/docker.sock"], "the Docker socket"),
        ],
    )
    def test_what_cannot_be_deployed_is_refused_and_nothing_written(self, file, words, reason, capsys):
        assert cli.main(["set", *words, "-s", "dev"]) == 1
        said = capsys.readouterr().err
        assert reason in said
        assert "ws unset" not in said
        assert file.read_text() == FILE

    def test_several_that_are_good_only_together(self, file):
        assert cli.main(["set", "images.cuda", "12.8.1", "-s", "dev"]) == 0
        assert cli.main(["set", "images.cuda", "13.1.1", "images.python", "3.13", "-s", "dev"]) == 1
        assert cli.main(["set", "images.cuda", "12.8.1", "images.python", "3.13", "-s", "dev"]) == 0

    def test_mends_one_mistake_of_several_and_says_what_is_left(self, file, capsys):
        file.write_text(FILE.replace("6381", "99999").replace("notebooks:", "notbooks:"))
        assert cli.main(["set", "redis.port", "6390", "-s", "dev"]) == 0
        assert "notbooks" in capsys.readouterr().err
        assert cli.main(["unset", "marimo.notbooks", "-s", "dev"]) == 0
        load(platform(file), stack_file=file.name)

    def test_keeps_ends_of_lines_rights_and_links(self, file):
        real = file.with_name("elsewhere.yaml")
        real.write_bytes(FILE.replace("\n", "\r\n").encode())
        real.chmod(0o640)
        file.unlink()
        file.symlink_to(real.name)
        assert cli.main(["set", "redis.port", "6390", "-s", "dev"]) == 0
        assert file.is_symlink()
        assert real.read_bytes() == FILE.replace("6381", "6390").replace("\n", "\r\n").encode()
        assert real.stat().st_mode & 0o777 == 0o640


class TestEveryRemedy:
    """The remedy in an error works: the test runs its own words."""

    @pytest.mark.parametrize(
        "raw",
        [
            {"redis": {"port": 5000}},
            {"redis": {"memory": "1m"}},
            {"images": {"python": "3.13"}},
            {"ray": {"gpu": {"enabled": True}}},
            {"marimo": {"volumes": [{"source": "/srv", "target": "/proc"}]}},
            {"ray": {"head_whitelist": ["ray-gpu"]}},
            {"redis": {"data": "x"}, "postgres": {"data": "x"}},
            {"marimo": {"env": {"CSLR_X": "1"}}},
            {"redis": {"image": {"source": "pull"}}},
            {"marimo": {"notbooks": "/x"}},
        ],
    )
    def test_is_a_command_that_mends_it(self, file, raw):
        import shlex

        file.write_text(yaml.safe_dump({"config": {"cslr:platform": raw}}))
        with pytest.raises(SettingsError) as caught:
            load(raw, stack_file=file.name)
        commands = [line.strip() for line in str(caught.value).splitlines() if line.startswith("    ws ")]
        assert commands
        for command in commands:
            file.write_text(yaml.safe_dump({"config": {"cslr:platform": raw}}))
            assert cli.main(shlex.split(command)[1:]) == 0, command
            load(platform(file), stack_file=file.name)


class TestUnset:
    def test_removes_the_key(self, file):
        assert cli.main(["unset", "marimo.notebooks", "marimo.volumes[0]", "-s", "dev"]) == 0
        assert platform(file) == {"redis": {"port": 6381}, "marimo": {"volumes": []}}

    def test_of_what_is_not_set_says_what_applies(self, file, capsys):
        assert cli.main(["unset", "redis.cpus", "-s", "dev"]) == 1
        assert "is not set, so its default applies: 0.5" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("key", "written", "said"),
        [
            (
                "ray.cpu.image",
                {"source": "pull", "reference": "ray:1"},
                "{source: pull, reference: 'ray:1'} → {source: build, size_limit: 5g} (default)",
            ),
            ("ray.cpu.torch", False, "false → true (default)"),
            ("ray.head_whitelist", ["ray-cpu"], "[ray-cpu] → [ray-cpu, ray-gpu] (default)"),
            ("metrics.retention", {"days": 3}, "{days: 3} → {days: 15, size: 5g} (default)"),
        ],
    )
    def test_says_the_default_as_a_stack_file_has_it(self, file, key, written, said, capsys):
        holder, _, last = key.rpartition(".")
        node: dict[str, Any] = {last: written}
        for step in reversed(holder.split(".")):
            node = {step: node}
        file.write_text(yaml.safe_dump({"config": {"cslr:platform": node}}, sort_keys=False))
        assert cli.main(["unset", key, "-s", "dev"]) == 0
        assert f"cslr:platform.{key}: {said}\n" in capsys.readouterr().out


class TestGet:
    @pytest.mark.parametrize(
        ("key", "said"),
        [("redis.port", "6381"), ("redis.cpus", "0.5 (default)"), ("postgres.port", "not set (default)")],
    )
    def test_says_what_holds(self, file, key, said, capsys):
        assert cli.main(["get", key, "-s", "dev"]) == 0
        assert capsys.readouterr().out.strip() == said

    @pytest.mark.parametrize("key", ["redis.nothing", "services", "copy", "redis.host_ports"])
    def test_of_no_key_is_an_error(self, file, key, capsys):
        """Also of what settings can do besides."""
        assert cli.main(["get", key, "-s", "dev"]) == 1
        assert "unknown key" in capsys.readouterr().err


class TestSecret:
    @pytest.fixture
    def typed(self, monkeypatch):
        def prepare(text):
            monkeypatch.setattr("sys.stdin", io.StringIO(text))

        return prepare

    def test_is_encrypted_in_the_stack_file(self, file, typed, capsys):
        typed("hunter2hunter2\n")
        assert cli.main(["set", "rayToken", "-s", "dev"]) == 0
        assert "hunter2" not in file.read_text() + capsys.readouterr().out
        assert read_stack_config(file.parent, "dev").values["cslr:rayToken"] == "hunter2hunter2"
        typed("another-one-of-them")
        assert cli.main(["set", "cslr:rayToken", "-s", "dev"]) == 0
        assert read_stack_config(file.parent, "dev").values["cslr:rayToken"] == "another-one-of-them"
        assert cli.main(["get", "-s", "dev"]) == 0
        assert '"[secret]"' in capsys.readouterr().out
        assert cli.main(["unset", "rayToken", "-s", "dev"]) == 0

    def test_of_a_variable_is_kept_beside_others(self, file, typed, capsys):
        for name in ("HF_TOKEN", "WANDB_API_KEY"):
            typed(f"value-of-{name}")
            assert cli.main(["set", f"envSecrets.{name}", "-s", "dev"]) == 0
        assert cli.main(["set", "ray.env_secrets", '["HF_TOKEN"]', "-s", "dev"]) == 0
        kept = json.loads(read_stack_config(file.parent, "dev").values["cslr:envSecrets"])
        assert kept == {"HF_TOKEN": "value-of-HF_TOKEN", "WANDB_API_KEY": "value-of-WANDB_API_KEY"}
        assert cli.main(["get", "envSecrets.HF_TOKEN", "-s", "dev"]) == 0
        assert cli.main(["get", "-s", "dev"]) == 0
        assert "value-of" not in capsys.readouterr().out + file.read_text()

    def test_in_plain_is_not_shown_and_is_encrypted_by_setting_it(self, file, typed, capsys):
        file.write_text(f"{FILE}  cslr:rayToken: hunter2hunter2\n")
        assert cli.main(["get", "-s", "dev"]) == 0
        assert "hunter2" not in capsys.readouterr().out
        typed("hunter3hunter3")
        assert cli.main(["set", "rayToken", "-s", "dev"]) == 0
        assert "hunter" not in file.read_text()

    @pytest.mark.parametrize("text", ["", "short", "with space in it", "ümlaut-umlaut", "x" * 20_000])
    def test_that_no_service_could_use_is_refused(self, file, typed, text):
        typed(text)
        assert cli.main(["set", "rayToken", "-s", "dev"]) == 1
        assert file.read_text() == FILE

    def test_in_the_command_line_is_refused(self, file, capsys):
        assert cli.main(["set", "rayToken", "hunter2hunter2", "-s", "dev"]) == 1
        assert "history" in capsys.readouterr().err

    def test_with_another_passphrase_is_refused(self, file, typed, monkeypatch, capsys):
        typed("hunter2hunter2\n")
        assert cli.main(["set", "rayToken", "-s", "dev"]) == 0
        before = file.read_text()
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "wrong")
        typed("hunter3hunter3\n")
        assert cli.main(["set", "rayToken", "-s", "dev"]) == 1
        assert "another passphrase" in capsys.readouterr().err
        assert file.read_text() == before

    @pytest.mark.parametrize("salt", ["v1:a:b", "v1:", "v1:é:v1:b:c"])
    def test_beside_a_salt_that_was_mangled_is_refused(self, file, typed, salt, capsys):
        file.write_text(f"encryptionsalt: {salt!r}\n{FILE}")
        typed("hunter2hunter2\n")
        assert cli.main(["set", "rayToken", "-s", "dev"]) == 1
        assert "another passphrase" in capsys.readouterr().err

    @pytest.mark.pulumi
    def test_is_one_for_the_genuine_cli(self, file, typed, monkeypatch):
        if not shutil.which("pulumi"):
            pytest.skip("needs the genuine pulumi CLI")
        monkeypatch.setattr(encryption, "ITERATIONS", 1_000_000)
        typed("hunter2hunter2\n")
        assert cli.main(["set", "rayToken", "-s", "dev"]) == 0
        for arguments in (["stack", "init", "dev"], ["config", "get", "cslr:rayToken", "-s", "dev"]):
            done = subprocess.run(
                ["pulumi", *arguments, "--non-interactive"],
                cwd=file.parent,
                env=os.environ,
                capture_output=True,
                text=True,
            )
        assert done.stdout.strip() == "hunter2hunter2", done.stderr
