"""Jobs, the queue and its usage as tables."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from build_report.units import moment, whole_duration
from contracts.queue import JobView, NodeView, QueueView, UsageRow, UserView
from scheduling.amounts import CPU, GPU, MEMORY, from_ray
from scheduling.words import asked, span
from ws.tables import plain_table

STYLES = {
    "succeeded": "green", "failed": "red", "lost": "red", "over its time limit": "red", "cancelled": "yellow",
    "running": "cyan", "starting": "cyan", "stopping": "yellow",
}  # fmt: skip
GIB = 2**30


def asks(job: JobView) -> str:
    """What a job asks for."""
    return asked(from_ray(job.submission.each), job.submission.count)


def state_of(job: JobView) -> Text:
    """Its state, or how it ended."""
    word = job.outcome or job.state
    return Text(word, style=STYLES.get(word, ""))


def jobs_table(jobs: Iterable[JobView], now: float) -> Table:
    """Jobs with state and times."""
    table = plain_table(("JOB", "USER", "STATE", "SUBMITTED", "RAN", "ASKS FOR", "PROGRAM"), right=("RAN",))
    for job in jobs:
        ran = whole_duration((job.ended or now) - job.started) if job.started else ""
        table.add_row(
            job.id, Text(job.user), state_of(job), moment(job.submitted), ran, asks(job), Text(job.submission.title)
        )
    return table


def queue_view(view: QueueView) -> RenderableType:
    """The whole queue."""
    parts: list[RenderableType] = []
    if not view.ray_answers:
        said = f": {view.ray_message.rstrip('.')}" if view.ray_message else ""
        parts.append(Text(f"Ray does not answer{said}. No job starts meanwhile.\n", style="red"))
    parts += [Text(f"{len(view.running)} running", style="bold"), *_running(view)]
    parts += [Text(f"\n{len(view.waiting)} waiting, in the order of their turn", style="bold"), *_waiting(view)]
    if view.nodes:
        parts += [Text("\nNodes: held by the queue, + by other work, of the total", style="bold")]
        parts.append(_nodes(view.nodes))
    if view.users:
        parts += [Text("\nUsers", style="bold"), _users(view.users)]
    return Group(*parts)


def job_view(job: JobView) -> Table:
    """All about one job."""
    table = Table.grid(padding=(0, 2))
    for name, value in _facts(job):
        table.add_row(Text(name, style="dim"), value)
    return table


def usage_table(rows: Iterable[UsageRow], by: str) -> Table:
    """Who used what."""
    names = (by.upper(), "JOBS", "GPU HOURS", "CPU HOURS", "MEDIAN WAIT", "SUCCEEDED", "FAILED")
    table = plain_table(names, right=names[1:])
    for row in rows:
        table.add_row(
            Text(row.name or "(none)"), str(row.jobs), f"{row.gpu_hours:.1f}", f"{row.cpu_hours:.1f}",
            whole_duration(row.waited_hours * 3600), str(row.succeeded), str(row.failed),
        )  # fmt: skip
    return table


def usage_csv(rows: Iterable[UsageRow]) -> str:
    """The same for spreadsheets."""
    text = io.StringIO()
    names = [one.name for one in fields(UsageRow)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    # A spreadsheet takes these for formulas, and users choose their names.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def _running(view: QueueView) -> Iterator[RenderableType]:
    if view.running:
        table = plain_table(("JOB", "USER", "STATE", "FOR", "LIMIT", "ASKS FOR", "NODES", "PROGRAM"), right=("FOR",))
        for job in view.running:
            limit = span(job.submission.time_limit) if job.submission.time_limit else "none"
            nodes = ", ".join(job.attempts[-1].nodes) if job.attempts else ""
            ran = whole_duration(view.now - job.started) if job.started else ""
            table.add_row(
                job.id, Text(job.user), state_of(job), ran, limit, asks(job), nodes, Text(job.submission.title)
            )
        yield table


def _waiting(view: QueueView) -> Iterator[RenderableType]:
    if view.waiting:
        table = plain_table(("JOB", "USER", "PRIORITY", "WAITS", "ASKS FOR", "PROGRAM", "WHY"), right=("WAITS",))
        for job in view.waiting:
            table.add_row(
                job.id, Text(job.user), job.submission.priority, whole_duration(view.now - job.submitted), asks(job),
                Text(job.submission.title), Text(job.why or ""),
            )  # fmt: skip
        yield table


def _nodes(nodes: Sequence[NodeView]) -> Table:
    table = plain_table(("NODE", "STATE", "GPUS", "CPUS", "MEMORY"), right=("GPUS", "CPUS", "MEMORY"))
    for node in nodes:
        state = Text("up", style="green") if node.up else Text("down", style="red")
        table.add_row(node.name, state, *(_held(node, name) for name in (GPU, CPU, MEMORY)))
    return table


def _held(node: NodeView, name: str) -> str:
    if name not in node.capacity:
        return ""
    outside = node.outside.get(name, 0)
    more = f" + {_amount(name, outside)}" if outside else ""
    return f"{_amount(name, node.by_queue.get(name, 0))}{more} of {_amount(name, node.capacity[name])}"


def _amount(name: str, amount: float) -> str:
    return f"{amount / GIB:.0f} GiB" if name == MEMORY else f"{amount:g}"


def _users(users: Sequence[UserView]) -> Table:
    names = ("USER", "SHARES", "RUNNING", "WAITING", "USED LATELY", "ENTITLED TO")
    table = plain_table(names, right=names[1:])
    for user in users:
        table.add_row(
            Text(user.name), f"{user.shares:g}", str(user.running), str(user.waiting),
            f"{100 * user.fraction:.0f} %", f"{100 * user.entitled:.0f} %",
        )  # fmt: skip
    return table


def _facts(job: JobView) -> Iterator[tuple[str, Text]]:
    of = job.submission
    yield "job", Text(job.id)
    yield "state", state_of(job)
    for name, value in (
        ("why", job.why), ("message", job.message), ("user", job.user), ("name", of.name), ("project", of.project),
        ("program", of.entrypoint), ("asks for", asks(job)),
        ("held by", "its Ray tasks" if of.held_by == "tasks" else None), ("priority", of.priority),
        ("time limit", span(of.time_limit) if of.time_limit else None),
        ("restartable", "yes" if of.restartable else None), ("packages", ", ".join(of.packages)),
        ("environment", ", ".join(of.environment)), ("submitted", moment(job.submitted)),
        ("starts by", moment(job.expected) if job.expected else None),
    ):  # fmt: skip
        if value:
            yield name, Text(value)
    for attempt in job.attempts:
        took = f", {whole_duration(attempt.ended - attempt.started)}" if attempt.ended else ""
        why = f": {attempt.why_ended}" if attempt.why_ended else ""
        text = f"{moment(attempt.started)} on {', '.join(attempt.nodes)}{took}{why}"
        yield f"attempt {attempt.number}", Text(text)
