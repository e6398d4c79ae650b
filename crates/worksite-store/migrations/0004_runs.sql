-- The run queue: runs, live and ended, the sessions they belong to, and schedules that ask for them.
--
-- A run's id is a UUID of version 7, which grows: its first half is the row's number, so that adding goes to the end of the
-- table and needs no index. Live runs are found by a partial index that a claim does not touch.

CREATE TABLE runs (
    number             INTEGER PRIMARY KEY CHECK (number > 0),
    tail               INTEGER NOT NULL,
    status             TEXT    NOT NULL CHECK (status IN ('pending', 'claimed', 'running', 'stopping', 'completed', 'failed', 'stopped')),
    kind               TEXT    NOT NULL CHECK (kind IN ('plain', 'start_session', 'resume_session')),
    session            TEXT    CHECK ((session IS NULL) = (kind = 'plain')),
    parent             TEXT,
    mode               TEXT    NOT NULL CHECK (mode IN ('sync', 'async_poll', 'async_callback')),
    agent              TEXT,
    project_dir        TEXT,
    demands            TEXT,              -- JSON; none: any runner will do
    priority           INTEGER NOT NULL,
    unique_key         TEXT,
    limit_key          TEXT,
    schedule           TEXT,
    attempts_max       INTEGER NOT NULL CHECK (attempts_max > 0),
    lease              INTEGER,           -- microseconds, as is claimed_within
    claimed_within     INTEGER,
    created_at         INTEGER NOT NULL,
    due                INTEGER,
    deadline           INTEGER,
    runner             TEXT,
    fence              INTEGER NOT NULL CHECK (fence >= 0),
    attempts           INTEGER NOT NULL CHECK (attempts >= 0),
    epoch              INTEGER NOT NULL,  -- the life of the site in which it was last claimed
    claimed_at         INTEGER,
    started_at         INTEGER,
    lease_until        INTEGER,
    stop_requested_at  INTEGER,
    ended_at           INTEGER CHECK ((ended_at IS NULL) = (status IN ('pending', 'claimed', 'running', 'stopping'))),
    error              TEXT,
    called_back        TEXT,              -- the run that told the parent session of its end
    encoding           INTEGER,
    type               TEXT,
    version            INTEGER,
    checksum           INTEGER,
    body               BLOB,
    result_encoding    INTEGER,
    result_type        TEXT,
    result_version     INTEGER,
    result_checksum    INTEGER,
    result_body        BLOB
) STRICT;
CREATE INDEX runs_live ON runs (ended_at) WHERE ended_at IS NULL;
CREATE INDEX runs_ended ON runs (status, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_by_session ON runs (session) WHERE session IS NOT NULL;
CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX runs_by_key ON runs (unique_key) WHERE unique_key IS NOT NULL AND ended_at IS NULL;
CREATE INDEX runs_owing ON runs (mode) WHERE mode = 'async_callback' AND called_back IS NULL AND ended_at IS NOT NULL;

-- A session has no status of its own that could disagree with its runs: it is that of its latest one.
CREATE TABLE sessions (
    id           TEXT    PRIMARY KEY,
    agent        TEXT,
    project_dir  TEXT,
    parent       TEXT,
    created_at   INTEGER NOT NULL,
    place        TEXT                     -- JSON: where it was last worked on
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_age ON sessions (created_at);

CREATE TABLE schedules (
    name      TEXT    PRIMARY KEY,
    cron      TEXT    NOT NULL,
    zone      TEXT    NOT NULL,
    next      INTEGER,
    schedule  TEXT    NOT NULL            -- JSON, whole
) STRICT, WITHOUT ROWID;

CREATE VIEW run_queue AS
SELECT printf('run_%08x-%04x-%04x-%04x-%012x', number >> 32, (number >> 16) & 65535, number & 65535,
              (tail >> 48) & 65535, tail & 281474976710655) AS id,
       status, agent, session, priority, demands, runner, attempts, error,
       strftime('%Y-%m-%d %H:%M:%f', created_at / 1e6, 'unixepoch') AS created,
       strftime('%Y-%m-%d %H:%M:%f', claimed_at / 1e6, 'unixepoch') AS claimed,
       strftime('%Y-%m-%d %H:%M:%f', ended_at / 1e6, 'unixepoch') AS ended,
       CASE encoding WHEN 2 THEN CAST(body AS TEXT) WHEN 1 THEN CASE type WHEN 'string' THEN substr(CAST(body AS TEXT), 2) END END AS text
FROM runs
ORDER BY number;
