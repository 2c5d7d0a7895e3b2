"""Asks an advisory source about every package of every lock file: ``python -m testing.audit`` (``make audit``).

pip-audit asks; what it may find is in ``audit_ignored.toml``. A package that the source does not know is an error: a
mirror without advisories knows none, and would find nothing.

Exit status: 0 nothing is known, 1 something is, 2 the question got no answer.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from images.lockfile import REQUIREMENT

PROJECT = Path(__file__).parents[1]
LOCKS = ("requirements*.txt", "images/*/requirements.txt", "images/*/model.txt", "images/ml/locks/**/*.txt")
# PyTorch's builds for CPUs have the versions of those for GPUs, and no advisory source knows their names.
SAME_SOURCES = "*-cpu.txt"
IGNORED = Path(__file__).with_name("audit_ignored.toml")
LONGEST = timedelta(days=366)
TIMEOUT = 900  # seconds; a package takes one request

Package = tuple[str, str]  # name and version


class AuditError(Exception):
    """No answer, or an ignore list that cannot be read. The message is one sentence with the remedy."""


class Ignored(BaseModel):
    """An advisory that is let pass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    package: str = Field(min_length=1)
    reason: str = Field(min_length=20)
    until: date  # it counts again on this day


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An advisory about a locked package."""

    name: str
    version: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]
    locks: tuple[str, ...]

    @property
    def text(self) -> str:
        """One line for people."""
        fixed = f"fixed in {', '.join(self.fixed)}" if self.fixed else "not fixed yet"
        return f"{self.name} {self.version}: {', '.join(self.ids)}, {fixed} ({', '.join(self.locks)})"


def main(arguments: list[str] | None = None) -> int:
    """Print what is known about the lock files; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m testing.audit", description="Look for known vulnerabilities.")
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="who is asked; default: %(default)s")
    parser.add_argument("--osv-url", metavar="URL", help="a mirror of OSV's API")
    options = parser.parse_args(arguments)
    source = ["--vulnerability-service", options.service, *(["--osv-url", options.osv_url] if options.osv_url else [])]
    today = datetime.now(UTC).date()
    try:
        ignored = read_ignored(IGNORED, today)
        packages = locked(PROJECT)
        found = findings(ask(packages, source), packages)
    except AuditError as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    counted, unused = decide(found, ignored, today)
    for one in counted:
        print(one.text)
    for entry in unused:
        print(f"{IGNORED.name}: {entry.id} of {entry.package} is not found any more. Remove the entry.")
    print(f"{len(packages)} packages, {len(found)} advisories, {len(found) - len(counted)} of them ignored")
    return 1 if counted else 0


def read_ignored(path: Path, today: date) -> list[Ignored]:
    """Read the ignore list. Raises AuditError for an entry that is wrong or holds for too long."""
    try:
        entries = [Ignored(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("ignored", [])]
    except tomllib.TOMLDecodeError as error:
        raise AuditError(f"{path.name} is no TOML: {error}. Its first lines show an entry.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise AuditError(f"{path.name}: {key}: {first['msg']}. Its first lines show an entry.") from error
    for entry in entries:
        if entry.until > today + LONGEST:
            raise AuditError(f"{path.name}: {entry.id} holds until {entry.until}. Choose a day within a year.")
    return entries


def locked(project: Path) -> dict[Package, tuple[str, ...]]:
    """Each package of the lock files, with the files that hold it."""
    found: dict[Package, list[str]] = defaultdict(list)
    for path in sorted({path for pattern in LOCKS for path in project.glob(pattern)}):
        if not path.match(SAME_SOURCES):
            # Line by line: a package may be there in two versions, for different Pythons.
            pins = filter(None, map(REQUIREMENT.match, path.read_text(encoding="utf-8").splitlines()))
            for package in dict.fromkeys((canonicalize_name(pin["name"]), pin["version"]) for pin in pins):
                found[package].append(str(path.relative_to(project)))
    return {package: tuple(locks) for package, locks in found.items()}


def ask(packages: Iterable[Package], source: Sequence[str]) -> list[dict[str, Any]]:
    """What pip-audit says of each package. Raises AuditError."""
    if find_spec("pip_audit") is None:
        raise AuditError("pip-audit is missing. `make audit` installs it.")
    answers: list[dict[str, Any]] = []
    for some in _one_version_each(packages):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(f"{name}=={version}\n" for name, version in some))
            file.flush()
            command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, "--no-deps", "--disable-pip"]
            command += ["--format=json", "--progress-spinner=off", *source]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
            except subprocess.TimeoutExpired as error:
                raise AuditError(f"no answer within {TIMEOUT} s. Run it again, or choose another --service.") from error
        try:
            answers += json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError, TypeError) as error:
            last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise AuditError(
                f"pip-audit gave no answer: {last[0]}. Check that its source answers, or choose another --service."
            ) from error
    return answers


def _one_version_each(packages: Iterable[Package]) -> list[list[Package]]:
    """Split packages so that no part has two versions of one, which pip-audit refuses."""
    parts: list[dict[str, str]] = []
    for name, version in sorted(packages):
        part = next((part for part in parts if name not in part), None)
        if part is None:
            parts.append(part := {})
        part[name] = version
    return [list(part.items()) for part in parts]


def findings(answers: Iterable[Mapping[str, Any]], packages: Mapping[Package, tuple[str, ...]]) -> list[Finding]:
    """The advisories in the answers. Raises AuditError where a package got none."""
    found = []
    answered = set()
    for answer in answers:
        if "skip_reason" in answer:
            continue
        package = (answer["name"], answer["version"])
        answered.add(package)
        found += [
            Finding(
                name=answer["name"],
                version=answer["version"],
                ids=(advisory["id"], *sorted(advisory["aliases"])),
                fixed=tuple(advisory["fix_versions"]),
                locks=packages.get(package, ()),
            )
            for advisory in answer["vulns"]
        ]
    if silent := sorted(packages.keys() - answered):
        name, version = silent[0]
        raise AuditError(
            f"the advisory source does not know {len(silent)} of {len(packages)} packages, such as {name} {version}. "
            "A mirror of the package index often has no advisories: run this where pypi.org answers itself, or choose "
            "another --service."
        )
    return found


def decide(found: Iterable[Finding], ignored: Iterable[Ignored], today: date) -> tuple[list[Finding], list[Ignored]]:
    """Return the findings that count, and the entries that ignore nothing. An entry ends on its day."""
    counted, used = [], set()
    entries = list(ignored)
    for one in found:
        fitting = {entry for entry in entries if entry.package == one.name and entry.id in one.ids}
        used |= fitting
        if not any(today < entry.until for entry in fitting):
            counted.append(one)
    return counted, [entry for entry in entries if entry not in used]


if __name__ == "__main__":
    sys.exit(main())
