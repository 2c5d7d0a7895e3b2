"""A base image that is made anew: with its day as a label, and only once."""

from typing import Any

import docker.errors
import pytest

from images import renewed_base
from images.base import bootstrap

TAG = "cslr/base:forky-0123456789ab"


class Client:
    """An Engine with some images, and what it was asked to do."""

    def __init__(self, *there: str) -> None:
        self.there = set(there)
        self.asked: list[str] = []

    def inspect_image(self, tag: str) -> dict[str, Any]:
        if tag not in self.there:
            raise docker.errors.ImageNotFound(tag)
        return {}

    def pull(self, repository: str, tag: str, **_: Any) -> None:
        self.asked.append(f"pull {repository}:{tag}")

    def build(self, *, fileobj: Any, tag: str, **_: Any) -> list[dict[str, str]]:
        self.asked.append(f"build {tag}: {fileobj.read().decode()}")
        return [{"stream": "Step 1/2"}]

    def remove_image(self, tag: str, **_: Any) -> None:
        self.asked.append(f"remove {tag}")


@pytest.fixture
def renew(monkeypatch):
    """Makes the base of a source on an Engine with the images `there`; returns what was asked of it."""

    def run(source: str, *there: str) -> list[str]:
        client = Client(*there)
        monkeypatch.setattr("docker.APIClient", lambda **_: client)
        monkeypatch.setattr(bootstrap, "make_base", lambda _suite, _source, tag, *_: client.asked.append(f"make {tag}"))
        words = ["--edition", "2026-11-27", "--suite", "forky", "--source", source, "--tag", TAG]
        assert renewed_base.main(words) == 0
        return client.asked

    return run


def test_one_of_debootstrap_gets_its_day_as_a_label_and_its_tag_last(renew):
    draft = f"{TAG}-draft"
    labelled = f'build {TAG}: FROM {draft}\nLABEL cslr.base.date="2026-11-27"\n'
    assert renew("bootstrap") == [f"make {draft}", labelled, f"remove {draft}"]


def test_one_of_a_registry_is_pulled_again_first(renew):
    assert renew("registry")[0] == "pull debian:forky-slim"


def test_one_that_is_here_is_left_alone(renew):
    assert renew("bootstrap", TAG) == []
