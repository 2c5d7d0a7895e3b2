"""Common parts of all measurement reports, and writing a section of docs/benchmarks.md."""

import os
import platform
import re
import subprocess
from datetime import datetime
from pathlib import Path

import docker

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"
GIB = 2**30
WIDE = 120  # columns, if the output is not a terminal


def machine() -> dict[str, str]:
    """This host and what it runs on, for people."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    return {
        "date": f"{datetime.now().astimezone():%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.machine()}, {memory:.0f} GiB",
        "load before": f"{os.getloadavg()[1]:.1f} over 5 minutes",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "Docker Engine": str(docker.from_env().version()["Version"]),
    }


def version_of(*command: str) -> str:
    """A program's version, in one line."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]


def write_section(name: str, content: str, *, by: str | None = None, document: Path = DOCUMENT) -> None:
    """Writes a section of a document, in place of the existing section of that name.

    `by`: the module that measured it, where it is not called as the section.
    """
    begin, end = f"<!-- {name}: begin, written by python -m bench.{by or name} -->", f"<!-- {name}: end -->"
    text = document.read_text() if document.exists() else "# Benchmarks\n"
    section = f"{begin}\n{content.strip()}\n{end}"
    if begin in text:
        before, rest = text.split(begin, 1)
        text = before + section + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    document.write_text(text)
