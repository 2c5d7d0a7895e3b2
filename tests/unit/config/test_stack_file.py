"""Stack files: read as Pulumi reads them, secrets included, and refused in one sentence where they cannot be."""

import base64
import hashlib
import json
import os

import pytest
import yaml
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from config import encryption
from config.problems import ConfigError
from config.stack_file import StackConfig, stacks
from testing.stack_files import read_stack_config, written

PASSPHRASE = "correct horse"
# Written by Pulumi's own command line with PASSPHRASE.
BY_PULUMI = """\
encryptionsalt: v1:/lwSuxrWZTc=:v1:DRxiVYqU/DnfMJzu:e5kWdW9tPN0bMqJTa4WTVKzKoYH4RQ==
config:
  cslr:rayToken:
    secure: v1:OUfkmfmHTqI7Khpc:O4CxMUMQDNDx4KNsNqhinzknZhI1TtGEfy8t5p2BbGM7unzt
  cslr:platform:
    redis:
      password:
        secure: v1:Bylk7dNKiwIZeA9o:SlmVrBvK/HLtq4tE6s3kz5E6yTA89+w=
      port: 6390
"""
FEW = 10  # rounds of the key derivation, where it is not Pulumi's that counts


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)
    return tmp_path


def read(folder, text: str) -> StackConfig:
    (folder / "Pulumi.test.yaml").write_text(text)
    return read_stack_config(folder, "test")


def refusal(folder, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return str(caught.value)


def encrypted(value: str, passphrase: str = PASSPHRASE) -> tuple[str, str]:
    """Salt and value as Pulumi writes them, with FEW rounds."""
    salt, nonce = os.urandom(8), os.urandom(12)
    key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, FEW, 32)

    def seal(text: str) -> str:
        parts = (nonce, AESGCM(key).encrypt(nonce, text.encode(), None))
        return ":".join(["v1", *(base64.b64encode(part).decode() for part in parts)])

    return f"v1:{base64.b64encode(salt).decode()}:{seal('pulumi')}", seal(value)


class TestPlainValues:
    def test_text_is_kept_and_all_else_is_json(self, folder):
        config = read(folder, "config:\n  cslr:a: text\n  cslr:b: true\n  cslr:c: {d: [1, 2.5]}\n  aws:region: eu\n")
        assert config.values == {
            "cslr:a": "text",
            "cslr:b": "true",
            "cslr:c": '{"d": [1, 2.5]}',
            "aws:region": "eu",
        }
        assert config.secret_keys == frozenset()
        assert (config.project, config.stack) == ("cslr", "test")

    def test_key_without_project_is_the_projects(self, folder):
        assert read(folder, "config:\n  platform: {}\n").values == {"cslr:platform": "{}"}

    def test_date_is_text(self, folder):
        assert read(folder, "config: {cslr:a: {day: 2026-11-22}}\n").values == {"cslr:a": '{"day": "2026-11-22"}'}

    @pytest.mark.parametrize("text", ["config:\n", "config: {}\n", "{}\n", "environment: [x]\n"])
    def test_may_be_none(self, folder, text):
        assert read(folder, text).values == {}

    def test_are_not_shown(self, folder):
        assert "hunter22" not in repr(read(folder, "config: {cslr:a: hunter22}\n"))


class TestSecretValues:
    def test_written_by_pulumi_are_read(self, folder):
        config = read(folder, BY_PULUMI)
        assert config.values["cslr:rayToken"] == "token-of-the-cluster"
        assert json.loads(config.values["cslr:platform"]) == {"redis": {"password": "grüße", "port": 6390}}
        assert config.secret_keys == {"cslr:rayToken", "cslr:platform"}

    def test_passphrase_may_be_in_a_file(self, folder, monkeypatch):
        (folder / "passphrase").write_text(f"{PASSPHRASE}\n")
        monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(folder / "passphrase"))
        assert read(folder, BY_PULUMI).values["cslr:rayToken"] == "token-of-the-cluster"

    def test_missing_file_of_the_passphrase_is_named(self, folder, monkeypatch):
        monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", "/no/such/file")
        assert refusal(folder, BY_PULUMI) == (
            "PULUMI_CONFIG_PASSPHRASE_FILE: /no/such/file cannot be read: No such file or directory."
        )

    @pytest.mark.parametrize("value", ["x", "", "a" * 5000, "grüße", "line\nbreak"])
    def test_may_be_any_text(self, folder, monkeypatch, value):
        monkeypatch.setattr(encryption, "ITERATIONS", FEW)
        salt, text = encrypted(value)
        config = read(folder, f"encryptionsalt: {salt}\nconfig: {{cslr:a: {{secure: {text}}}}}\n")
        assert config.values == {"cslr:a": value}

    def test_in_a_list_are_read(self, folder, monkeypatch):
        monkeypatch.setattr(encryption, "ITERATIONS", FEW)
        salt, text = encrypted("value")
        config = read(folder, f"encryptionsalt: {salt}\nconfig: {{cslr:a: [1, {{secure: {text}}}]}}\n")
        assert config.values == {"cslr:a": '[1, "value"]'}

    @pytest.mark.parametrize("passphrase", ["wrong", ""])
    def test_wrong_passphrase_is_said_with_the_key(self, folder, monkeypatch, passphrase):
        monkeypatch.setattr(encryption, "ITERATIONS", FEW)
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", passphrase)
        salt, text = encrypted("value")
        said = refusal(folder, f"encryptionsalt: {salt}\nconfig: {{cslr:rayToken: {{secure: {text}}}}}\n")
        assert said.startswith("Pulumi.test.yaml: cslr:rayToken: cannot be decrypted with this passphrase.\n")
        assert "PULUMI_CONFIG_PASSPHRASE" in said

    @pytest.mark.parametrize("damaged", ["v1:AAAA", "nonsense", "v1:!!!:???", "v1:AAAAAAAAAAAAAAAA:AAAA", "v1::"])
    def test_damaged_one_is_said_with_the_key(self, folder, monkeypatch, damaged):
        monkeypatch.setattr(encryption, "ITERATIONS", FEW)
        salt, _ = encrypted("value")
        said = refusal(folder, f"encryptionsalt: {salt}\nconfig: {{cslr:rayToken: {{secure: '{damaged}'}}}}\n")
        assert "cslr:rayToken: cannot be decrypted" in said

    @pytest.mark.parametrize("salt", ["", "encryptionsalt: garbage\n", "encryptionsalt: 3\n", "encryptedkey: QUJD\n"])
    def test_of_another_secrets_provider_are_left_to_pulumi(self, folder, salt):
        said = refusal(folder, f"{salt}config: {{cslr:a: {{secure: 'v1:AAAAAAAAAAAAAAAA:AAAA'}}}}\n")
        assert "Pulumi.test.yaml: has encrypted values, but no encryptionsalt" in said
        assert "--engine pulumi" in said

    def test_key_is_derived_once_and_only_if_needed(self, folder, monkeypatch):
        """A second of work."""
        derived = []
        derive = hashlib.pbkdf2_hmac
        monkeypatch.setattr(encryption, "ITERATIONS", FEW)
        salt, text = encrypted("value")
        monkeypatch.setattr(hashlib, "pbkdf2_hmac", lambda *a: derived.append(a) or derive(*a))  # type: ignore[func-returns-value]
        read(folder, f"encryptionsalt: {salt}\nconfig: {{cslr:a: plain}}\n")
        assert derived == []
        secure = f"{{secure: {text}}}"
        read(folder, f"encryptionsalt: {salt}\nconfig: {{cslr:a: {secure}, cslr:b: {secure}}}\n")
        assert len(derived) == 1


class TestRefusal:
    def test_of_an_unknown_stack_names_the_known_ones(self, folder):
        for stack in ("gpu", "dev"):
            (folder / f"Pulumi.{stack}.yaml").write_text("config: {}\n")
        with pytest.raises(ConfigError) as caught:
            read_stack_config(folder, "prod")
        assert str(caught.value) == (
            "Pulumi.prod.yaml: there is no such stack file.\n"
            "  Choose one of dev, gpu, or copy one of them to Pulumi.prod.yaml and edit it."
        )

    @pytest.mark.parametrize(
        ("text", "key"),
        [
            ("config: {}\nconfig: {}\n", "config"),
            ("config:\n  cslr:a: 1\n  cslr:a: 2\n", "cslr:a"),
            ("config: {cslr:a: {b: {c: 1, c: 2}}}\n", "c"),
        ],
    )
    def test_of_a_key_that_is_there_twice(self, folder, text, key):
        said = refusal(folder, text)
        assert said.startswith(f"Pulumi.test.yaml: is not valid YAML: the key {key!r} is there twice in line ")

    def test_of_a_key_that_is_there_with_and_without_its_project(self, folder):
        said = refusal(folder, "config: {cslr:a: 1, a: 2}\n")
        assert said == "Pulumi.test.yaml: cslr:a: is there twice, as a as well. Remove one of them."

    def test_of_a_key_that_a_merge_brings_as_well_there_is_none(self, folder):
        values = read(folder, "config:\n  cslr:a: &a {b: 1, c: 1}\n  cslr:d: {<<: *a, b: 2}\n").values
        assert json.loads(values["cslr:d"]) == {"b": 2, "c": 1}

    @pytest.mark.parametrize(
        "value", ["2024-13-45", "9" * 5000, "{2024-01-01: 1}", "&a {ray: *a}", "[" * 3000], ids=lambda value: value[:12]
    )
    def test_of_what_python_cannot_read(self, folder, value):
        assert refusal(folder, f"config:\n  cslr:a: {value}\n").startswith("Pulumi.test.yaml: ")

    @pytest.mark.parametrize("stack", ["my stack", "élan", "-x", "x" * 101])
    def test_of_a_name_that_no_container_can_have(self, folder, stack):
        (folder / f"Pulumi.{stack}.yaml").write_text("")
        with pytest.raises(ConfigError, match="cannot be a stack's name"):
            read_stack_config(folder, stack)

    @pytest.mark.parametrize("text", ["config: [\n", "a: b: c\n", "\tconfig:\n", "config: {a: 1}}\n"])
    def test_of_invalid_yaml_says_where(self, folder, text):
        said = refusal(folder, text)
        assert said.startswith("Pulumi.test.yaml: is not valid YAML: ")
        assert "line " in said
        assert "\n" not in said

    def test_of_bytes_that_are_no_text(self, folder):
        (folder / "Pulumi.test.yaml").write_bytes(b"config: \xff\xfe\n")
        with pytest.raises(ConfigError, match=r"Pulumi\.test\.yaml: is not valid YAML"):
            read_stack_config(folder, "test")

    def test_of_an_empty_file_there_is_none(self, folder):
        (folder / "Pulumi.test.yaml").write_text("")
        assert read_stack_config(folder, "test").values == {}

    @pytest.mark.parametrize("text", ["[]\n", "3\n", "text\n"])
    def test_of_what_is_no_mapping(self, folder, text):
        assert refusal(folder, text).startswith("Pulumi.test.yaml: must be a mapping;")

    @pytest.mark.parametrize("value", ["[1]", "text", "3"])
    def test_of_config_that_is_no_mapping(self, folder, value):
        assert refusal(folder, f"config: {value}\n").startswith("Pulumi.test.yaml: config: must be a mapping")

    @pytest.mark.parametrize(
        ("key", "remedy"),
        [
            ("conifg", "Did you mean config?"),
            ("encryption-salt", "Did you mean encryptionsalt?"),
            ("platform", "Did you mean config?"),
            ("cslr:platform", "Write it below `config:`, indented by two spaces."),
        ],
    )
    def test_of_a_key_that_pulumi_does_not_know(self, folder, key, remedy):
        assert refusal(folder, f"environment: [lab]\n{key}: {{}}\n") == (
            f"Pulumi.test.yaml: {key}: unknown key.\n  {remedy}"
        )

    def test_of_a_project_without_its_file(self, tmp_path):
        with pytest.raises(ConfigError, match=r"Pulumi\.yaml: cannot be read: No such file"):
            read_stack_config(tmp_path, "dev")


class TestLaidOver:
    """What holds for one run alone, in the config that is read and in the copy that the Pulumi CLI reads."""

    FILE = "config:\n  cslr:matrix: {minimal: true}\n  cslr:rayToken:\n    secure: v1:abc\nencryptionsalt: v1:xyz\n"

    def test_a_value_takes_the_place_of_the_one_in_the_file(self, folder):
        config = read(folder, "config: {cslr:matrix: {minimal: true}, cslr:preflight: false}")
        laid = config.laid_over({"cslr:matrix": {"push": True}})
        assert laid.values == {"cslr:matrix": '{"push": true}', "cslr:preflight": "false"}
        assert config.values["cslr:matrix"] == '{"minimal": true}'

    def test_a_copy_has_it_too_and_keeps_the_rest_as_it_is_encrypted(self, folder):
        copy = folder / "copy.yaml"
        written(self.FILE).write_copy(copy, {"cslr:matrix": {"push": True}})
        content = yaml.safe_load(copy.read_text())
        assert content["config"] == {"cslr:rayToken": {"secure": "v1:abc"}, "cslr:matrix": {"push": True}}
        assert content["encryptionsalt"] == "v1:xyz"

    def test_a_key_without_its_project_is_the_same_key(self, folder):
        copy = folder / "copy.yaml"
        written("config: {matrix: {minimal: true}}").write_copy(copy, {"cslr:matrix": {}})
        assert yaml.safe_load(copy.read_text())["config"] == {"cslr:matrix": {}}

    @pytest.mark.parametrize("text", ["", "config:\n", "config: {}\n"])
    def test_an_empty_file_gets_it(self, folder, text):
        copy = folder / "copy.yaml"
        written(text).write_copy(copy, {"cslr:matrix": {}})
        assert yaml.safe_load(copy.read_text()) == {"config": {"cslr:matrix": {}}}

    def test_without_values_the_copy_is_the_file(self, folder):
        copy = folder / "copy.yaml"
        written("# a comment\nconfig: {}\n").write_copy(copy, {})
        assert copy.read_text() == "# a comment\nconfig: {}\n"

    def test_stacks_are_those_that_have_a_file(self, folder):
        for name in ("b", "a"):
            (folder / f"Pulumi.{name}.yaml").write_text("")
        assert stacks(folder) == ["a", "b"]
