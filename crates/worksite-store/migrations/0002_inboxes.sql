-- Inboxes complete: the control lane, drops, rest, threads with their history, cooldowns, and what retention needs.

-- The control lane is priority 4: a CHECK can only be changed by writing the table again.
CREATE TABLE envelopes_2 (
    id           INTEGER PRIMARY KEY CHECK (id > 0),
    recipient    INTEGER NOT NULL,
    sender       INTEGER,
    routine      TEXT,
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 4),
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
INSERT INTO envelopes_2 SELECT * FROM envelopes;
DROP VIEW waiting;
DROP VIEW inboxes;
DROP TABLE envelopes;
ALTER TABLE envelopes_2 RENAME TO envelopes;

-- Envelopes that gave way to newer ones in a full inbox. Now accepted = waiting + settled + buried + removed + dropped +
-- quarantined.
ALTER TABLE site ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0 CHECK (dropped >= 0);

-- A worker that rests takes only control mail.
ALTER TABLE people ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
CREATE INDEX people_left ON people (left_at) WHERE active = 0;

ALTER TABLE quarantine ADD COLUMN found_at INTEGER NOT NULL DEFAULT 0;
-- What was found earlier counts from now on.
UPDATE quarantine SET found_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER);
CREATE INDEX quarantine_by_age ON quarantine (found_at);
CREATE INDEX dead_letters_by_age ON dead_letters (buried_at);

-- Which envelopes belong to a thread. Mail without one costs nothing here.
CREATE TABLE threads (
    thread    TEXT    NOT NULL,
    envelope  INTEGER NOT NULL,
    PRIMARY KEY (thread, envelope)
) STRICT, WITHOUT ROWID;
INSERT INTO threads SELECT thread, id FROM envelopes WHERE thread IS NOT NULL
              UNION SELECT thread, id FROM dead_letters WHERE thread IS NOT NULL;

-- Envelopes of threads that have left their inboxes.
CREATE TABLE history (
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
    thread       TEXT    NOT NULL,
    reply_to     INTEGER,
    encoding     INTEGER NOT NULL,
    type         TEXT    NOT NULL,
    version      INTEGER NOT NULL,
    checksum     INTEGER NOT NULL,
    body         BLOB    NOT NULL,
    left_at      INTEGER NOT NULL,
    standing     TEXT    NOT NULL CHECK (standing IN ('settled', 'removed', 'dropped'))
) STRICT;
CREATE INDEX history_by_age ON history (left_at);

-- Until when nothing else with a cooldown goes from a sender to a recipient through a channel. Mail from outside has
-- sender 0 here, and mail without a channel an empty one.
CREATE TABLE cooldowns (
    channel    TEXT    NOT NULL,
    sender     INTEGER NOT NULL,
    recipient  INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    PRIMARY KEY (channel, sender, recipient)
) STRICT, WITHOUT ROWID;
CREATE INDEX cooldowns_by_end ON cooldowns (until);

CREATE VIEW waiting AS
SELECT e.id,
       coalesce(r.name, 'person ' || e.recipient) AS person,
       coalesce(s.name, CASE WHEN e.sender IS NULL THEN 'outside' ELSE 'person ' || e.sender END) AS sender,
       CASE e.priority WHEN 0 THEN 'low' WHEN 1 THEN 'normal' WHEN 2 THEN 'high' WHEN 3 THEN 'urgent' ELSE 'control' END AS priority,
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
       CASE p.active WHEN 1 THEN CASE p.paused WHEN 1 THEN 'paused' ELSE 'active' END ELSE 'away' END AS roster,
       count(*) AS waiting,
       sum(length(e.body)) AS bytes,
       strftime('%Y-%m-%d %H:%M:%f', min(e.accepted_at) / 1e6, 'unixepoch') AS oldest
FROM envelopes e
LEFT JOIN people p ON p.id = e.recipient
GROUP BY e.recipient
ORDER BY waiting DESC;

-- The table of seed 000, for who knows it: its columns, and its payload. Mail that is no InboundMessage is shown as one.
CREATE VIEW worker_runtime_messages AS
SELECT e.id,
       e.recipient AS recipient_id,
       CASE WHEN e.encoding = 2 AND e.type = 'inbound message' THEN CAST(e.body AS TEXT)
            ELSE json_object('sender_id', coalesce(e.sender, 0),
                             'sender_name', coalesce(s.name, 'System'),
                             'subject', coalesce(e.thread, ''),
                             'summary', CASE e.encoding WHEN 2 THEN CAST(e.body AS TEXT) ELSE e.type || ', ' || length(e.body) || ' bytes' END,
                             'action_item', NULL,
                             'message_type', coalesce(e.kind, e.type),
                             'channel', coalesce(e.channel, 'system'),
                             'tick', 0) END AS payload,
       strftime('%Y-%m-%d %H:%M:%S', e.accepted_at / 1e6, 'unixepoch') AS created_at
FROM envelopes e
LEFT JOIN people s ON s.id = e.sender
ORDER BY e.id;
