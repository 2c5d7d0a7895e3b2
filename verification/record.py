"""What is kept of the last verification of a stack, in its folder: what was expected, and what was found."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from stack.state import write_atomically
from verification.report import Report
from verification.spec import VerificationSpec

FILE = "verification.json"  # in the stack's folder
ENVIRONMENT = "CSLR_VERIFICATION_RECORD"  # where the command is told its place


@dataclass(frozen=True, kw_only=True)
class Record:
    """One verification; without a report it is under way, or came to no end."""

    spec: VerificationSpec
    report: Report | None = None

    @classmethod
    def read(cls, path: Path) -> "Record | None":
        """None where none was made, or by another version of this program."""
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
        """Keeps it in place of the last."""
        found = self.report.model_dump(mode="json") if self.report else None
        content = {"spec": self.spec.model_dump(mode="json"), "report": found}
        write_atomically(path, json.dumps(content, indent=1).encode(), 0o600)


def place(environment: Mapping[str, str]) -> Path | None:
    """Where a process with this environment is to keep its record; None: nowhere."""
    path = environment.get(ENVIRONMENT)
    return Path(path) if path else None
