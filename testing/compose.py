"""Docker Compose, where this machine has it: as a plugin of the Docker CLI, or as a program of its own."""

import shutil
import subprocess

NOT_HERE = "Docker Compose is not here (`docker compose`, or `docker-compose` on PATH)"
MAJOR = 2  # the first major version that reads what we write


def compose_command() -> list[str] | None:
    """The command; None where there is none, or only the first generation of it."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if not shutil.which(command[0]):
            continue
        version = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
        major = version.stdout.strip().removeprefix("v").partition(".")[0]
        if version.returncode == 0 and major.isdigit() and int(major) >= MAJOR:
            return command
    return None
