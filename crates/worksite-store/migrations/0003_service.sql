-- The service: facts for durable subscriptions, the history of states, and where a message comes from.

-- The trace context a message was sent in (W3C traceparent), so that a trace goes on after a restart.
ALTER TABLE envelopes ADD COLUMN trace TEXT;
ALTER TABLE dead_letters ADD COLUMN trace TEXT;
ALTER TABLE history ADD COLUMN trace TEXT;

-- The offset of the last fact ever logged: none is given again.
ALTER TABLE site ADD COLUMN last_fact INTEGER NOT NULL DEFAULT 0 CHECK (last_fact >= 0);

-- Durable subscriptions: what each wants, and up to where it has acknowledged.
CREATE TABLE cursors (
    name      TEXT    PRIMARY KEY,
    position  INTEGER NOT NULL,
    missed    INTEGER NOT NULL DEFAULT 0 CHECK (missed >= 0), -- facts that retention took before they were acknowledged
    interest  TEXT    NOT NULL                                -- JSON
) STRICT, WITHOUT ROWID;

-- Facts that a durable subscription wants, in commit order. A site without one has none.
CREATE TABLE facts (
    id        INTEGER PRIMARY KEY CHECK (id > 0),
    at        INTEGER NOT NULL,
    person    INTEGER,
    encoding  INTEGER NOT NULL,
    type      TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    checksum  INTEGER NOT NULL,
    body      BLOB    NOT NULL
) STRICT;

-- Earlier states of routines that keep some, and which envelope made each.
CREATE TABLE state_history (
    person      INTEGER NOT NULL,
    routine     TEXT    NOT NULL,
    revision    INTEGER NOT NULL,
    written_at  INTEGER NOT NULL,
    envelope    INTEGER,
    encoding    INTEGER NOT NULL,
    type        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    checksum    INTEGER NOT NULL,
    body        BLOB    NOT NULL,
    PRIMARY KEY (person, routine, revision)
) STRICT, WITHOUT ROWID;
