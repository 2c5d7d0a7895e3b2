"""Where backups may be kept."""

import pytest
from pydantic import TypeAdapter, ValidationError

from config.types import BackupRepository, Calendar

REPOSITORY, CALENDAR = TypeAdapter(BackupRepository), TypeAdapter(Calendar)


@pytest.mark.parametrize(
    "place",
    ["/mnt/backup", "sftp:me@nas:/srv/backup", "sftp://me@nas:2222//srv/backup", "s3:https://server/bucket/path"],
)
def test_folders_sftp_and_s3_are_places(place):
    assert REPOSITORY.validate_python(place) == place


@pytest.mark.parametrize("place", ["backup", "", "rest:https://server/", "s3:https://ser ver/b", "/mnt/\nx"])
def test_other_places_are_refused(place):
    with pytest.raises(ValidationError):
        REPOSITORY.validate_python(place)


@pytest.mark.parametrize("place", ["s3:https://key:secret@server/bucket", "sftp://me:secret@nas//srv"])
def test_password_in_an_address_is_refused(place):
    with pytest.raises(ValidationError, match="holds a password"):
        REPOSITORY.validate_python(place)


def test_a_schedule_cannot_add_lines_to_a_unit():
    assert CALENDAR.validate_python("Mon..Fri *-*-* 02:30:00") == "Mon..Fri *-*-* 02:30:00"
    with pytest.raises(ValidationError):
        CALENDAR.validate_python("daily\nExecStart=/bin/false")
