"""Settings of backups: where they are kept, with which secrets, how long, and when they are made."""

from typing import Annotated

from pydantic import Field

from config.services import Settings
from config.types import BackupRepository, Calendar, HostFile

MOST_KEPT = 1000
Kept = Annotated[int, Field(ge=0, le=MOST_KEPT)]


class BackupKeepSettings(Settings):
    """Which backups `ws backup prune` keeps: those that any of the keys asks for."""

    last: Annotated[Kept, Field(ge=1)] = Field(default=3, description="Keep this many of the newest backups.")
    daily: Kept = Field(default=7, description="Keep the last backup of each of this many days.")
    weekly: Kept = Field(default=5, description="Keep the last backup of each of this many weeks.")
    monthly: Kept = Field(default=12, description="Keep the last backup of each of this many months.")
    yearly: Kept = Field(default=0, description="Keep the last backup of each of this many years.")


class BackupSettings(Settings):
    """Backups of the stack with restic (docs/backup.md)."""

    repository: BackupRepository | None = Field(
        default=None,
        description="Where backups are kept, in restic's notation: a folder's absolute path, "
        "`sftp:user@host:/srv/backup` or `s3:https://server/bucket`. Unset: no backups.",
        examples=["/mnt/backup/cslr"],
    )
    password_file: HostFile | None = Field(
        default=None,
        description="Absolute path of a file on this host with the password of the repository. Unset: the first "
        "backup generates one. Keep a copy elsewhere: without it, nothing can be restored.",
        examples=["/root/backup-password"],
    )
    s3_credentials: HostFile | None = Field(
        default=None,
        description="Absolute path of a file on this host with the credentials of an S3 server, in the format of "
        "`~/.aws/credentials`.",
        examples=["/root/backup-s3-credentials"],
    )
    schedule: Calendar = Field(
        default="*-*-* 02:30:00",
        description="When the timer of `ws backup schedule` runs `ws backup`, in the notation of systemd's "
        "`OnCalendar=`.",
    )
    keep: BackupKeepSettings = BackupKeepSettings()
