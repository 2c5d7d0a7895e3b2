"""A restic that kills whoever starts it, at a chosen moment: a backup or a restore that ends at exactly that stage."""

import shutil
from pathlib import Path

VARIABLE = "CSLR_TEST_KILLED_AT"  # words of restic's command line
# Its parent is killed while restic works, which then loses it as in reality: the script becomes restic.
PROGRAM = """\
#!/bin/sh
if [ -n "$CSLR_TEST_KILLED_AT" ]; then
    case "$*" in *"$CSLR_TEST_KILLED_AT"*) (sleep 0.3; kill -KILL "$PPID") >/dev/null 2>&1 & ;; esac
fi
exec {restic} "$@"
"""


def killing_restic(restic: Path, folder: Path) -> Path:
    """Makes the program in a folder of its own, which belongs at the head of PATH. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "restic"
    program.write_text(PROGRAM.format(restic=shutil.which(str(restic))))
    program.chmod(0o755)
    return folder
