"""`ws postgres upgrade`: what is refused while the former version serves."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from config.problems import SettingsError
from testing.stack_files import configured
from ws.postgres.upgrade import Upgrade

TEXT = """\
config:
  cslr:platform:
    images: {registry: registry.test/lab, signers: keys/that-are-not-here}
    postgres: {image: {source: pull, reference: "registry.test/lab/postgres:18"}}
"""


def test_an_image_without_a_signature_is_neither_pulled_nor_is_postgres_stopped_for_it():
    session = SimpleNamespace(stack=configured(TEXT), run=lambda *_: pytest.fail("something was pulled"))
    upgrade = Upgrade(
        session=cast(Any, session), client=cast(Any, None), container=cast(Any, None), major=17, size=0, free=0
    )
    with pytest.raises(SettingsError, match=r"images\.signers: there is no file"):
        upgrade.make_images(cast(Any, None), cast(Any, None))
