"""`python -m verification`: verifies the stack that CSLR_VERIFICATION (or --spec FILE) describes.

Progress, table and logs go to stderr. Stdout gets exactly one JSON document; where CSLR_VERIFICATION_RECORD names a
file, that gets it, and stdout one sentence ("13 of 13 passed"), which becomes a stack output.
Exit code: 0 all passed, 1 a check failed, 2 the call was wrong, 130 or 143 interrupted.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pydantic
from rich.console import Console

from verification.record import Record, place
from verification.report import Report, table
from verification.runner import MARGIN, ClientError, log_tail, verify
from verification.spec import ENVIRONMENT, VerificationSpec

PASSED, FAILED, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130
LOG_WIDTH = 140


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m verification", description=__doc__)
    parser.add_argument("--spec", type=Path, metavar="FILE", help=f"JSON of the expectation (default: ${ENVIRONMENT})")
    parser.add_argument("--quiet", action="store_true", help="show failures only")
    parser.add_argument("--json", action="store_true", help="print only the JSON")
    return parser.parse_args()


def read_spec(path: Path | None) -> VerificationSpec:
    """Reads the expectation. Raises ValueError if it is missing or wrong."""
    source = str(path) if path else ENVIRONMENT
    try:
        text = path.read_text(encoding="utf-8") if path else os.environ[ENVIRONMENT]
        return VerificationSpec.model_validate_json(text)
    except KeyError:
        raise ValueError(f"{ENVIRONMENT} is not set: give the expectation there or with --spec FILE") from None
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror}") from None
    except pydantic.ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc'])) or 'JSON'}: {one['msg']}" for one in error.errors())
        raise ValueError(f"{source} is not a valid expectation: {'; '.join(wrong)}") from None


def show_failures(report: Report, console: Console) -> None:
    """Shows each failed check, its reason and the end of the related log."""
    shown: set[str] = set()
    for check in report.failures:
        console.print(
            f"\n{check.name} failed: {check.detail}", style="bold red", markup=False, highlight=False, soft_wrap=True
        )
        if check.container and check.container not in shown:
            shown.add(check.container)
            console.print(f"Last lines of {check.container}:", highlight=False)
            console.print(log_tail(check.container), markup=False, highlight=False, soft_wrap=True)


def end(number: int, _: FrameType | None) -> NoReturn:
    """Ends on a signal, after all clean-up."""
    sys.exit(128 + number)


def overdue(_: int, __: FrameType | None) -> NoReturn:
    """Ends a run in which Docker itself hangs."""
    raise ClientError("Docker did not answer before the deadline")


def main() -> int:
    """Verifies and reports. Returns the exit code."""
    arguments = parse_arguments()
    # In a log, rich would assume 80 columns.
    console = Console(stderr=True, quiet=arguments.json, width=None if sys.stderr.isatty() else LOG_WIDTH)
    signal.signal(signal.SIGTERM, end)
    try:
        spec = read_spec(arguments.spec)
    except ValueError as error:
        print(error, file=sys.stderr)
        return WRONG_CALL

    def progress(line: str) -> None:
        if not arguments.quiet:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    record = place(os.environ)
    if record:
        Record(spec=spec).write(record)  # an earlier result no longer holds
    signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, spec.deadline + MARGIN)
    try:
        report = verify(spec, progress)
    except KeyboardInterrupt:
        print("verification interrupted; its container is removed", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if not arguments.quiet:
        console.print(table(report))
    show_failures(report, console)
    if record:
        Record(spec=spec, report=report).write(record)
    print(report.in_words if record and not arguments.json else report.model_dump_json())
    return PASSED if report.ok else FAILED


if __name__ == "__main__":
    sys.exit(main())
