"""docs/health.md explains every reason code, and no other."""

import re

from contracts.status import SCHEMA_VERSION, Reason
from docs.tooling.links import ROOT

TEXT = (ROOT / "docs" / "health.md").read_text(encoding="utf-8")


def test_every_reason_has_a_row():
    table = TEXT.partition("| Reason |")[2].splitlines()[2:]
    explained = [code for row in table for code in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(explained) == sorted(reason.value for reason in Reason)


def test_the_version_is_the_schema_s():
    assert f"`schema_version` is {SCHEMA_VERSION}." in TEXT
