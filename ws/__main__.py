"""`python -m ws` in the project's folder, and `ws` from any folder."""

import os
import sys
from pathlib import Path


def from_any_folder() -> int:
    """The console script that pip installs: goes to the project and keeps the caller's folder, as `bin/ws` does."""
    project = str(Path(__file__).parent.parent)
    os.environ.setdefault("CSLR_CALLED_FROM", os.getcwd())  # noqa: PTH109  (a folder that is gone is named in words)
    os.chdir(project)
    sys.path.insert(0, project)
    return _main()


def _main() -> int:
    if sys.platform == "win32":
        print(
            "ws: this platform runs on Linux, on Windows inside WSL2: wsl --install -d Debian, then bin\\ws.cmd or "
            "bin\\ws.ps1 (docs/windows-and-macos.md)",
            file=sys.stderr,
        )
        return 1
    from ws.cli import main  # after the path is set: the other packages are found in the project alone

    return main()


if __name__ == "__main__":
    sys.exit(_main())
