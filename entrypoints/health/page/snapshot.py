"""What the page shows at one moment, and who asks for it: only readers, so that without any nothing is asked."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from contracts import facts
from contracts.alerts import Alert
from contracts.facts import Builds, DriftFact, PastRuns, Times, VerificationFact
from contracts.health import HealthSettings, Kind, WatchedService
from contracts.status import Status
from entrypoints.health.asker import Answer, Asker, timed
from entrypoints.health.disks import Disk, disks_of
from entrypoints.health.facts import fact
from entrypoints.health.monitor import Monitor
from entrypoints.health.page.charts import RANGES, ask_charts, charts_with
from entrypoints.health.page.faults import noted
from entrypoints.health.page.gpus import Gpu, gpus_of_all_hosts, gpus_of_exporter
from entrypoints.health.page.jobs import Job, ask_jobs
from entrypoints.health.page.kept import Kept
from entrypoints.health.page.runs import Run, ask_runs

FRESH_SECONDS = 1.0  # of what changes at once
JOBS_EASE = 10.0  # Ray's dashboard reads each of its records of jobs, up to thousands, for one answer
SLOW_SECONDS = 10.0  # of what costs other services more
Found = TypeVar("Found")
TIMES = (facts.BASES, facts.BACKUP, facts.CERTIFICATES)


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """One moment. An answer is None where the service to ask is not there, or has not answered yet."""

    status: Status
    now: float = field(default_factory=time.time)
    alerts: tuple[Alert, ...] = ()
    gpus: Answer[tuple[Gpu, ...]] | None = None
    jobs: Answer[tuple[Job, ...]] | None = None
    runs: Answer[tuple[Run, ...]] | None = None
    disks: tuple[Disk, ...] = ()
    verification: VerificationFact | None = None
    builds: Builds | None = None
    history: PastRuns | None = None
    drift: DriftFact | None = None
    times: Mapping[str, Times] = field(default_factory=dict)  # fact → its times
    prometheus: WatchedService | None = None
    exporter: WatchedService | None = None
    mlflow: WatchedService | None = None
    faults: Mapping[str, Exception] = field(default_factory=dict)  # section → why nothing is known for it


class Board:
    """The page's answers, kept for some seconds."""

    def __init__(self, monitor: Monitor, settings: HealthSettings) -> None:
        self._monitor = monitor
        self._settings = settings
        self._prometheus = prometheus = watched(settings, Kind.PROMETHEUS)
        self._exporter = exporter = watched(settings, Kind.EXPORTER)
        self._mlflow = mlflow = watched(settings, Kind.MLFLOW)
        self._status = Kept(monitor.status, FRESH_SECONDS)
        self._alerts = Kept(monitor.alerts, FRESH_SECONDS)
        self._jobs = Kept(self._ask_jobs, FRESH_SECONDS, ease=JOBS_EASE)
        self._gpus = (
            self._asked(gpus_of_all_hosts, prometheus, FRESH_SECONDS)
            if prometheus
            else self._asked(gpus_of_exporter, exporter, FRESH_SECONDS)
        )
        self._runs = self._asked(ask_runs, mlflow, SLOW_SECONDS)
        self._charts = {
            name: self._asked(
                partial(ask_charts, charts_with(exporter), wanted), prometheus, wanted.kept, settings.charts_deadline
            )
            for name, wanted in RANGES.items()
        }

    async def snapshot(self, patience: float | None = None) -> Snapshot:
        """This moment; what takes longer than patience in seconds is as it was when it was known last."""
        faults: dict[str, Exception] = {}
        status, alerts, jobs, gpus, runs = await asyncio.gather(
            self._status.get(patience),
            _answer(self._alerts.get(patience), "alerts", faults),
            _answer(self._jobs.get(patience), "jobs", faults),
            _answer(self._gpus.get(patience) if self._gpus else None, "gpus", faults),
            _answer(self._runs.get(patience) if self._runs else None, "runs", faults),
        )
        return Snapshot(
            status=status or await self._monitor.status(),
            alerts=alerts or (),
            gpus=gpus,
            jobs=jobs,
            runs=runs,
            **self._of_host(faults),
            prometheus=self._prometheus,
            exporter=self._exporter,
            mlflow=self._mlflow,
            faults=faults,
        )

    def _of_host(self, faults: dict[str, Exception]) -> dict[str, Any]:
        """What this host's files and disks say."""
        folders, found = self._settings.facts, dict[str, Any]()
        with noted(faults, "upkeep"):
            found |= {
                "disks": disks_of(self._settings.disks),
                "verification": fact(folders, facts.VERIFICATION, VerificationFact),
                "builds": fact(folders, facts.BUILDS, Builds),
                "times": {name: known for name in TIMES if (known := fact(folders, name, Times))},
            }
        with noted(faults, "deployment"):
            found |= {
                "history": fact(folders, facts.HISTORY, PastRuns),
                "drift": fact(folders, facts.DRIFT, DriftFact),
            }
        return found

    async def charts(self, name: str) -> Answer[dict[str, Any]] | None:
        """The charts of a range by its name; None without Prometheus."""
        kept = self._charts[name]
        return await kept.get() if kept else None

    def _asked(
        self,
        question: Callable[[WatchedService, Asker], Awaitable[Found]],
        of: WatchedService | None,
        seconds: float,
        deadline: float | None = None,
    ) -> Kept[Answer[Found]] | None:
        if of is None:
            return None
        return Kept(
            lambda: timed(question(of, self._monitor.asker(deadline)), of), seconds, lambda answer: bool(answer.failure)
        )

    async def _ask_jobs(self) -> Answer[tuple[Job, ...]] | None:
        dashboard = self._monitor.dashboard_of((await self._monitor.status()).ray)
        return await timed(ask_jobs(dashboard, self._monitor.asker()), dashboard) if dashboard else None


async def _answer(asked: Awaitable[Found] | None, section: str, faults: dict[str, Exception]) -> Found | None:
    with noted(faults, section):
        return await asked if asked else None
    return None


def watched(settings: HealthSettings, kind: Kind) -> WatchedService | None:
    """The first service of a kind; None where there is none."""
    return next((service for service in settings.services if service.kind is kind), None)
