"""Both names of a job, and what is said where one is not known."""

from types import SimpleNamespace
from typing import Any

import pytest

from ws.cluster.ray_api import JobEntry, NoHeadError
from ws.errors import WsError
from ws.logs import jobs
from ws.logs.jobs import JobNames, job_names

KNOWN = [
    JobEntry(identifier="01000000", submission="raysubmit_A", address="10.0.0.2"),
    JobEntry(identifier="02000000", submission="", address="10.0.0.1"),
]


@pytest.fixture
def ask(monkeypatch):
    """Asks a head that knows these jobs, or one that raises."""

    def run(job: str, *, error: Exception | None = None) -> JobNames:
        def known() -> list[JobEntry]:
            if error:
                raise error
            return KNOWN

        monkeypatch.setattr(jobs, "access", lambda _: SimpleNamespace(ray=SimpleNamespace(jobs=known)))
        configured: Any = None
        return job_names(configured, job)

    return run


@pytest.mark.parametrize("job", ["01000000", "raysubmit_A"])
def test_either_names_the_other(ask, job):
    assert ask(job) == JobNames(names=("raysubmit_A", "01000000"), driver=KNOWN[0])


def test_a_driver_without_a_submission_has_one_name(ask):
    assert ask("02000000") == JobNames(names=("02000000",), driver=KNOWN[1])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "Ray knows no job x"),
        (NoHeadError("No answer."), "No answer. So only"),
        (WsError("no Redis"), "no Redis"),
    ],
)
def test_an_unknown_one_is_looked_for_by_its_name(ask, error, said):
    found = ask("x", error=error)
    assert found.names == ("x",)
    assert said in found.hint
