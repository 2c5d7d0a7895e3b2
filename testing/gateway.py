"""Runs the gateway as a separate process."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from contracts.document import SETTINGS_VARIABLE, dump
from contracts.gateway import GatewaySettings, Route, Target
from contracts.redis import RedisAccess
from testing.harness import PROJECT
from testing.redis_pair import until
from testing.redis_users import REDIS_PASSWORD
from testing.servers import free_port


def settings(**changes: Any) -> GatewaySettings:
    usual: dict[str, Any] = {
        "host": "alpha",
        "address": "127.0.0.1",
        "candidate": True,
        "routes": (Route(listen=("127.0.0.1:6379",), target=Target.GCS),),
        "redis": access("127.0.0.1:6381"),
    }
    return GatewaySettings(**usual | changes)


def access(*addresses: object, password_file: Path = Path("/run/secrets/redis-password")) -> RedisAccess:
    return RedisAccess(addresses=tuple(map(str, addresses)), namespace="cslr-lab", password_file=password_file)


class GatewayProcess:
    """As its container runs it."""

    def __init__(self, folder: Path, *redis: object, **changes: Any) -> None:
        self.port = free_port()
        password = folder / "redis-password"
        password.write_text(REDIS_PASSWORD)
        told = settings(
            routes=(Route(listen=(f"127.0.0.1:{self.port}",), target=Target.GCS),),
            redis=access(*redis or ("127.0.0.1:6381",), password_file=password),
            **changes,
        )
        self.environment = os.environ | {"TMPDIR": str(folder), SETTINGS_VARIABLE: dump(told)}
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> "GatewayProcess":
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "entrypoints.gateway.gateway"],
                env=self.environment,
                cwd=PROJECT,
                stdout=log,
                stderr=log,
            )
        until(lambda: self.health()[0] == 0)
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()

    def health(self) -> tuple[int, str]:
        """Its health check: exit code and what it says."""
        command = [sys.executable, "-m", "entrypoints.gateway.gateway", "health"]
        ended = subprocess.run(command, env=self.environment, cwd=PROJECT, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout

    def reaches(self) -> str:
        """What a connection to the stable address reaches: the name of an echo, or nothing."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.settimeout(2)
            return connection.recv(100).decode()
        return ""
