"""Jobs on the Ray cluster: submits them, and reads how far their files are.

A job's attempt is one Ray job (entrypoints/transcription/ray_job.py) with the files that are not done. Its name is
known before it is submitted, so that after a crash the same attempt is found again instead of being made twice. Files
and results pass through the service's data folder, which Ray's nodes mount as well.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from contracts.document import DocumentError, decode, encode
from contracts.transcription import FileReport, Medium, RaySettings, Work
from entrypoints.transcription.files import copy_folder, write_json
from entrypoints.transcription.media import Tree
from entrypoints.transcription.recognizer import Model, Options

PROGRAMS = "/run/cslr"
ENTRYPOINT = f"sh {PROGRAMS}/with_python.sh -m entrypoints.transcription.ray_job"
RUNTIME = {
    "env_vars": {
        # Workers find the modules that the program imports as it does; the platform's hooks stay first.
        "PYTHONPATH": f"${{PYTHONPATH}}:{PROGRAMS}",
        "HF_HUB_OFFLINE": "1",  # a model that lacks a file is a fault, and not a download
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait for each other spin by default
    }
}
TIMEOUT = 10.0  # seconds
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
LONGEST_MESSAGE = 300


class ClusterError(Exception):
    """The cluster does not answer, or not as it should. The message is a sentence for people."""


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """A Ray job, as Ray knows it."""

    status: str
    message: str

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.status in ENDED


class Cluster:
    """Ray's job submission API."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings

    def submit(self, name: str, entrypoint: str, metadata: Mapping[str, str]) -> None:
        """Submit a job under a name that is not taken; raises ClusterError."""
        body = {
            "submission_id": name, "entrypoint": entrypoint, "runtime_env": RUNTIME, "metadata": dict(metadata),
        }  # fmt: skip
        self._ask("POST", "", body)

    def find(self, name: str) -> RayJob | None:
        """Return a job; None if Ray does not know it. Raises ClusterError."""
        answer = self._ask("GET", name)
        if answer is None:
            return None
        return RayJob(status=str(answer["status"]), message=str(answer.get("message") or ""))

    def stop(self, name: str) -> None:
        """Stop a job; raises ClusterError."""
        self._ask("POST", f"{name}/stop")

    def wake(self, name: str) -> None:
        """Have Ray look whether its jobs still run, by asking for a job's log; raises ClusterError.

        A head that restarted begins to look after jobs with the first question about one that is more than its status
        (Ray 2.60). Until then those that ended with the former head are called running.
        """
        self._ask("GET", f"{name}/logs")

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any] | None:
        reason = "it has no address"
        try:
            token = self._settings.token.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ClusterError(f"The token of the Ray cluster cannot be read: {error}") from None
        for dashboard in self._settings.dashboards:
            try:
                answer = httpx.request(
                    method, f"http://{dashboard}/api/jobs/{path}", json=body, timeout=TIMEOUT, trust_env=False,
                    headers={"Authorization": f"Bearer {token}"},
                )  # fmt: skip
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__  # not the head's
                continue
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            if answer.status_code != httpx.codes.OK:
                last = answer.text.strip().splitlines()[-1:] or [""]
                raise ClusterError(f"The Ray cluster answered {answer.status_code}: {last[0][:LONGEST_MESSAGE]}")
            try:
                return dict(answer.json())
            except ValueError as error:
                raise ClusterError(f"The Ray cluster answered with no JSON: {error}") from None
        raise ClusterError(f"The Ray cluster does not answer: {reason}")


class Attempts:
    """The folders of Ray jobs: what each is to do, and how far its files are."""

    def __init__(self, settings: RaySettings, data: Path, tree: Tree, bundled: Path) -> None:
        self._settings, self._data, self._tree, self._bundled = settings, data, tree, bundled
        self._folder = data / "ray"

    def seen(self, path: str) -> Path:
        """Return where Ray's nodes see a medium; raises RefusedError or OSError."""
        root = path.partition("/")[0]
        file, top = self._tree.file(path), self._tree.roots[root]
        if root == "examples":
            return self._copied(top, "") / file.relative_to(top.resolve())
        mounted = {"dataset": self._settings.dataset, "datasets": self._settings.datasets}
        return mounted.get(root, self._settings.data / root) / file.relative_to(top.resolve())

    def prepare(self, name: str, media: Mapping[int, Path], model: Model, options: Options) -> str:
        """Write down what an attempt does with media that Ray's nodes see, and return its command; raises OSError."""
        seen, folder = self._settings, self._folder / name
        work = Work(
            media=tuple(Medium(index=index, path=path) for index, path in media.items()),
            model=self._copied(self._bundled / model.name, "models") if model.bundled else seen.models / model.name,
            bundled=model.bundled,
            language=options.language,
            prompt=options.prompt,
            cpus=seen.cpus,
            gpus=seen.gpus,
            results=seen.data / "results",
            reports=seen.data / "ray" / name / "reports",
        )
        (folder / "reports").mkdir(parents=True, exist_ok=True)
        write_json(folder / "work.json", encode(work))
        return f"{ENTRYPOINT} {seen.data}/ray/{name}/work.json"

    def reports(self, name: str, wanted: Collection[int]) -> dict[int, FileReport]:
        """Return what is known of some of an attempt's files, by their index."""
        found = {}
        for path in (self._folder / name / "reports").glob("[0-9]*.json"):
            if int(path.stem) not in wanted:
                continue
            try:
                found[int(path.stem)] = decode(FileReport, json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, DocumentError):
                continue  # removed meanwhile, or damaged: then the file is done again
        return found

    def forget_reports(self, name: str, indices: Iterable[int]) -> None:
        """Forget how files of an attempt ended."""
        for index in indices:
            (self._folder / name / "reports" / f"{index}.json").unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove an attempt's folder. What of it still runs cannot report, and ends."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    def keep_only(self, names: set[str]) -> None:
        """Remove what earlier attempts left."""
        for folder in self._folder.glob("*") if self._folder.is_dir() else ():
            if folder.name not in names:
                self.remove(folder.name)

    def _copied(self, source: Path, below: str) -> Path:
        """Return where Ray's nodes see a folder of this image, of which they have a copy."""
        target = Path("bundled", below, source.name)
        copy_folder(source, self._data / target)
        return self._settings.data / target
