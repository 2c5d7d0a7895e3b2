"""Code that several test modules share is in testing/."""

import re

from testing.harness import PROJECT

IMPORT = re.compile(r"^(?:from|import) tests\.(?:\w+\.)*(?:test_\w+|conftest)\b.*", re.MULTILINE)


def test_no_test_module_and_no_rig_imports_a_test_module():
    files = [path for folder in ("tests", "testing", "bench") for path in (PROJECT / folder).rglob("*.py")]
    found = {str(path.relative_to(PROJECT)): IMPORT.findall(path.read_text()) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}
