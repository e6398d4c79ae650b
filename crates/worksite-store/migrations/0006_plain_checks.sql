-- What a column may hold is asked with OR, no longer with IN: for a list of more than two SQLite builds a table in memory each
-- time a row is written, and a run had four such lists (seventeen entries), which cost more than writing it.
--
-- The same values are allowed as before and no row changes, so the words are replaced where they stand, as the manual of ALTER
-- TABLE has it for changes of a CHECK; a copy of the tables would lose triggers and indexes that an application made on them.
-- At the end the schema is read anew, and making the view again tells other connections to do so, too.

PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(replace(replace(replace(sql,
    'CHECK (status IN (''pending'', ''claimed'', ''running'', ''stopping'', ''completed'', ''failed'', ''stopped''))',
    'CHECK (status = ''pending'' OR status = ''claimed'' OR status = ''running'' OR status = ''stopping'' OR status = ''completed'' OR status = ''failed'' OR status = ''stopped'')'),
    'CHECK (kind IN (''plain'', ''start_session'', ''resume_session''))',
    'CHECK (kind = ''plain'' OR kind = ''start_session'' OR kind = ''resume_session'')'),
    'CHECK (mode IN (''sync'', ''async_poll'', ''async_callback''))',
    'CHECK (mode = ''async_poll'' OR mode = ''sync'' OR mode = ''async_callback'')'),
    'CHECK ((ended_at IS NULL) = (status IN (''pending'', ''claimed'', ''running'', ''stopping'')))',
    'CHECK ((ended_at IS NULL) = (status = ''pending'' OR status = ''claimed'' OR status = ''running'' OR status = ''stopping''))')
WHERE type = 'table' AND name = 'runs';
UPDATE sqlite_schema SET sql = replace(sql,
    'CHECK (fate IN (''waiting'', ''settled'', ''buried'', ''removed''))',
    'CHECK (fate = ''waiting'' OR fate = ''settled'' OR fate = ''buried'' OR fate = ''removed'')')
WHERE type = 'table' AND name = 'keys';
UPDATE sqlite_schema SET sql = replace(sql,
    'CHECK (standing IN (''settled'', ''removed'', ''dropped''))',
    'CHECK (standing = ''settled'' OR standing = ''removed'' OR standing = ''dropped'')')
WHERE type = 'table' AND name = 'history';
PRAGMA writable_schema = RESET;

DROP VIEW run_queue;
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
