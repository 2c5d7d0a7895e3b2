"""Mistakes of people new to stack files: each gives one message that they can act on, and never a traceback."""

import shlex

import pytest
import yaml

from config.load import config_value, load
from config.problems import ConfigError, SettingsError
from testing.stack_files import read_stack_config

FILE = """\
config:
  cslr:platform:
    network: {name: mine}
    redis: {port: 27381}
    ray: {cpu: {memory: 4g}}
"""


@pytest.fixture
def said(tmp_path):
    """What is said of an edit of the file; empty if nothing."""

    def of(text: str | bytes) -> str:
        (tmp_path / "Pulumi.yaml").write_text("name: cslr\n")
        (tmp_path / "Pulumi.dev.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            config = read_stack_config(tmp_path, "dev")
            load(config_value(config.values.get("cslr:platform")), stack_file="Pulumi.dev.yaml")
        except (ConfigError, SettingsError) as error:
            return str(error)
        return ""

    return of


def edited(old: str, new: str) -> str:
    assert old in FILE
    return FILE.replace(old, new)


REDIS = "{port: 27381}"
MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "a tab": (edited("    redis", "\tredis"), "there is a tab in line 4, column 1: indent with spaces"),
    "no space behind a colon": (edited("port: 2", "port:2"), "Write a space behind the colon (`port: 27381`)"),
    "a merge that was left": (
        edited("    redis", "<<<<<<< HEAD\n    redis"),
        "a merge that was not ended is left in it",
    ),
    "two documents": (f"{FILE}---\n{FILE}", "remove the line `---`"),
    "a tag": (edited("27381", "!!python/object/apply:os.system [id]"), "the tag in line 4, column 19 is not taken"),
    "another encoding": (FILE.replace("mine", "h\xe4st").encode("latin-1"), "it is not text in UTF-8"),
    "UTF-16": (FILE.encode("utf-16"), "it is not text in UTF-8"),
    "a NUL": (FILE.encode() + b"\0", "control characters are not allowed"),
    "a brace": (edited("27381}", "27381"), "did not find expected ',' or '}'"),
    "a line out of step": (edited("    ray", "   ray"), "line 5"),
    "a value as a list": (edited(REDIS, "[port, 27381]"), "must be a mapping"),
    "an image as text": (edited(REDIS, "{image: 'redis:8'}"), """'{"source": "pull", "reference": "redis:8"}'"""),
    "a volume as Docker's": (
        edited(REDIS, "{volumes: ['/srv/x:/x:ro']}"),
        """'{"source": "/srv/x", "target": "/x", "read_only": true}'""",
    ),
    "a list as text": (edited("{cpu", "{head_whitelist: ray-cpu, cpu"), """'["ray-cpu"]'"""),
    "several as text": (edited("{cpu", "{head_whitelist: 'ray-cpu, ray-gpu', cpu"), """'["ray-cpu", "ray-gpu"]'"""),
    "a NUL in env": (edited(REDIS, '{env: {X: "a\\0b"}}'), "NUL"),
    "a target that hides programs": (edited(REDIS, "{volumes: [{source: x, target: /usr/bin}]}"), "the image itself"),
    "a target that hides all of /etc": (edited(REDIS, "{volumes: [{source: x, target: /etc}]}"), "the image itself"),
    "a target that hides libraries": (edited(REDIS, "{volumes: [{source: x, target: /lib/x}]}"), "the image itself"),
    "a file of /etc as data": (edited("{cpu", "{scratch: /etc/hostname, cpu"), "is this host's own configuration.\n"),
    "a number as a key": (edited(REDIS, "{8080: 1}"), "unknown key"),
    "units in words": (edited("4g", "4 gigs"), "must be a quantity in Docker's notation"),
    "config left out": (FILE.replace("config:\n", ""), "Write it below `config:`"),
    "an anchor in itself": (edited(REDIS, "&a {x: *a}"), "holds its own alias"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_is_one_message_to_act_on(said, mistake):
    text, expected = MISTAKES[mistake]
    found = said(text)
    assert found.startswith("Pulumi.dev.yaml: ")
    assert expected in found
    assert len(found.splitlines()) <= 6


@pytest.mark.parametrize("text", [FILE, FILE.replace("\n", "\r\n"), f"\ufeff{FILE}", "", "config:\n", "config: {}\n"])
def test_what_is_right_passes(said, text):
    assert said(text) == ""


@pytest.mark.parametrize("target", ["/etc/localtime", "/usr/share/fonts/mine", "/usr/local/share/x", "/home/cslr2"])
def test_a_target_beside_what_the_image_needs_passes(said, target):
    assert said(edited(REDIS, f"{{volumes: [{{source: x, target: {target}}}]}}")) == ""


@pytest.mark.parametrize(
    "mistake", ["an image as text", "a volume as Docker's", "a list as text", "several as text", "a NUL in env"]
)
def test_what_is_proposed_is_right(said, mistake):
    """The command's own words, put into the file."""
    from ws.config.edit import with_value, without
    from ws.config.keys import Key
    from ws.config.values import readings

    text, _ = MISTAKES[mistake]
    assert isinstance(text, str)
    command = next(line for line in said(text).splitlines() if line.startswith("    ws "))
    _, verb, name, *words = shlex.split(command)
    key = Key.parse(name)
    path = ("config", key.full, *key.below)
    fixed = with_value(text, path, readings(key, words[0])[0]) if verb == "set" else without(text, path)
    assert yaml.safe_load(fixed) != yaml.safe_load(text)
    assert said(fixed) == ""
