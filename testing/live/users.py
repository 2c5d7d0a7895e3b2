"""Users of a deployed stack: they submit the programs of `programs` over HTTP and check the results.

As `ray job submit --working-dir` does it: a folder is uploaded under the digest of its content, then a job names it.
"""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

PROGRAMS = Path(__file__).with_name("programs")
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
HTTP_SECONDS = 30.0
POLL_SECONDS = 0.3
WAIT_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One that was submitted, as it is now."""

    id: str
    status: str
    message: str
    log: str

    @property
    def succeeded(self) -> bool:
        return self.status == "SUCCEEDED"

    @property
    def said(self) -> str:
        """What its user sees of it."""
        return f"{self.status}: {self.message}\n{self.log[-20_000:]}"


@dataclass(frozen=True, kw_only=True)
class User:
    """A user who has the token of a stack's Ray."""

    dashboard: str  # URL without a slash at the end
    token: str
    session: requests.Session = field(default_factory=requests.Session)

    def submit(
        self,
        program: str,
        *arguments: object,
        runtime_env: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        **fields: object,
    ) -> str:
        """Begins a job of one of the programs, beside it `files` in its folder. Returns its ID."""
        entrypoint = " ".join(["python", f"{program}.py", *map(str, arguments)])
        folder = {**{path.name: path.read_bytes() for path in PROGRAMS.glob("*.py")}, **(files or {})}
        return self.command(
            entrypoint, runtime_env={"working_dir": self.upload(folder), **(runtime_env or {})}, **fields
        )

    def command(self, entrypoint: str, **fields: object) -> str:
        """Begins a job of a command. Returns its ID."""
        return str(self._call("POST", "/api/jobs/", json={"entrypoint": entrypoint, **fields})["submission_id"])

    def upload(self, folder: Mapping[str, bytes]) -> str:
        """Uploads a folder if the cluster does not have it. Returns its URI."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, data in sorted(folder.items()):
                archive.writestr(zipfile.ZipInfo(name), data)
        name = f"_ray_pkg_{hashlib.sha256(content.getvalue()).hexdigest()[:16]}.zip"
        url = f"{self.dashboard}/api/packages/gcs/{name}"
        if self._request("GET", url).status_code == 404:
            answer = self._request("PUT", url, data=content.getvalue())
            assert answer.ok, f"upload of {len(content.getvalue()) >> 20} MB: {answer.status_code} {answer.text[:500]}"
        return f"gcs://{name}"

    def job(self, job: str) -> Job:
        """How a job is now."""
        about = self._call("GET", f"/api/jobs/{job}")
        message = about.get("message") or ""
        return Job(id=job, status=about["status"], message=message, log=self.log(job))

    def log(self, job: str) -> str:
        """All that its driver wrote."""
        return str(self._call("GET", f"/api/jobs/{job}/logs")["logs"])

    def status(self, job: str) -> str:
        return str(self._call("GET", f"/api/jobs/{job}")["status"])

    def wait(self, job: str, seconds: float = WAIT_SECONDS) -> Job:
        """The job at its end. Fails if it does not come."""
        deadline = time.monotonic() + seconds
        while self.status(job) not in ENDED:
            assert time.monotonic() < deadline, f"not ended within {seconds:.0f} s: {self.job(job).said}"
            time.sleep(POLL_SECONDS)
        return self.job(job)

    def run(self, program: str, *arguments: object, seconds: float = WAIT_SECONDS, **options: Any) -> Job:
        """A job from its beginning to its end."""
        return self.wait(self.submit(program, *arguments, **options), seconds)

    def stop(self, job: str) -> None:
        self._call("POST", f"/api/jobs/{job}/stop")

    def delete(self, job: str) -> None:
        """Removes an ended job from the cluster's table."""
        self._call("DELETE", f"/api/jobs/{job}")

    def _call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._request(method, self.dashboard + path, **options)
        assert answer.ok, f"{method} {path} answered {answer.status_code}: {answer.text[:1000]}"
        return json.loads(answer.content)

    def _request(self, method: str, url: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.session.request(method, url, headers=headers, timeout=HTTP_SECONDS, **options)
