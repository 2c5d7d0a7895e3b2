"""Known vulnerabilities of locked packages: all are asked about, and what is let pass has a reason and a last day."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from testing import audit
from testing.audit import AuditError, Finding, Ignored
from testing.harness import PROJECT

TODAY = date(2026, 11, 29)
FOUND = Finding(name="jinja2", version="3.1.2", ids=("PYSEC-2026-1", "CVE-2026-2"), fixed=("3.1.6",), locks=("a.txt",))
ENTRY = {"id": "CVE-2026-2", "package": "jinja2", "reason": "no template here comes from a user", "until": "2026-12-24"}


def entry(**changes: object) -> Ignored:
    return Ignored.model_validate({**ENTRY, **changes})


class TestIgnored:
    def test_the_list_can_be_read(self):
        audit.read_ignored(audit.IGNORED, datetime.now(UTC).date())

    def test_an_advisory_is_let_pass_by_any_of_its_names_until_the_day(self):
        assert audit.decide([FOUND], [entry()], TODAY) == ([], [])
        assert audit.decide([FOUND], [entry(id="PYSEC-2026-1")], date(2026, 12, 23)) == ([], [])

    def test_it_counts_again_on_the_day(self):
        assert audit.decide([FOUND], [entry()], date(2026, 12, 24)) == ([FOUND], [])

    def test_one_of_another_package_is_of_no_use(self):
        other = entry(package="flask")
        assert audit.decide([FOUND], [other], TODAY) == ([FOUND], [other])

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ('reason = "no"', "reason: String should have at least 20 characters"),
            ('until = "soon"', "until: Input should be a valid date"),
            ("ever = true", "ever: Extra inputs are not permitted"),
            ("until = 2028-01-01", "CVE-2026-2 holds until 2028-01-01. Choose a day within a year"),
            ("until = ", "is no TOML"),
        ],
    )
    def test_a_wrong_entry_is_refused_by_its_key(self, tmp_path: Path, line: str, said: str):
        given = {name: f'{name} = "{value}"' for name, value in ENTRY.items() if name != "until"}
        given |= {"until": "until = 2026-12-24", line.partition(" ")[0]: line}
        path = tmp_path / "ignored.toml"
        path.write_text("\n".join(["[[ignored]]", *given.values()]))
        with pytest.raises(AuditError, match=said):
            audit.read_ignored(path, TODAY)

    def test_one_may_hold_for_a_year(self, tmp_path: Path):
        path = tmp_path / "ignored.toml"
        lines = [f'{name} = "{value}"' for name, value in ENTRY.items() if name != "until"]
        path.write_text("\n".join(["[[ignored]]", *lines, f"until = {TODAY + timedelta(days=365)}"]))
        assert audit.read_ignored(path, TODAY)[0].package == "jinja2"


class TestLocks:
    def test_every_lock_file_is_asked_about(self):
        tracked = {path for pattern in ("requirements*.txt", "images/**/*.txt") for path in PROJECT.glob(pattern)}
        left_out = {path.name for path in tracked if str(path.relative_to(PROJECT)) not in self.asked()}
        assert left_out == {"none.txt", "torch-cpu.txt", "science-cpu.txt"}

    @staticmethod
    def asked() -> set[str]:
        return {lock for locks in audit.locked(PROJECT).values() for lock in locks}

    def test_both_versions_of_a_package_are_asked_about_where_pythons_differ(self, tmp_path: Path):
        (tmp_path / "requirements.txt").write_text(
            "Numpy==1 ; python_version < '3.12' \\\n    --hash=sha256:0\n"
            "    # via x\nnumpy==2 ; python_version >= '3.12'\n"
        )
        assert audit.locked(tmp_path) == {
            ("numpy", "1"): ("requirements.txt",),
            ("numpy", "2"): ("requirements.txt",),
        }

    def test_one_run_has_one_version_of_each(self):
        packages = [("a", "1"), ("a", "2"), ("b", "1"), ("a", "3")]
        assert audit._one_version_each(packages) == [[("a", "1"), ("b", "1")], [("a", "2")], [("a", "3")]]


class TestAnswers:
    PACKAGES: ClassVar = {("jinja2", "3.1.2"): ("a.txt",), ("six", "1.17"): ("b.txt",)}
    ADVISORY: ClassVar[dict[str, Any]] = {
        "id": "PYSEC-2026-1",
        "aliases": ["CVE-2026-2"],
        "fix_versions": ["3.1.6"],
        "description": "",
    }

    def test_a_finding_names_the_lock_files(self):
        answers: list[dict[str, Any]] = [
            {"name": "jinja2", "version": "3.1.2", "vulns": [self.ADVISORY]},
            {"name": "six", "version": "1.17", "vulns": []},
        ]
        assert audit.findings(answers, self.PACKAGES) == [FOUND]
        assert FOUND.text == "jinja2 3.1.2: PYSEC-2026-1, CVE-2026-2, fixed in 3.1.6 (a.txt)"

    def test_a_package_that_the_source_does_not_know_is_no_good_news(self):
        answers: list[dict[str, Any]] = [
            {"name": "jinja2", "version": "3.1.2", "vulns": []},
            {"name": "six", "skip_reason": "Dependency not found on PyPI and could not be audited: six (1.17)"},
        ]
        with pytest.raises(AuditError, match=r"does not know 1 of 2 packages, such as six 1\.17"):
            audit.findings(answers, self.PACKAGES)

    def test_without_pip_audit_the_command_that_installs_it_is_named(self, capsys, monkeypatch):
        monkeypatch.setattr(audit, "find_spec", lambda _: None)
        assert audit.main([]) == 2
        assert capsys.readouterr().err == "audit: pip-audit is missing. `make audit` installs it.\n"
