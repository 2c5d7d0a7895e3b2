"""Describes running work in words: for a warning, a question, a line of progress."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from stack.running_work import Kind, RunningWork, Work

MOST_SHOWN = 10
WIDTH = 60
# Kind, and whether it is a part of another one → one, several; in the order in which they are told.
WORDS = {
    (Kind.JOB, False): ("running job", "running jobs"),
    (Kind.DRIVER, False): ("driver", "drivers"),
    (Kind.CLIENT, False): ("driver connected by Ray Client", "drivers connected by Ray Client"),
    (Kind.ACTOR, False): ("detached actor", "detached actors"),
    (Kind.ACTOR, True): ("actor", "actors"),
    (Kind.TASK, True): ("running task", "running tasks"),
    (Kind.NOTEBOOK, False): ("notebook session", "notebook sessions"),
}


def in_words(works: Iterable[Work]) -> str:
    """``2 running jobs, 1 notebook session``."""
    numbers = Counter((work.kind, work.part) for work in works)
    known = [(numbers[key], words) for key, words in WORDS.items() if numbers[key]]
    return ", ".join(f"{number} {one if number == 1 else several}" for number, (one, several) in known) or "nothing"


def listed(works: Iterable[Work], now: float | None = None) -> Iterator[str]:
    """A line for each of the first ones, then how many more there are."""
    order = list(WORDS)
    ordered = sorted(works, key=lambda work: (order.index((work.kind, work.part)), work.since or 0.0, work.identifier))
    for work in ordered[:MOST_SHOWN]:
        yield line(work, time.time() if now is None else now)
    if len(ordered) > MOST_SHOWN:
        yield f"… and {len(ordered) - MOST_SHOWN} more"


def warning(running: RunningWork, stack: str) -> str:
    """The warning of bare `pulumi`, which cannot ask, before it ends running work."""
    lines = [
        f"{in_words(running.works)} on this stack at this moment:",
        *(f"    {text}" for text in listed(running.works)),
    ]
    lines = lines if running.works else ["It is not known what runs on this stack at this moment:"]
    lines += [f"    {why}" for why in running.not_asked.values()]
    lines += [
        "What runs in a container ends when that is replaced or removed. Pulumi does not ask before that; "
        f"`ws up -s {stack}` does, and with --drain waits for it to end."
    ]
    return "\n".join(lines)


def line(work: Work, now: float) -> str:
    """``raysubmit_x: python train.py, 12 min``."""
    since = f", {age(now - work.since)}" if work.since else ""
    what = printable(work.what)
    if work.kind in (Kind.JOB, Kind.DRIVER):
        return f"{printable(work.identifier)}: {what or 'unknown command'}{since}"
    if work.kind is Kind.CLIENT:
        return f"Ray Client, job {printable(work.identifier)}{since}"
    name = {Kind.ACTOR: "actor", Kind.TASK: "task", Kind.NOTEBOOK: "notebook"}[work.kind]
    return f"{name} {what}{since}"


def printable(text: str) -> str:
    """A name that a user chose, shortened to one line and without control characters."""
    flat = "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
    return flat if len(flat) <= WIDTH else f"{flat[: WIDTH - 1]}…"


def age(seconds: float) -> str:
    """The time since something began, in the largest units that tell it: ``3 h 05 min``."""
    minutes = int(max(seconds, 0) // 60)
    if minutes < 1:
        return f"{int(max(seconds, 0))} s"
    hours, rest = divmod(minutes, 60)
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {rest:02} min" if hours < 48 else f"{hours // 24} days"
