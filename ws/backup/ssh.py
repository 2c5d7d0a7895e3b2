"""What ssh itself says of a repository behind SFTP. restic passes it on, but loses it where ssh ends at once."""

import re
import subprocess
from urllib.parse import urlsplit

SECONDS = 60.0
SHORT = re.compile(r"sftp:(?P<login>[^/:]+)")  # sftp:user@host:/path


def complaint(location: str) -> str:
    """Why ssh cannot log in without a question, in its words; empty if it can."""
    command = ["ssh", "-o", "BatchMode=yes", *_destination(location), "-s", "sftp"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.decode(errors="replace") if done.returncode else ""


def _destination(location: str) -> list[str]:
    if location.startswith("sftp://"):
        address = urlsplit(location)
        login = ["-l", address.username] if address.username else []
        return [*(["-p", str(address.port)] if address.port else []), *login, address.hostname or ""]
    found = SHORT.match(location)
    return [found["login"] if found else ""]
