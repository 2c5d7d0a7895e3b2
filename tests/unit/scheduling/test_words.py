"""What a person reads about a job that waits."""

import pytest

from scheduling.amounts import amounts, from_ray
from scheduling.model import Limits, Plan, Reason, Why
from scheduling.words import listed, needs, why
from tests.unit.scheduling.examples import job

ASKED = job("a", gpus=2, cpus=1)
LIMITS = Limits(jobs=3, amounts=amounts(GPU=4))


def said(reason: Reason | None, what=ASKED) -> str:
    reasons = {} if reason is None else {what.id: reason}
    return why(what, Plan(starts=(), stops=(), first_in_line=None, reasons=reasons), LIMITS, 1000.0)


@pytest.mark.parametrize("reason", [Reason(why=each, by="jobs", ahead=2) for each in Why])
def test_each_reason_is_a_sentence(reason):
    assert said(reason).endswith(".")
    assert "None" not in said(reason)
    assert "{" not in said(reason)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason(why=Why.FIRST_IN_LINE, expected=1000.0 + 3900), "in 1 h 5 min at the latest"),
        (Reason(why=Why.FIRST_IN_LINE, by="b"), "job b has no time limit"),
        (Reason(why=Why.TURN, ahead=1), "1 job goes before it"),
        (Reason(why=Why.TURN, ahead=2), "2 jobs go before it"),
        (Reason(why=Why.USER_LIMIT, by="jobs"), "your limit of 3 running jobs"),
        (Reason(why=Why.USER_LIMIT, by="GPU"), "your limit of 4 GPUs"),
        (Reason(why=Why.USER_LIMIT, by="b"), "your job b"),
        (Reason(why=Why.TOO_LARGE, by="GPU"), "you may hold 4 GPUs at once"),
        (Reason(why=Why.TOO_LARGE), "2 GPUs, 1 CPU, which the cluster does not have"),
        (Reason(why=Why.WOULD_DELAY, by="b"), "job b, which is first in line"),
        (None, "many jobs go before it"),
    ],
)
def test_it_says_for_what_the_job_waits(reason, words):
    assert words in said(reason)


def test_amounts_are_in_peoples_units():
    assert listed(from_ray({"CPU": 1, "memory": 2**34, "GPU": 0.5, "dataset:phoenix": 0.001})) == (
        "0.5 GPUs, 1 CPU, 16 GiB of memory, 0.001 dataset:phoenix"
    )
    assert needs(job("a", gpus=4, count=2)) == "2 times (4 GPUs)"
