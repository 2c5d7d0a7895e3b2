"""The work that a node's replacement would end for good. Tasks are retried elsewhere; a job ends with its driver."""

import time
from collections.abc import Callable
from dataclasses import replace

from build_report.units import whole_duration
from stack.running_words import in_words, line
from ws.consent import Consent
from ws.cost import DOES_NOT_END, Cost

POLL_SECONDS = 2.0
SHOWN = 2


def lasting(found: Cost) -> Cost:
    """Without the parts of jobs: Ray runs tasks again elsewhere, and actors as far as their program says so."""
    ends = (replace(end, works=tuple(work for work in end.works if not work.part)) for end in found.ends)
    return replace(found, ends=tuple(end for end in ends if end.works or end.not_asked))


def wait_for_its_end(look: Callable[[], Cost], seconds: float, consent: Consent, say: Callable[[str], None]) -> None:
    """Waits until nothing would end for good. What is left after that time ends with consent only.

    Raises:
        DeclinedError: there is none.
    """
    began = time.monotonic()
    while found := look():
        left = seconds - (time.monotonic() - began)
        waits = not found.known or any(work.kind not in DOES_NOT_END for work in found.works)
        if left <= 0 or not waits:
            consent.obtain(look)
            return
        say(f"Waiting for {_in_short(found)}, {whole_duration(left)} left")
        time.sleep(min(POLL_SECONDS, left))


def _in_short(found: Cost) -> str:
    if not found.works:
        return str(found.ends[0])
    shown = "; ".join(line(work, time.time()) for work in found.works[:SHOWN])
    return f"{in_words(found.works)} ({shown}{'; …' if len(found.works) > SHOWN else ''})"
