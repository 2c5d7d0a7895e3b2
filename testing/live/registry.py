"""A registry for one test: the program docker-registry on a free port of this host."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

USER, PASSWORD = "cslr", "right"
# By bcrypt, which the registry insists on.
HTPASSWD = "cslr:$2y$04$swxH44T9pvgPjLMu.sYRMefnEIWttcAOmyBl2cX./RmW/MgF.42qC\n"
START_SECONDS = 10.0


@dataclass(frozen=True)
class Registry:
    """The program while it runs. What it answers is asked without the code that is tested."""

    host: str

    def manifest(self, repository: str, reference: str, **auth: Any) -> requests.Response:
        """An image's manifest, or an index."""
        types = ("vnd.docker.distribution.manifest.v2", "vnd.docker.distribution.manifest.list.v2")
        accept = ", ".join(f"application/{name}+json" for name in types)
        return requests.get(
            f"http://{self.host}/v2/{repository}/manifests/{reference}", headers={"Accept": accept}, timeout=10, **auth
        )

    def digest(self, repository: str, reference: str, **auth: Any) -> str:
        """Of a manifest."""
        return self.manifest(repository, reference, **auth).headers["Docker-Content-Digest"]

    def tags(self, repository: str) -> set[str]:
        """What there is of a repository."""
        return set(requests.get(f"http://{self.host}/v2/{repository}/tags/list", timeout=10).json()["tags"])


def serve(program: Path, folder: Path, *, login: bool) -> Iterator[Registry]:
    """Runs the registry program with its storage in `folder`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if login:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    path = folder / "config.yml"
    path.write_text(json.dumps(config))  # which is YAML too
    with subprocess.Popen([program, "serve", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until_it_answers(port)
            yield Registry(f"localhost:{port}")
        finally:
            process.terminate()


def wait_until_it_answers(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            requests.get(f"http://127.0.0.1:{port}/v2/", timeout=1)
        except requests.ConnectionError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the registry did not answer within {START_SECONDS} s")
