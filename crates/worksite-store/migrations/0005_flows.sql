-- Flows: a row for each job. What waits in slots, and turns to come, are rows of their worker's states.

CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY CHECK (id > 0),  -- its envelope's id times 2^20, and its place in the post
    worker      INTEGER NOT NULL,
    flow        TEXT    NOT NULL,
    status      INTEGER NOT NULL CHECK (status BETWEEN 1 AND 4), -- 1 running, 2 completed, 3 failed, 4 cancelled
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER CHECK ((ended_at IS NULL) = (status = 1)),
    deadline    INTEGER,
    parent      INTEGER,
    error       TEXT,
    encoding    INTEGER,
    type        TEXT,
    version     INTEGER,
    checksum    INTEGER,
    body        BLOB
) STRICT;

-- Only jobs that outlive their first commit cost anything here.
CREATE INDEX jobs_open ON jobs (worker) WHERE ended_at IS NULL;

CREATE VIEW job_list AS
SELECT j.id,
       coalesce(p.name, 'person ' || j.worker) AS worker,
       j.flow,
       CASE j.status WHEN 1 THEN 'running' WHEN 2 THEN 'completed' WHEN 3 THEN 'failed' ELSE 'cancelled' END AS status,
       strftime('%Y-%m-%d %H:%M:%f', j.created_at / 1e6, 'unixepoch') AS created,
       strftime('%Y-%m-%d %H:%M:%f', j.ended_at / 1e6, 'unixepoch') AS ended,
       j.error,
       CAST(j.body AS TEXT) AS notes
FROM jobs j
LEFT JOIN people p ON p.id = j.worker
ORDER BY j.id;
