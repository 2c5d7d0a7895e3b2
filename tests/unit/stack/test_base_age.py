"""The age of base images: by label or by Docker, kept for all stacks, and a warning when it is high."""

from datetime import date
from typing import Any

import pytest

from docker_api.api import DockerApi
from images.base.recipe import base_tag
from stack import base_age
from stack.base_age import BaseAge

TODAY = date(2026, 11, 27)


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


class Images(DockerApi):
    """An Engine that has some images."""

    def __init__(self, **found: Any) -> None:
        self._found = found

    def find(self, path: str) -> Any:
        return self._found.get(path.removeprefix("/images/").removesuffix("/json"))


class TestEdition:
    def test_there_is_none_at_first(self):
        assert base_age.edition() == ""

    def test_a_renewal_is_kept_and_counts_once_a_day(self):
        assert base_age.renew(TODAY)
        assert base_age.edition() == "2026-11-27"
        assert not base_age.renew(TODAY)

    @pytest.mark.parametrize("text", ["", "yesterday", "2026-11-27; rm -rf /"])
    def test_what_is_no_day_counts_as_none(self, text, tmp_path):
        base_age.renew(TODAY)
        (tmp_path / "cslr" / base_age.FILE).write_text(text)
        assert base_age.edition() == ""


class TestAge:
    def test_is_that_of_dockers_creation_time(self):
        assert base_age.made({"Created": "2026-10-01T10:00:00.123456789Z", "Config": {}}) == date(2026, 10, 1)

    def test_is_that_of_the_label_where_there_is_one(self):
        labels = {"cslr.base.date": "2026-11-02"}
        found = {"Created": "2026-10-01T10:00:00Z", "Config": {"Labels": labels}}
        assert base_age.made(found) == date(2026, 11, 2)

    def test_is_asked_of_the_bases_of_this_edition_alone(self):
        created = {"Created": "2026-10-01T10:00:00Z", "Config": {"Labels": None}}
        api = Images(**{base_tag("forky", "bootstrap"): created})
        assert [one.made for one in base_age.ages(api, "bootstrap", None)] == [date(2026, 10, 1)]
        base_age.renew(TODAY)
        assert list(base_age.ages(api, "bootstrap", None)) == []


class TestWarning:
    @pytest.mark.parametrize(("made", "warns"), [(date(2026, 10, 28), False), (date(2026, 10, 27), True)])
    def test_comes_after_thirty_days(self, made, warns):
        text = base_age.warning(BaseAge(tag="cslr/base:forky-1", made=made), TODAY)
        assert bool(text) == warns
        assert not warns or ("31 days old" in text and "ws matrix --refresh-bases" in text)
