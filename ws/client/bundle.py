"""The files of a bundle: their names, modes and contents."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contracts import ray_tls
from ws.client import queue_program
from ws.client.endpoints import CLIENT, DASHBOARD, MLFLOW, NOTEBOOKS, QUEUE, Endpoint

FOLDER = Path(__file__).parent
TEMPLATES, LAPTOP = FOLDER / "templates", FOLDER / "laptop"
FACTS = "bundle.json"  # by which a bundle is known, and which its `check` reads
MADE_BY = "ws client"
RAY_TOKEN, NOTEBOOK_TOKEN = "ray-token", "marimo-token"
EXTRAS = {"ray": "ray[client,default]"}  # of the distributions: what the command `ray job` and Ray Client need
PLAIN, PROGRAM, SECRET = 0o644, 0o755, 0o600
AUTHORITY = "authority.pem"  # of the certificates of a stack with TLS that makes its own
QUEUE_COMMAND, QUEUE_PROGRAM = "bin/ws", "bin/ws.pyz"  # of the queue, if the stack has one
# Files made of the template of their name, and their modes.
RENDERED = {
    "README.md": PLAIN,
    "pyproject.toml": PLAIN,
    ".python-version": PLAIN,
    ".gitignore": PLAIN,
    "environment": PLAIN,
    "tunnel": PROGRAM,
    "check": PROGRAM,
    QUEUE_COMMAND: PROGRAM,
}
COPIED = ("check.py", "jobs/hello.py")
ALL_FILES = frozenset({*RENDERED, *COPIED, FACTS, RAY_TOKEN, NOTEBOOK_TOKEN, AUTHORITY, QUEUE_PROGRAM, *ray_tls.FILES})


@dataclass(frozen=True, kw_only=True)
class Content:
    """The content of a file, and its mode."""

    data: bytes = field(repr=False)
    mode: int = PLAIN

    @property
    def text(self) -> str:
        """Of a file that is one."""
        return self.data.decode(errors="replace")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """All that the files are made of."""

    stack: str
    python: str  # minor version
    packages: Mapping[str, str]  # distribution → version, as in the stack's images
    tools: Mapping[str, str]  # the same of what the queue's commands need, whatever the images have
    endpoints: tuple[Endpoint, ...]
    host: str  # the stack's
    user: str | None  # to log in there as; None: as OpenSSH's config says
    login: str = ""  # lines for ~/.ssh/config that lead to the devel container; empty without one
    mlflow_logins: bool = False  # whether MLflow wants to know who asks
    authority: str = ""  # its certificate, as PEM; empty where the stack has none of its own
    ray_certificate: Mapping[str, str] = field(default_factory=dict, repr=False)  # file → PEM, with Ray's own TLS
    ray_token: str = field(repr=False)
    notebook_token: str = field(repr=False)

    @property
    def tunnelled(self) -> tuple[Endpoint, ...]:
        """What the tunnel leads to."""
        return tuple(one for one in self.endpoints if one.target)

    def endpoint(self, name: str) -> Endpoint | None:
        """The endpoint of this name, if the stack has it."""
        return next((one for one in self.endpoints if one.name == name), None)

    def files(self) -> dict[str, Content]:
        """Name → content."""
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=False,  # noqa: S701 (none of them is HTML)
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["quoted"] = shlex.quote
        values = self._values()
        found = {
            name: Content(
                data=environment.get_template(f"{name.removeprefix('.')}.j2").render(values).encode(), mode=mode
            )
            for name, mode in RENDERED.items()
            if (name != "tunnel" or self.tunnelled) and (name != QUEUE_COMMAND or self.endpoint(QUEUE))
        }
        found |= {name: Content(data=(LAPTOP / name).read_bytes()) for name in COPIED}
        found[FACTS] = Content(data=(json.dumps(self._facts(), indent=2) + "\n").encode())
        if self.endpoint(QUEUE):
            found[QUEUE_PROGRAM] = Content(data=queue_program.archive())
        if self.endpoint(DASHBOARD) or self.endpoint(QUEUE):
            found[RAY_TOKEN] = Content(data=self.ray_token.encode(), mode=SECRET)
        if self.endpoint(CLIENT):
            found |= {name: Content(data=text.encode(), mode=SECRET) for name, text in self.ray_certificate.items()}
        if self.authority:
            found[AUTHORITY] = Content(data=self.authority.encode())
        if self.endpoint(NOTEBOOKS):
            found[NOTEBOOK_TOKEN] = Content(data=self.notebook_token.encode(), mode=SECRET)
        return found

    def _values(self) -> dict[str, object]:
        return {
            "bundle": self,
            "dashboard": self.endpoint(DASHBOARD),
            "client": self.endpoint(CLIENT),
            "mlflow": self.endpoint(MLFLOW),
            "notebooks": self.endpoint(NOTEBOOKS),
            "queue": self.endpoint(QUEUE),
            "requirements": [
                f"{EXTRAS.get(name, name)}=={version}" for name, version in {**self.packages, **self.tools}.items()
            ],
            "ray_tls": ray_tls.environment("$bundle") if self.ray_certificate else {},
            "destination": f"{self.user}@{self.host}" if self.user else self.host,
            # What a proxy of the person's site must not be asked for.
            "near": list(dict.fromkeys(one.host for one in self.endpoints)),
        }

    def _facts(self) -> dict[str, object]:
        return {
            "made_by": MADE_BY,
            "stack": self.stack,
            "host": self.host,
            "python": self.python,
            "packages": dict(self.packages),
            "services": [
                {"name": one.name, "title": one.title, "url": one.url, "tunnel": bool(one.target)}
                for one in self.endpoints
            ],
        }
