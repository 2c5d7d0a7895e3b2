"""Two users compete for the same two CPUs of a real stack: `python -m bench.queue_shares [--minutes N] [--write]`.

It deploys a stack of its own and removes it. Anna always has forty jobs waiting, long ones among them; Ben always has
four short ones. What each user held is what Ray says of its jobs, the time in which it starts them included; what they
ran is what the queue charges.
Jobs sleep: they hold CPUs in Ray, and the figures do not depend on what else the machine computes.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.document import machine, write_section
from contracts.queue import API, USER_HEADER
from testing.live.deployment import LiveStack, deployed

DOCUMENT = Path(__file__).parent.parent / "docs" / "queue.md"
CPUS = 2
SETTINGS: dict[str, Any] = {
    "network": {"name": "cslr-queue-shares", "subnet": "10.253.0.0/24"},
    "ray": {"cpu": {"torch": False, "cpus": CPUS, "memory": "3g", "ports": {"dashboard": 20865, "client": 20866}}},
    "marimo": {"enabled": False},
    "mlflow": {"enabled": False},
    "redis": {"port": 20867},
    "health": {"port": 20868},
    "queue": {"enabled": True, "port": 20869},
}
URL = f"http://127.0.0.1:{SETTINGS['queue']['port']}{API}"
RAY_URL = f"http://127.0.0.1:{SETTINGS['ray']['cpu']['ports']['dashboard']}/api/jobs/"
EVERY = 2.0  # seconds between looks
TRIES = 20  # to look
MOST_LISTED = 1000  # in one answer
STOP_SECONDS = 120.0  # for what still runs in the end
SAMPLES = 12  # shares are printed so often


@dataclass(frozen=True, kw_only=True)
class Sender:
    """A user, and what they send. A job is long with the chance `long`; spans are of seconds."""

    name: str
    waiting: int  # jobs that they always have waiting
    long: float
    long_span: tuple[float, float] = (60.0, 120.0)

    def job(self, draw: random.Random, short_span: tuple[float, float]) -> dict[str, Any]:
        """The next one."""
        seconds = draw.uniform(*(self.long_span if draw.random() < self.long else short_span))
        limit = {"time_limit": 3 * seconds + 30} if draw.random() < 0.5 else {}
        return {"entrypoint": f"sleep {seconds:.1f}", "cpus": draw.choice((0.5, 1.0)), **limit}


NextJob = Callable[[Sender], dict[str, Any]]
SENDERS = (Sender(name="anna", waiting=40, long=0.4), Sender(name="ben", waiting=4, long=0.0))


@dataclass(frozen=True, kw_only=True)
class Span:
    """A time in which a job held CPUs."""

    user: str
    cpus: float
    begin: float
    end: float | None

    def held(self, since: float, until: float) -> float:
        """CPU seconds between two moments."""
        end = until if self.end is None else min(until, self.end)
        return self.cpus * max(0.0, end - max(since, self.begin))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was measured."""

    since: float
    until: float
    shares: Mapping[str, float]
    jobs: Sequence[Mapping[str, Any]]  # as the queue tells them
    in_ray: Sequence[Span]

    @property
    def attempts(self) -> list[Span]:
        """By the queue's account."""
        return [
            Span(
                user=job["user"], cpus=job["submission"]["cpus"], begin=attempt["started"], end=attempt["ended"]
            )
            for job in self.jobs
            for attempt in job["attempts"]
        ]  # fmt: skip

    def waited(self, user: str) -> list[float]:
        """Seconds from submission to the first start, of those that started."""
        return [
            job["attempts"][0]["started"] - job["submitted"]
            for job in self.jobs
            if job["user"] == user and job["attempts"] and job["attempts"][0]["started"] <= self.until
        ]


def main() -> None:
    """Measures, prints the section of the document, and writes it if asked to."""
    parser = argparse.ArgumentParser(prog="python -m bench.queue_shares", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of competition (default: %(default)g)")
    parser.add_argument("--shares", type=float, nargs=2, default=(1.0, 1.0), help="of Anna and Ben (default: 1 1)")
    parser.add_argument("--short", type=float, nargs=2, default=(20.0, 40.0), help="seconds of short jobs")
    parser.add_argument("--seed", type=int, default=1, help="of the jobs (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the section to docs/queue.md")
    chosen = parser.parse_args()
    shares = dict(zip((sender.name for sender in SENDERS), chosen.shares, strict=True))
    host = machine()
    settings = {
        **SETTINGS,
        "queue": {**SETTINGS["queue"], "users": {name: {"shares": n} for name, n in shares.items()}},
    }
    with tempfile.TemporaryDirectory() as folder, deployed("queue-shares", settings, Path(folder)) as stack:
        found = compete(stack, shares, 60 * chosen.minutes, jobs(chosen.seed, tuple(chosen.short)))
    command = f"python -m bench.queue_shares --minutes {chosen.minutes:g}"
    command += f" --shares {chosen.shares[0]:g} {chosen.shares[1]:g}"
    command += f" --short {chosen.short[0]:g} {chosen.short[1]:g} --seed {chosen.seed}"
    text = "\n".join(report(found, command, host))
    print(text)
    if chosen.write:
        write_section("queue_shares", text, document=DOCUMENT)


def jobs(seed: int, short_span: tuple[float, float]) -> NextJob:
    """What users send, drawn anew for each."""
    draw = random.Random(seed)  # noqa: S311 (no secret)
    return lambda sender: sender.job(draw, short_span)


def compete(stack: LiveStack, shares: Mapping[str, float], seconds: float, next_job: NextJob) -> Found:
    """Has both users send jobs for so long; ends what is left, and returns what was measured."""
    token = (stack.state / "generated/ray-token").read_text()
    with httpx.Client(timeout=60, headers={"Authorization": f"Bearer {token}"}) as client:
        since = time.time()
        until = since + seconds
        next_sample = since
        while (now := time.time()) < until:
            _top_up(client, next_job)
            if now >= next_sample:
                next_sample += seconds / SAMPLES
                print(f"{now - since:4.0f} s  {_shares_so_far(client, since, now)}", flush=True)
            time.sleep(EVERY)
        until = time.time()
        sent = _jobs(client)
        in_ray = list(_spans_in_ray(client, sent))
        _end_all(client)
    return Found(since=since, until=until, shares=shares, jobs=sent, in_ray=in_ray)


def _top_up(client: httpx.Client, next_job: NextJob) -> None:
    waiting = [job["user"] for job in asked(client, f"{URL}/queue")["waiting"]]
    missing = [[sender] * (sender.waiting - waiting.count(sender.name)) for sender in SENDERS]
    for turn in zip_longest(*missing):  # one each, so that neither is there first
        for sender in filter(None, turn):
            answer = client.post(f"{URL}/jobs", json=next_job(sender), headers={USER_HEADER: sender.name})
            answer.raise_for_status()


def _shares_so_far(client: httpx.Client, since: float, now: float) -> str:
    rows = asked(client, f"{URL}/usage?by=user&since={since}&until={now}")
    hours = {row["name"]: row["cpu_hours"] for row in rows}
    whole = sum(hours.values())
    return ", ".join(f"{name} {3600 * used:.0f} CPU s ({used / whole:.1%})" for name, used in hours.items() if whole)


def _jobs(client: httpx.Client) -> list[dict[str, Any]]:
    listed = asked(client, f"{URL}/jobs?limit={MOST_LISTED}")
    if len(listed) == MOST_LISTED:
        raise SystemExit(f"more than {MOST_LISTED} jobs were sent: use fewer --minutes")
    return list(listed)


def _spans_in_ray(client: httpx.Client, jobs: Iterable[Mapping[str, Any]]) -> Iterator[Span]:
    of = {attempt["submission"]: job for job in jobs for attempt in job["attempts"]}
    for entry in asked(client, RAY_URL):
        if job := of.get(entry["submission_id"]):
            end = entry["end_time"] / 1000 if entry["end_time"] else None
            yield Span(
                user=job["user"], cpus=job["submission"]["cpus"], begin=entry["start_time"] / 1000, end=end
            )  # fmt: skip


def _end_all(client: httpx.Client) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        view = asked(client, f"{URL}/queue")
        left = [*view["waiting"], *view["running"]]
        if not left:
            return
        for job in left:
            client.post(f"{URL}/jobs/{job['id']}/cancel", headers={USER_HEADER: job["user"]})
        time.sleep(EVERY)


def asked(client: httpx.Client, url: str) -> Any:  # noqa: ANN401 - JSON
    """What is there; asked again where there is no answer."""
    for _ in range(TRIES):
        try:
            answer = client.get(url)
            answer.raise_for_status()
            return answer.json()
        except httpx.HTTPError as error:
            print(f"{time.strftime('%H:%M:%S')} {url}: {error or type(error).__name__}", flush=True)
            time.sleep(EVERY)
    raise SystemExit(f"{url} did not answer {TRIES} times")


# --- the report ---


def report(found: Found, command: str, host: Mapping[str, str]) -> list[str]:
    """The section."""
    seconds = found.until - found.since
    entitled = sum(found.shares.values())
    lines = [
        "| user | entitled to | CPU seconds held, by Ray | part | of these run, by the queue | part | sent | ended"
        " | waited, median | 95 % | longest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    ran, held = _held(found.attempts, found), _held(found.in_ray, found)
    for user, shares in found.shares.items():
        own = [job for job in found.jobs if job["user"] == user]
        own_ran = _held([one for one in found.attempts if one.user == user], found)
        own_held = _held([one for one in found.in_ray if one.user == user], found)
        waited = sorted(found.waited(user))
        ended = sum(job["outcome"] == "succeeded" for job in own)
        lines.append(
            f"| {user} | {shares / entitled:.1%} | {own_held:.0f} | {own_held / held:.1%} | {own_ran:.0f}"
            f" | {own_ran / ran:.1%} | {len(own)} | {ended} | {median(waited):.0f} s"
            f" | {waited[int(0.95 * len(waited))]:.0f} s | {waited[-1]:.0f} s |"
        )
    wrong = [job for job in found.jobs if job["outcome"] not in (None, "succeeded") or len(job["attempts"]) > 1]
    return [
        *lines,
        "",
        f"In {seconds / 60:.1f} minutes, both together held {held / (CPUS * seconds):.1%} of the {CPUS} CPUs, and at"
        f" most {most_at_once(found.in_ray):g} at once. Jobs that failed or started twice: {len(wrong)}.",
        "",
        f"{'; '.join(f'{name}: {value}' for name, value in host.items())}. Command: `{command}`.",
    ]


def _held(spans: Iterable[Span], found: Found) -> float:
    return sum(span.held(found.since, found.until) for span in spans)


def most_at_once(spans: Iterable[Span]) -> float:
    """The most CPUs that were held at one moment. What ends at a moment holds nothing that begins then."""
    changes = []
    for span in spans:
        changes.append((span.begin, span.cpus))
        if span.end is not None:
            changes.append((span.end, -span.cpus))
    most = held = 0.0
    for _, change in sorted(changes):
        held += change
        most = max(most, held)
    return most


if __name__ == "__main__":
    main()
