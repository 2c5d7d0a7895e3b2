"""A report as JUnit XML, which CI systems show."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from verification.report import Report

NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # such as the colours of a log


def junit(report: Report, suite: str) -> str:
    """The XML: a test case for each check."""
    counts = {result: str(sum(one.result == result for one in report.checks)) for result in ("fail", "skip")}
    root = ET.Element(
        "testsuite",
        name=suite,
        tests=str(len(report.checks)),
        failures=counts["fail"],
        errors="0",
        skipped=counts["skip"],
        time=f"{report.seconds:.2f}",
        timestamp=report.started.removesuffix("Z"),
    )
    for check in report.checks:
        detail = NO_XML.sub("?", check.detail)
        case = ET.SubElement(root, "testcase", classname=suite, name=check.name, time=f"{check.seconds:.2f}")
        if check.result == "fail":
            ET.SubElement(case, "failure", message=detail)
        elif check.result == "skip":
            ET.SubElement(case, "skipped", message=detail)
        else:
            ET.SubElement(case, "system-out").text = detail
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def write(report: Report, suite: str, path: Path) -> None:
    """Writes it, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(junit(report, suite), encoding="utf-8")
