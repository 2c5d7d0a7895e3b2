"""The files of an earlier deployment, with the secrets of now where it kept none."""

import pytest
import yaml

from config.masking import masked
from stack.history import Record
from testing.stack_files import written
from ws.errors import WsError
from ws.history.restoring import restored_texts


def record(text: str) -> Record:
    kept, keys = masked(written(text))
    return Record.model_validate(
        {
            "number": 3, "operation": "up", "engine": "embedded", "who": "anna", "started": 1.0, "version": "0.2.0",
            "files": {"Pulumi.dev.yaml": kept}, "masked": keys,
        }
    )  # fmt: skip


def test_a_file_without_plain_secrets_comes_back_to_the_letter():
    text = "config:\n  # why\n  cslr:platform: {redis: {memory: 1g}} # so\n"
    assert restored_texts(written("config: {}\n"), record(text)) == {"Pulumi.dev.yaml": text}


def test_a_plain_secret_is_that_of_now():
    then = record("config:\n  cslr:redisPassword: old\n  cslr:platform: {redis: {memory: 1g}}\n")
    (text,) = restored_texts(written("config:\n  cslr:redisPassword: new\n"), then).values()
    assert yaml.safe_load(text)["config"] == {"cslr:redisPassword": "new", "cslr:platform": {"redis": {"memory": "1g"}}}


def test_one_that_was_encrypted_since_brings_its_salt():
    now = "encryptionsalt: v1:salt\nconfig:\n  cslr:redisPassword: {secure: v1:a:b}\n"
    (text,) = restored_texts(written(now), record("config:\n  cslr:redisPassword: old\n")).values()
    assert yaml.safe_load(text) == yaml.safe_load(now)


def test_two_salts_do_not_go_into_one_file():
    now = "encryptionsalt: v1:two\nconfig:\n  cslr:redisPassword: {secure: v1:a:b}\n"
    then = "encryptionsalt: v1:one\nconfig:\n  cslr:redisPassword: old\n  cslr:rayToken: {secure: v1:c:d}\n"
    with pytest.raises(WsError, match="another encryptionsalt"):
        restored_texts(written(now), record(then))


def test_a_plain_secret_that_is_gone_is_asked_for():
    with pytest.raises(WsError, match="ws set redisPassword -s dev"):
        restored_texts(written("config: {}\n"), record("config:\n  cslr:redisPassword: old\n"))


def test_a_record_without_files_is_refused():
    empty = record("config: {}\n").model_copy(update={"files": {}})
    with pytest.raises(WsError, match="too large"):
        restored_texts(written("config: {}\n"), empty)


def test_a_file_that_is_refused_today_is_named():
    then = record("config: {}\n").model_copy(update={"files": {"Pulumi.dev.yaml": "config:\n  cslr:mode: 010\n"}})
    with pytest.raises(WsError, match=r"Pulumi\.dev\.yaml as number 3 of the history has it cannot be used: .*010"):
        restored_texts(written("config: {}\n"), then)
