-- The first schema. Times are microseconds since 1970-01-01T00:00:00Z; the views at the end are for people.
--
-- The hot table, envelopes, has no secondary index: with 200,000 envelopes waiting, one index would make a message six
-- times as expensive. Who has what waiting is kept in memory, built by one scan when the file is opened.

-- One row of facts about the site. The highest id ever given stands here, so that none is given again after its row
-- has gone. The tallies are for ever: accepted = waiting + settled + buried + removed + quarantined.
CREATE TABLE site (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    last_envelope   INTEGER NOT NULL CHECK (last_envelope >= 0),
    incarnation     INTEGER NOT NULL CHECK (incarnation >= 0),
    closed_cleanly  INTEGER NOT NULL CHECK (closed_cleanly IN (0, 1)),
    accepted        INTEGER NOT NULL CHECK (accepted >= settled + buried + removed + quarantined),
    settled         INTEGER NOT NULL CHECK (settled >= 0),
    buried          INTEGER NOT NULL CHECK (buried >= 0),
    removed         INTEGER NOT NULL CHECK (removed >= 0),
    quarantined     INTEGER NOT NULL CHECK (quarantined >= 0)
) STRICT;
INSERT INTO site VALUES (1, 0, 0, 1, 0, 0, 0, 0, 0);

-- Everybody who was ever on the roster. Those who left keep their row, so that their mail keeps a name.
CREATE TABLE people (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    active     INTEGER NOT NULL CHECK (active IN (0, 1)),
    joined_at  INTEGER NOT NULL,
    left_at    INTEGER CHECK ((left_at IS NULL) = (active = 1))
) STRICT;

-- What waits. A row leaves only in the transaction that holds its consequences.
CREATE TABLE envelopes (
    id           INTEGER PRIMARY KEY CHECK (id > 0),
    recipient    INTEGER NOT NULL,
    sender       INTEGER,
    routine      TEXT,
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3),
    attempt      INTEGER NOT NULL CHECK (attempt >= 1),
    due          INTEGER,          -- waits for this moment: scheduled, or a retry
    not_before   INTEGER,
    expires_at   INTEGER,
    accepted_at  INTEGER NOT NULL,
    key          TEXT,
    kind         TEXT,
    channel      TEXT,
    thread       TEXT,
    reply_to     INTEGER,
    encoding     INTEGER NOT NULL, -- 1 bincode 2, 2 JSON
    type         TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    checksum     INTEGER NOT NULL, -- CRC-32 over encoding, version, type and body
    body         BLOB    NOT NULL
) STRICT;

-- What each routine of each person remembers.
CREATE TABLE states (
    person      INTEGER NOT NULL,
    routine     TEXT    NOT NULL,
    encoding    INTEGER NOT NULL,
    type        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    checksum    INTEGER NOT NULL,
    body        BLOB    NOT NULL,
    written_at  INTEGER NOT NULL,
    PRIMARY KEY (person, routine)
) STRICT, WITHOUT ROWID;

-- Idempotency keys: what became of the envelope that was accepted under each, and the reply.
CREATE TABLE keys (
    key          TEXT    PRIMARY KEY,
    envelope     INTEGER NOT NULL,
    accepted_at  INTEGER NOT NULL,
    fate         TEXT    NOT NULL CHECK (fate IN ('waiting', 'settled', 'buried', 'removed')),
    reason       TEXT,
    encoding     INTEGER,
    type         TEXT,
    version      INTEGER,
    checksum     INTEGER,
    body         BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_age ON keys (accepted_at);

-- Envelopes that were given up, with the reason.
CREATE TABLE dead_letters (
    id           INTEGER PRIMARY KEY,
    recipient    INTEGER NOT NULL,
    sender       INTEGER,
    routine      TEXT,
    priority     INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    due          INTEGER,
    not_before   INTEGER,
    expires_at   INTEGER,
    accepted_at  INTEGER NOT NULL,
    key          TEXT,
    kind         TEXT,
    channel      TEXT,
    thread       TEXT,
    reply_to     INTEGER,
    encoding     INTEGER NOT NULL,
    type         TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    checksum     INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    buried_at    INTEGER NOT NULL,
    failure      TEXT    NOT NULL,
    reason       TEXT    NOT NULL
) STRICT;

-- Rows that could not be read, as they were found, with what is wrong with them.
CREATE TABLE quarantine (
    id              INTEGER PRIMARY KEY,
    recipient       INTEGER NOT NULL,
    reason          TEXT    NOT NULL,
    row             TEXT    NOT NULL, -- the header columns as JSON
    body            BLOB
) STRICT;

CREATE VIEW waiting AS
SELECT e.id,
       coalesce(r.name, 'person ' || e.recipient) AS person,
       coalesce(s.name, CASE WHEN e.sender IS NULL THEN 'outside' ELSE 'person ' || e.sender END) AS sender,
       CASE e.priority WHEN 0 THEN 'low' WHEN 1 THEN 'normal' WHEN 2 THEN 'high' ELSE 'urgent' END AS priority,
       e.kind,
       e.type,
       strftime('%Y-%m-%d %H:%M:%f', e.accepted_at / 1e6, 'unixepoch') AS accepted,
       strftime('%Y-%m-%d %H:%M:%f', e.due / 1e6, 'unixepoch') AS due,
       e.attempt,
       e.thread,
       length(e.body) AS bytes,
       CASE e.encoding WHEN 2 THEN CAST(e.body AS TEXT) WHEN 1 THEN CASE e.type WHEN 'string' THEN substr(CAST(e.body AS TEXT), 2) END END AS text
FROM envelopes e
LEFT JOIN people r ON r.id = e.recipient
LEFT JOIN people s ON s.id = e.sender
ORDER BY e.recipient, e.priority DESC, e.id;

CREATE VIEW inboxes AS
SELECT coalesce(p.name, 'person ' || e.recipient) AS person,
       CASE p.active WHEN 1 THEN 'active' ELSE 'away' END AS roster,
       count(*) AS waiting,
       sum(length(e.body)) AS bytes,
       strftime('%Y-%m-%d %H:%M:%f', min(e.accepted_at) / 1e6, 'unixepoch') AS oldest
FROM envelopes e
LEFT JOIN people p ON p.id = e.recipient
GROUP BY e.recipient
ORDER BY waiting DESC;

CREATE VIEW dead AS
SELECT d.id,
       coalesce(p.name, 'person ' || d.recipient) AS person,
       d.type,
       d.attempt AS attempts,
       d.failure,
       d.reason,
       strftime('%Y-%m-%d %H:%M:%f', d.buried_at / 1e6, 'unixepoch') AS buried
FROM dead_letters d
LEFT JOIN people p ON p.id = d.recipient
ORDER BY d.id;
