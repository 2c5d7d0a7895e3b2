"""The queue's commands as one file for a person's computer, with the modules of this project that they need."""

import io
import zipfile
from importlib.metadata import version

from config.project import FOLDER

TOOLS = ("typer", "rich", "pathspec")  # distributions that they need beside Ray's own
BEGINNING = (1980, 1, 1, 0, 0, 0)  # of a zip's time, so that the same modules are the same file
MAIN = "import sys\n\nfrom ws.queue.laptop import main\n\nsys.exit(main())\n"
# What the commands import where the environment says where the queue is. What looks into a stack is not among it.
MODULES = (
    "build_report/__init__.py", "build_report/runs.py", "build_report/units.py",
    "config/__init__.py", "config/notation.py", "config/ports.py", "config/project.py", "config/types.py",
    "contracts/__init__.py", "contracts/document.py", "contracts/queue.py",
    "coordination/__init__.py", "coordination/printable.py", "coordination/regular_file.py",
    "scheduling/__init__.py", "scheduling/amounts.py", "scheduling/limits.py", "scheduling/model.py",
    "scheduling/words.py",
    "stack/__init__.py", "stack/identity.py", "stack/state.py",
    "ws/__init__.py", "ws/completion.py", "ws/drain_option.py", "ws/environment.py", "ws/errors.py",
    "ws/logs/__init__.py", "ws/logs/times.py", "ws/paths.py", "ws/progress.py",
    "ws/queue/__init__.py", "ws/queue/access.py", "ws/queue/client.py", "ws/queue/commands.py", "ws/queue/folder.py",
    "ws/queue/following.py", "ws/queue/laptop.py", "ws/queue/submitting.py", "ws/queue/view.py",
    "ws/running.py", "ws/tables.py", "ws/terminal.py",
)  # fmt: skip


def tools() -> dict[str, str]:
    """Distribution → version, as this project is tested with."""
    return {name: version(name) for name in TOOLS}


def archive() -> bytes:
    """The program: a zip that Python runs (zipapp's form)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name in MODULES:
            made.writestr(_entry(name), (FOLDER / name).read_bytes())
        made.writestr(_entry("__main__.py"), MAIN)
    return buffer.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, BEGINNING)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
