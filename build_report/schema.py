"""The store's schema, as migrations from an empty file. A released migration is never edited."""

MIGRATIONS = (
    """
    CREATE TABLE builds (
        number   INTEGER PRIMARY KEY,
        run      TEXT NOT NULL,
        tag      TEXT NOT NULL,
        image    TEXT NOT NULL,
        target   TEXT,
        variant  TEXT,
        flavour  TEXT NOT NULL,
        platform TEXT NOT NULL,
        engine   TEXT NOT NULL,
        started  REAL NOT NULL,
        ended    REAL NOT NULL,
        result   TEXT NOT NULL,
        error    TEXT NOT NULL,
        image_id TEXT,
        builder  TEXT NOT NULL,
        sent     INTEGER,
        timing   TEXT NOT NULL,
        cpu_peak REAL, cpu_mean REAL, memory_peak INTEGER, disk_before INTEGER, disk_after INTEGER
    );
    CREATE INDEX builds_by_tag ON builds (tag);
    CREATE INDEX builds_by_run ON builds (run);
    CREATE TABLE steps (
        build     INTEGER NOT NULL REFERENCES builds ON DELETE CASCADE,
        position  INTEGER NOT NULL,
        name      TEXT NOT NULL,
        started   REAL,
        completed REAL,
        cached    INTEGER NOT NULL,
        error     TEXT NOT NULL,
        PRIMARY KEY (build, position)
    ) WITHOUT ROWID;
    CREATE TABLE images (
        image_id     TEXT PRIMARY KEY,
        created      REAL NOT NULL,
        labels       TEXT NOT NULL,
        distribution TEXT NOT NULL,
        python       TEXT NOT NULL,
        torch        TEXT NOT NULL,
        torch_cuda   TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE layers (
        image_id   TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
        position   INTEGER NOT NULL,
        diff_id    TEXT NOT NULL,
        chain_id   TEXT NOT NULL,
        name       TEXT NOT NULL,
        size       INTEGER NOT NULL,
        created    REAL NOT NULL,
        PRIMARY KEY (image_id, position)
    ) WITHOUT ROWID;
    CREATE TABLE packages (
        image_id     TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
        kind         TEXT NOT NULL,
        name         TEXT NOT NULL,
        version      TEXT NOT NULL,
        size         INTEGER NOT NULL,
        architecture TEXT NOT NULL,
        source       TEXT NOT NULL,
        PRIMARY KEY (image_id, kind, name, version, architecture)
    ) WITHOUT ROWID;
    CREATE TABLE compressed (
        diff_id TEXT PRIMARY KEY,
        size    INTEGER NOT NULL,
        method  TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE samples (
        run    TEXT NOT NULL,
        time   REAL NOT NULL,
        cpu    REAL NOT NULL,
        memory INTEGER NOT NULL,
        disk   INTEGER,
        PRIMARY KEY (run, time)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE notes (
        run  TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE caches (
        run    TEXT PRIMARY KEY,
        before INTEGER NOT NULL,
        after  INTEGER
    ) WITHOUT ROWID;
    """,
)
