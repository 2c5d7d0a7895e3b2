"""`python -m testing.audit` where pip-audit ends without an answer."""

import sys

from testing import audit


def test_no_answer_is_an_error_of_one_line(capsys, monkeypatch):
    monkeypatch.setattr(audit, "find_spec", lambda _: True)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert audit.main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("audit: pip-audit gave no answer: it said nothing. Check that its source answers")
    assert len(said.splitlines()) == 1
