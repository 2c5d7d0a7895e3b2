"""The tables of the queue, as migrations: each is applied once, in its order, and never changed afterwards.

Times are Unix time, in seconds. A submission is stored as it was sent. What an attempt holds, and whose it is, is in
its own row too, so that the sums of usage read one table.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE jobs (
        id text PRIMARY KEY,
        user_name text NOT NULL,
        submission jsonb NOT NULL,
        submitted double precision NOT NULL,
        queued double precision NOT NULL,    -- since when it waits: of a job that was retried, since then
        phase text NOT NULL,                 -- the columns of scheduling/lifecycle.py's Record
        attempt integer NOT NULL,
        lost integer NOT NULL,
        cause text,
        missing_since double precision,
        outcome text,
        version integer NOT NULL,
        nodes text[] NOT NULL,               -- of the present or last attempt, as all below
        borrowed boolean NOT NULL,
        started double precision,
        ended double precision,
        message text,
        told_long boolean NOT NULL           -- its user, that it waits long
    );
    CREATE INDEX jobs_unended ON jobs (id) WHERE phase <> 'ended';
    CREATE INDEX jobs_by_time ON jobs (submitted DESC, id);

    CREATE TABLE attempts (
        job text NOT NULL REFERENCES jobs,
        number integer NOT NULL,
        user_name text NOT NULL,
        project text NOT NULL,               -- empty: none
        submission text NOT NULL,            -- its id in Ray
        nodes text[] NOT NULL,
        gpus double precision NOT NULL,      -- of all parts
        cpus double precision NOT NULL,
        memory double precision NOT NULL,
        waited double precision NOT NULL,    -- seconds
        started double precision NOT NULL,
        ended double precision,
        why_ended text,
        PRIMARY KEY (job, number)
    );
    CREATE INDEX attempts_by_end ON attempts (ended);

    CREATE TABLE users (
        name text PRIMARY KEY,
        usage double precision NOT NULL,     -- decayed charge of ended attempts, as of usage_at
        usage_at double precision NOT NULL,
        last_turn double precision
    );

    CREATE TABLE line (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        first_in_line text
    );
    INSERT INTO line DEFAULT VALUES;

    CREATE TABLE notices (                   -- what users are to be told: written with the change that it tells
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        job text NOT NULL REFERENCES jobs,
        event text NOT NULL,
        at double precision NOT NULL
    );
    """,
    # When Ray began an attempt, which holds its place from `started` on. Of those until now, that is not known.
    """
    ALTER TABLE jobs ADD COLUMN begun double precision;
    ALTER TABLE attempts ADD COLUMN begun double precision;
    UPDATE jobs SET begun = started WHERE phase <> 'starting';
    UPDATE attempts SET begun = started;
    """,
)
