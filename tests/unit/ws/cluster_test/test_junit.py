"""JUnit XML, as CI systems read it."""

import xml.etree.ElementTree as ET

from verification.report import CheckResult, Report
from ws.cluster_test.junit import junit, write

REPORT = Report(
    ok=False,
    started="2026-11-27T20:00:00Z",
    seconds=3.5,
    checks=(
        CheckResult(name="health", result="pass", detail="answers", seconds=0.5),
        CheckResult(name="mlflow", result="fail", detail='answered 500: "<html>" & more', seconds=2.0),
        CheckResult(name="worker", result="skip", detail="not here", seconds=0.0),
    ),
)


def message(element: ET.Element, path: str) -> str | None:
    found = element.find(path)
    assert found is not None
    return found.get("message")


def test_counts_and_reasons_are_in_the_xml(tmp_path):
    write(REPORT, "cslr.dev.cluster-test", tmp_path / "deep" / "report.xml")
    suite = ET.parse(tmp_path / "deep" / "report.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    passed, failed, skipped = suite
    assert passed.findtext("system-out") == "answers"
    assert message(failed, "failure") == 'answered 500: "<html>" & more'
    assert message(skipped, "skipped") == "not here"


def test_characters_that_xml_cannot_have_do_not_break_it():
    odd = REPORT.model_copy(
        update={"checks": (CheckResult(name="x", result="fail", detail="\x1b[31mred\x00", seconds=0),)}
    )
    assert message(ET.fromstring(junit(odd, "s")), "testcase/failure") == "?[31mred?"
