"""Stack files without secrets."""

import pytest
import yaml

from config.keys import SECRET_TEXTS
from config.masking import MASK, comparable, masked
from testing.stack_files import written

ENCRYPTED = "encryptionsalt: v1:salt:known\nconfig:\n  cslr:rayToken:\n    secure: v1:nonce:text # a comment\n"


def test_a_file_without_plain_secrets_is_kept_to_the_letter():
    for text in (ENCRYPTED, "", "config:\n", "# nothing\nconfig:\n  cslr:platform: {redis: {memory: 1g}}\r\n"):
        assert masked(written(text)) == (text, ())


def test_plain_secrets_are_taken_out_and_named():
    text = (
        "config:\n  redisPassword: hunter2 # was hunter1\n  cslr:platform: {redis: {memory: 1g}}\n"
        "  cslr:envSecrets: {HF_TOKEN: hunter3, OTHER: {secure: v1:a:b}}\n  cslr:slackWebhook: https://hunter4\n"
        "  docker:registryAuth: [{address: x, password: hunter5}]\n"
    )
    kept, keys = masked(written(text))
    assert "hunter" not in kept
    assert keys == ("redisPassword", "cslr:envSecrets", "cslr:slackWebhook", "docker:registryAuth")
    assert yaml.safe_load(kept)["config"]["cslr:platform"] == {"redis": {"memory": "1g"}}
    assert yaml.safe_load(kept)["config"]["redisPassword"] == MASK


@pytest.mark.parametrize("key", SECRET_TEXTS)
def test_no_secret_of_this_project_is_kept_in_plain_text(key):
    kept, keys = masked(written(f"config:\n  {key}: hunter2\n"))
    assert "hunter2" not in kept
    assert keys == (key,)


def test_variables_that_are_all_encrypted_are_kept():
    text = "config:\n  cslr:envSecrets: {HF_TOKEN: {secure: v1:a:b}}\n"
    assert masked(written(text)) == (text, ())


def test_encrypted_values_are_compared_by_what_they_are_not_by_what_they_hold():
    one, other = comparable({"a": {"secure": "v1:n:AAAAAAAAAA"}}), comparable({"a": {"secure": "v1:n:BBBBBBBBBB"}})
    assert one != other
    assert one["a"].startswith(MASK)
    assert comparable({"x": [{"secure": "v1:n:AAAAAAAAAA"}]}) == {"x": [one["a"]]}
