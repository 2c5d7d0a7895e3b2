"""Why a job waits, in a sentence for the person who sent it."""

from scheduling.amounts import CPU, GPU, MEMORY, Amounts, per_one
from scheduling.limits import JOBS
from scheduling.model import Job, Limits, Plan, Reason, Why

GIB = 2**30
NAMES = {CPU: ("CPU", "CPUs"), GPU: ("GPU", "GPUs")}
SENTENCES = {
    Why.TURN: "It waits for its turn: {ahead} before it.",
    Why.WOULD_DELAY: "What it needs is free, but kept for job {by}, which is first in line.",
    Why.OUTSIDE: "It needs {needs}, and work that did not come through the queue holds too much of that. "
    "It starts once that work ends (`ray job list`).",
    Why.NODE_DOWN: "It needs {needs}. Only a node that is down has that. It starts once the node is back (`ws ps`).",
    Why.TOO_LARGE: "It needs {needs}, which the cluster does not have even when it is empty. "
    "Cancel it, and submit it with less.",
}


def why(job: Job, plan: Plan, limits: Limits, now: float) -> str:
    """The sentence about a waiting job."""
    reason = plan.reasons.get(job.id)
    if reason is None:
        return "It waits for its turn: many jobs go before it."
    if reason.why is Why.FIRST_IN_LINE:
        return _first(job, reason, now)
    if reason.why is Why.USER_LIMIT:
        return _limit(reason, limits)
    if reason.why is Why.TOO_LARGE and reason.by:
        return (
            f"It needs {needs(job)}, but you may hold {_most(reason.by, limits)} at once. "
            "Cancel it, and submit it with less."
        )
    before = f"{reason.ahead} job goes" if reason.ahead == 1 else f"{reason.ahead} jobs go"
    return SENTENCES[reason.why].format(ahead=before, by=reason.by, needs=needs(job))


def needs(job: Job) -> str:
    """What it asks for: `2 times (4 GPUs, 16 CPUs)`."""
    return asked(job.request.each, job.request.count)


def asked(each: Amounts, count: int) -> str:
    """The same of amounts and how many times they are asked for."""
    return listed(each) if count == 1 else f"{count} times ({listed(each)})"


def listed(held: Amounts) -> str:
    """Amounts in people's units, GPUs first."""
    order = sorted(held, key=lambda name: (name != GPU, name != CPU, name != MEMORY, name))
    return ", ".join(_amount(name, held[name]) for name in order) or "nothing"


def span(seconds: float) -> str:
    """A time in words: `2 h 5 min`."""
    minutes = max(1, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    parts = ([f"{hours} h"] if hours else []) + ([f"{rest} min"] if rest else [])
    return " ".join(parts)


def _first(job: Job, reason: Reason, now: float) -> str:
    start = f"It is first in line: {needs(job)} become free for it as jobs end"
    if reason.expected is not None and reason.expected > now:
        return f"{start}, in {span(reason.expected - now)} at the latest."
    if reason.by:
        return f"{start}. It cannot be said when: job {reason.by} has no time limit."
    return f"{start}."


def _limit(reason: Reason, limits: Limits) -> str:
    if reason.by == JOBS or reason.by in limits.amounts:
        return (
            f"Your running jobs reach your limit of {_most(str(reason.by), limits)}. It starts after one of them ends."
        )
    return f"It waits for your job {reason.by}, which comes first within your limits."


def _most(limit: str, limits: Limits) -> str:
    if limit == JOBS:
        return f"{limits.jobs} running jobs"
    return _amount(limit, limits.amounts[limit])


def _amount(name: str, units: int) -> str:
    if name == MEMORY:
        return f"{units / GIB:.3g} GiB of memory"
    number = units / per_one(name)
    one, many = NAMES.get(name, (name, name))
    return f"{number:g} {one if number == 1 else many}"
