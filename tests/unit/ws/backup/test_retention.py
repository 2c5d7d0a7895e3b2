"""Which backups stay."""

from config.backup import BackupKeepSettings
from ws.backup.retention import plan
from ws.backup.sets import Entry


def entry(time: str, *, completed: bool = True, host: str = "a") -> Entry:
    manifest = f"m{time}" if completed else None
    return Entry(name=f"{time} {host}", stack="dev", host=host, time=f"{time}Z", manifest=manifest, snapshots=("s",))


def keep(**counts: int) -> BackupKeepSettings:
    return BackupKeepSettings(**{"last": 1, "daily": 0, "weekly": 0, "monthly": 0, **counts})


def removed(entries: list[Entry], settings: BackupKeepSettings) -> list[str]:
    return [one.name for one in plan(entries, settings).removed]


DAYS = [entry(f"2026-11-0{day}T0{hour}:00:00") for day in (1, 2, 3) for hour in (1, 2)]


def test_the_newest_stays_in_any_case():
    assert plan(DAYS, keep()).kept == (DAYS[-1],)


def test_of_each_day_the_newest_stays():
    assert plan(DAYS, keep(daily=2)).kept == (DAYS[3], DAYS[5])


def test_backup_that_any_key_asks_for_stays():
    assert plan(DAYS, keep(last=2, monthly=3, daily=3)).kept == (DAYS[1], DAYS[3], DAYS[4], DAYS[5])


def test_interrupted_one_goes_unless_it_is_the_newest():
    old, new = entry("2026-11-01T03:00:00", completed=False), entry("2026-11-09T03:00:00", completed=False)
    assert removed([*DAYS, old, new], keep(last=10)) == [old.name]


def test_an_interrupted_one_never_stands_for_its_day():
    only = [entry("2026-11-01T01:00:00"), entry("2026-11-01T02:00:00", completed=False), entry("2026-11-02T01:00:00")]
    assert removed(only, keep(daily=2)) == [only[1].name]


def test_hosts_do_not_count_for_each_other():
    other = entry("2026-10-01T01:00:00", host="b")
    assert other in plan([other, *DAYS], keep()).kept
