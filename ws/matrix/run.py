"""Runs the builds of `ws matrix`: continues after failures, and retries those caused by the network."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from build_report.runs import current_run
from build_report.store import Store, StoreError
from build_report.units import whole_duration
from components.image_index import index_name
from docker_api.api import DockerApi, DockerError
from embedded_engine.changes import IMAGE, Change, Result
from images.family import BuildTarget
from ws import changes
from ws.deploy import Session
from ws.engines import Choice
from ws.matrix.cache import cache_bytes
from ws.matrix.plan import Plan
from ws.network_failures import is_network_failure
from ws.stack_settings import StackSettings

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 120.0  # seconds before an image is tried again
WEBHOOKS = {"slack": ("slackWebhook", "CSLR_SLACK_WEBHOOK"), "discord": ("discordWebhook", "CSLR_DISCORD_WEBHOOK")}


@dataclass(kw_only=True)
class Outcome:
    """The results of the images so far."""

    wanted: Sequence[BuildTarget]
    failures: dict[str, str] = field(default_factory=dict)  # resource → why
    settled: set[str] = field(default_factory=set)  # images that are not tried again

    @property
    def open(self) -> list[BuildTarget]:
        """The images that are still to be tried."""
        return [one for one in self.wanted if one.name not in self.settled]

    def give_up(self, change: Change) -> None:
        """Gives up a resource; if it is an image, also those built on it."""
        self.failures[change.name] = change.error or "failed"
        images = {one.name for one in self.wanted if change.owner in (one.name, index_name(one.family_name))}
        # What belongs to no image is a base, without which there is nothing to be done.
        self.settled |= images or {one.name for one in self.wanted}
        for one in self.open if change.type == IMAGE else ():
            if change.owner in {ancestor.name for ancestor in one.ancestors}:
                self.failures[one.name] = f"is built on {change.owner}, which failed"
                self.settled.add(one.name)


def build(
    session: Session, choice: Choice, planned: Plan, retries: int, pause: Callable[[float], None] = time.sleep
) -> Outcome:
    """Builds all images that can be built. Network failures are retried `retries` times; other builds do not wait.

    An engine skips resources that wait for a failed one, even if only for their turn. So it runs again without the
    failed ones until nothing is left to try. If interrupted, the next call continues from there.
    """
    outcome = Outcome(wanted=planned.args.wanted)
    tried: Counter[str] = Counter()
    while outcome.open:
        overrides = planned.without(sorted(outcome.settled))
        result = session.run(choice, lambda engine: engine.up(), overrides)
        changes.show_failures(result, session.console)
        failed = {change.name: change for change in result.failed}
        again = {
            name for name, change in failed.items() if is_network_failure(change.error or "") and tried[name] < retries
        }
        for name in failed.keys() - again:
            outcome.give_up(failed[name])
        if again:
            tried.update(again)
            most = max(tried[name] for name in again)
            seconds = pause_before(most - 1)
            session.say(f"Trying {', '.join(sorted(again))} again in {whole_duration(seconds)} ({most} of {retries})")
            pause(seconds)
            session.prepare_host()  # Docker itself may have gone away
        elif not failed or not _unreached(outcome, result):
            break
    return outcome


def note_cache() -> None:
    """Keeps how large the build cache is: called before a run and after it. What is not known is no reason to stop."""
    with contextlib.suppress(DockerError, StoreError):
        Store().add_cache_size(current_run(), cache_bytes(DockerApi()))


def pause_before(tried: int) -> float:
    """Seconds before another try: twice as long each time, and never the same, since others may be waiting too."""
    return min(FIRST_PAUSE * 2.0**tried, LONGEST_PAUSE) * random.uniform(0.5, 1.5)  # noqa: S311 (no secret)


def _unreached(outcome: Outcome, result: Result) -> bool:
    """Whether there are images that the engine did not reach."""
    done = {change.name for change in result.changes if change.type == IMAGE and not (change.error or change.skipped)}
    return any(one.name not in done for one in outcome.open)


def show_outcome(outcome: Outcome, console: Console, err: Console) -> None:
    """The build report of this run, and what failed."""
    from build_report.overview import overview
    from ws.report import print_run

    try:
        report = overview(Store(), run=current_run())
    except StoreError as error:  # the result of the images is still shown
        err.print(Text(str(error), style="yellow"), soft_wrap=True)
        report = None
    if report:
        console.print()
        print_run(report, console)
    for name, reason in outcome.failures.items():
        err.print(Text.assemble(("✗ ", "bold red"), (name, "bold"), f": {_in_a_line(reason)}"), soft_wrap=True)


def notify(stack: StackSettings, outcome: Outcome, err: Console) -> None:
    """Tells the webhooks that the stack file or the environment names."""
    from build_report import notify as webhooks
    from build_report.markdown import failures_in_short
    from build_report.summary import summary

    config = stack.file.config
    urls = {
        name: stack.environment.get(variable) or config.values.get(f"{config.project}:{key}")
        for name, (key, variable) in WEBHOOKS.items()
    }
    if any(urls.values()):
        try:
            text = summary(current_run(), failures=_beside_builds(outcome))
        except StoreError:  # already reported with the outcome
            text = "\n".join(failures_in_short(outcome.failures.items())) or "All images are as they should be."
        for warning in webhooks.notify(text, ok=not outcome.failures, **urls):
            err.print(Text(warning, style="yellow"), soft_wrap=True)


def _beside_builds(outcome: Outcome) -> dict[str, str]:
    """The failures that the build report does not know: bases, names, indexes, and images that were not begun."""
    failed = [build.subject for build in Store().builds_of_run(current_run()) if build.result != "built"]
    known = {(subject.image, subject.variant, subject.platform) for subject in failed}
    told = {one.name for one in outcome.wanted if (one.image.name, one.variant_key, one.platform) in known}
    return {name: reason for name, reason in outcome.failures.items() if name.removesuffix("-report") not in told}


def _in_a_line(error: str) -> str:
    return next(iter(error.strip().splitlines()), "failed").rstrip(":")
