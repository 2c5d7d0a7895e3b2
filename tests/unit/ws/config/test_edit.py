"""Edits of a stack file: only what was asked for changes, whatever way people write their YAML."""

import pytest
import yaml

from testing.harness import PROJECT
from ws.config.edit import with_list, with_value
from ws.errors import WsError

PATH = ("config", "cslr:platform", "images", "packages")
FILES = {
    "empty": "",
    "no value": "config:\n",
    "no settings": "config:\n  cslr:platform:\n",
    "empty mapping": "config:\n  cslr:platform: {}\n",
    "flow": "# mine\nconfig:\n  cslr:platform: {images: {cuda: 13.1.1}}  # end\n",
    "flow with packages": "config: {cslr:platform: {images: {packages: [old], cuda: 13.1.1}}}\n",
    "four spaces": "config:\n    cslr:platform:\n        images:\n            cuda: 13.1.1 # c\n        ray: {x: 2}\n",
    "block list": "config:\n  cslr:platform:\n    images:\n      packages:\n      - old>1  # why\n      - b\n"
    "    # redis\n    redis: {port: 1}\n",
    "no newline": "config:\n  cslr:platform:\n    images:\n      python: '3.14'",
    "secret": "config:\n  cslr:rayToken:\n    secure: v1:abc\nencryptionsalt: v1:xyz\n",
    "dev": (PROJECT / "Pulumi.dev.yaml").read_text(),
    "gpu": (PROJECT / "Pulumi.gpu.yaml").read_text(),
}


@pytest.fixture(params=FILES, ids=str)
def text(request):
    return FILES[request.param]


def values(text: str) -> list[str]:
    images = yaml.safe_load(text)["config"]["cslr:platform"]["images"]
    return list((images or {}).get("packages") or [])


def test_the_list_is_what_was_asked_for(text):
    for wanted in (["a>1,<3", "c"], ["a", "d; python_version < '4'"], ["only"]):
        text = with_list(text, PATH, wanted)
        assert values(text) == wanted


def test_what_was_there_stays_as_it_is(text):
    """Every line that is not of the list; a flow mapping is one line."""
    edited = with_list(text, PATH, ["a", "c"]).splitlines()
    kept = [line for line in text.splitlines() if "{" not in line and "- " not in line]
    assert [line for line in edited if line in kept] == kept


def test_nothing_added_is_nothing_changed(text):
    if "packages" not in text:
        assert with_list(text, PATH, []) == text


def test_removing_the_last_one_removes_the_key(text):
    edited = with_list(with_list(text, PATH, ["a"]), PATH, [])
    assert "packages" not in edited
    assert "# redis" in edited or "# redis" not in text


def test_comments_of_items_that_stay_stay():
    edited = with_list(FILES["block list"], PATH, ["old>1", "new"])
    assert "- old>1  # why\n      - new\n    # redis\n" in edited
    assert "- old>2  # why\n" in with_list(FILES["block list"], PATH, ["old>2"])


def test_what_cannot_be_edited_is_refused_with_the_lines_to_write():
    """A list by an alias would change elsewhere as well."""
    anchored = "config:\n  cslr:platform:\n    images: &x\n      packages: &p [a]\n    ray: {y: *p, z: *x}\n"
    with pytest.raises(WsError, match=r'config.cslr:platform.images.packages: \["a", "b"\]'):
        with_list(anchored, PATH, ["a", "b"])


def test_a_key_below_one_without_a_value_stays_between_its_brackets():
    edited = with_value("users: {ann: {port: 9000}, ben: }   # ours\n", ("users", "ben", "port"), 8081)
    assert edited == "users: {ann: {port: 9000}, ben: {port: 8081} }   # ours\n"


@pytest.mark.parametrize("text", ["08", "1e3", "12345e7"])
def test_text_that_others_read_as_a_number_is_written_in_quotes(text):
    assert with_value("a: b\n", ("a",), text) == f"a: '{text}'\n"
