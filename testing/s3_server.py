"""A real S3 server on a free port of the loopback, which knows one user and checks the signature of every request.

It is moto's, whose objects are in its memory.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import httpx

from testing.client_servers import HOST, free_port

SECONDS = 60.0
BUCKET = "backups"
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
# The requests that make the user are not signed: by its scope the server knows which of its services is meant.
SCOPE = "AWS4-HMAC-SHA256 Credential=nobody/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none"
CREDENTIALS = "[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server, with an empty bucket."""

    url: str
    key: str
    secret: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def location(self, bucket: str = BUCKET) -> str:
        """Of a repository."""
        return f"s3:{self.url}/{bucket}/cslr"

    def by(self, port: int) -> "Server":
        """The same server by another port."""
        return replace(self, url=f"http://{HOST}:{port}")

    def credentials(self, file: Path, *, key: str | None = None, secret: str | None = None) -> Path:
        """Writes a file with those of the user, or with others."""
        file.write_text(CREDENTIALS.format(key=key or self.key, secret=secret or self.secret))
        return file


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The server until the end of the block; its log is in `folder`."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "--host", HOST, "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=SECONDS) as client:
            _wait(client, process, folder / "log")
            client.put(f"/{BUCKET}").raise_for_status()
            _iam(client, "CreateUser")
            _iam(client, "PutUserPolicy", PolicyName="all", PolicyDocument=EVERYTHING)
            made = ElementTree.fromstring(_iam(client, "CreateAccessKey"))
            key, secret = (made.findtext(f".//{{*}}{name}") or "" for name in ("AccessKeyId", "SecretAccessKey"))
            plain = {"Content-Type": "text/plain"}
            client.post("/moto-api/reset-auth", content="0", headers=plain).raise_for_status()  # from now on, checked
            yield Server(url=str(client.base_url).rstrip("/"), key=key, secret=secret)
    finally:
        process.kill()
        process.wait()


def _iam(client: httpx.Client, action: str, **words: str) -> str:
    form = {"Action": action, "Version": "2010-05-08", "UserName": "backup", **words}
    return client.post("/", data=form, headers={"Authorization": SCOPE}).raise_for_status().text


def _wait(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            client.get("/moto-api/")
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the S3 server does not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)
        else:
            return
