"""The record of a stack's last verification, in its state folder: specification and report."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from contracts.facts import VERIFICATION, VerificationFact
from stack import facts
from stack.state import write_atomically
from verification.report import Report
from verification.spec import VerificationSpec

FILE = "verification.json"  # in the stack's folder
ENVIRONMENT = "CSLR_VERIFICATION_RECORD"  # names the record's path


@dataclass(frozen=True, kw_only=True)
class Record:
    """One verification; without a report it is in progress or was interrupted."""

    spec: VerificationSpec
    report: Report | None = None

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """Return the record; None if there is none or another version of this program wrote it."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            report = found.get("report")
            return cls(
                spec=VerificationSpec.model_validate_json(json.dumps(found["spec"])),
                report=Report.model_validate(report) if report else None,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError):
            return None

    def write(self, path: Path) -> None:
        """Replaces the previous record."""
        found = self.report.model_dump(mode="json") if self.report else None
        content = {"spec": self.spec.model_dump(mode="json"), "report": found}
        write_atomically(path, json.dumps(content, indent=1).encode(), 0o600)
        if self.report:
            _tell(path.parent, self.report)


def _tell(folder: Path, report: Report) -> None:
    """Lets the health service know the result, without the specification, which only the stack's owner may read."""
    results = [check.result for check in report.checks]
    found = VerificationFact(time=time.time(), passed=results.count("pass"), failed=results.count("fail"))
    facts.write(folder, VERIFICATION, found)


def place(environment: Mapping[str, str]) -> Path | None:
    """The path at which a process with this environment must write its record; None: nowhere."""
    path = environment.get(ENVIRONMENT)
    return Path(path) if path else None
