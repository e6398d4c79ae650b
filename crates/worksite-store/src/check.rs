//! The check owns what can be said of a whole file by looking at it: whether SQLite finds it sound, and whether the laws
//! that a file can show hold in it.

use crate::error::read_error;
use crate::open::Mirrors;
use crate::reader::Reader;
use crate::{row, run};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use worksite_model::{StoreError, Tally};

/// How many problems of one kind are told one by one.
const TOLD_MAX: usize = 20;

/// What was found in a file, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// What is wrong, a sentence each; empty for a sound file. Of each kind the first 20 are told, and the rest counted.
    pub problems: Vec<String>,
    /// Envelopes that wait.
    pub envelopes: u64,
    /// States of routines.
    pub states: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Envelopes of threads that have left their inboxes.
    pub history: u64,
    /// Envelopes in threads, wherever they are.
    pub threads: u64,
    /// Idempotency keys.
    pub keys: u64,
    /// Rows that could not be read and were set aside.
    pub quarantine: u64,
    /// People who were ever on the roster.
    pub people: u64,
    /// Runs of the queue, live and ended.
    pub runs: u64,
    /// Jobs of flows.
    pub jobs: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Reader {
    /// Looks at the whole file, of one moment: SQLite's own integrity check, conservation, ids, keys, threads, people,
    /// the checksum of every body, and runs. Beside a living owner too; it takes about as long as reading the file twice.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read at all. Damage that leaves it readable is a problem in the report.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        check(&self.connection)
    }
}

/// A law that a file can show: adds what breaks it.
type Law = fn(&Connection, &mut Vec<String>) -> rusqlite::Result<()>;

const LAWS: [(&str, Law); 7] = [
    ("conservation", conservation),
    ("ids", ids),
    ("keys", keys),
    ("threads", threads),
    ("people", people),
    ("bodies", bodies),
    ("runs", runs),
];

pub(crate) fn check(connection: &Connection) -> Result<CheckReport, StoreError> {
    let failed = |error: rusqlite::Error| read_error(&error);
    // One snapshot for all, or the counts would not fit each other beside a living owner.
    let _snapshot = connection.unchecked_transaction().map_err(failed)?;
    let mut report = CheckReport { problems: integrity(connection).map_err(failed)?, ..CheckReport::default() };
    let damaged = !report.problems.is_empty();
    for (name, law) in LAWS {
        match law(connection, &mut report.problems) {
            Ok(()) => {}
            Err(error) if damaged => report.problems.push(format!("{name}: cannot be looked at: {error}")),
            Err(error) => return Err(failed(error)),
        }
    }
    for (table, place) in [
        ("envelopes", &mut report.envelopes),
        ("states", &mut report.states),
        ("dead_letters", &mut report.dead_letters),
        ("history", &mut report.history),
        ("threads", &mut report.threads),
        ("keys", &mut report.keys),
        ("quarantine", &mut report.quarantine),
        ("people", &mut report.people),
        ("runs", &mut report.runs),
        ("jobs", &mut report.jobs),
    ] {
        match count(connection, &format!("SELECT count(*) FROM {table}")) {
            Ok(found) => *place = found,
            Err(_) if damaged => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(report)
}

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let told = lines.collect::<rusqlite::Result<Vec<_>>>()?.join("\n");
    let lines = told.lines().filter(|line| *line != "ok" && !line.starts_with("***"));
    Ok(lines.map(|line| format!("sqlite: {line}")).collect())
}

fn conservation(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    let mirrors = Mirrors::load(connection)?;
    let tally = Tally { waiting: mirrors.index.total(), ..mirrors.tally };
    if !tally.is_conserved() {
        let Tally { accepted, waiting, settled, buried, removed, dropped, quarantined } = tally;
        problems.push(format!(
            "conservation: {accepted} were accepted, but {waiting} wait, {settled} are settled, {buried} buried, \
             {removed} removed, {dropped} dropped and {quarantined} quarantined"
        ));
    }
    Ok(())
}

fn ids(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    let last = count(connection, "SELECT last_envelope FROM site")?;
    for (table, column) in [
        ("envelopes", "id"),
        ("dead_letters", "id"),
        ("history", "id"),
        ("quarantine", "id"),
        ("keys", "envelope"),
        ("threads", "envelope"),
    ] {
        let highest = count(connection, &format!("SELECT coalesce(max({column}), 0) FROM {table}"))?;
        if highest > last {
            problems.push(format!("ids: {table} has envelope {highest}, but the last one given was {last}"));
        }
    }
    let (fact, last) =
        connection.query_row("SELECT coalesce(max(id), 0), (SELECT last_fact FROM site) FROM facts", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
    if fact > last {
        problems.push(format!("ids: there is fact {fact}, but the last one logged was {last}"));
    }
    let twice = "SELECT id, group_concat(place, ' and in ') FROM (\
                 SELECT id, 'envelopes' AS place FROM envelopes UNION ALL SELECT id, 'dead_letters' FROM dead_letters \
                 UNION ALL SELECT id, 'history' FROM history) GROUP BY id HAVING count(*) > 1 ORDER BY id";
    each(connection, twice, problems, |row| {
        Ok(Some(format!("ids: envelope {} is in {}", row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
    })
}

/// A key that waits has its envelope. What could not be read was set aside, and forgotten after its time: so many may be
/// missing.
fn keys(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    let orphans = "SELECT k.key, k.envelope FROM keys k WHERE k.fate = 'waiting' \
                   AND NOT EXISTS (SELECT 1 FROM envelopes e WHERE e.id = k.envelope AND e.key = k.key) \
                   AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.id = k.envelope) ORDER BY k.key";
    beyond_forgotten(connection, orphans, problems, |row| {
        let (key, id) = (row.get::<_, String>(0)?, row.get::<_, i64>(1)?);
        Ok(Some(format!("keys: {key:?} waits for envelope {id}, which does not wait")))
    })
}

fn threads(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    let places = ["envelopes", "dead_letters", "history"].map(|table| {
        format!("AND NOT EXISTS (SELECT 1 FROM {table} e WHERE e.id = t.envelope AND e.thread = t.thread)")
    });
    let orphans = format!(
        "SELECT t.thread, t.envelope FROM threads t WHERE 1 {} \
         AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.id = t.envelope) ORDER BY t.thread, t.envelope",
        places.join(" ")
    );
    beyond_forgotten(connection, &orphans, problems, |row| {
        let (thread, id) = (row.get::<_, String>(0)?, row.get::<_, i64>(1)?);
        Ok(Some(format!("threads: {thread:?} has envelope {id}, which is nowhere")))
    })
}

/// Mail and states belong to somebody: those who left keep their row as long as they have either.
fn people(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    for (table, column, what) in [("envelopes", "recipient", "mail waiting"), ("states", "person", "a state")] {
        let missing = format!(
            "SELECT DISTINCT {column} FROM {table} WHERE {column} NOT IN (SELECT id FROM people) ORDER BY {column}"
        );
        each(connection, &missing, problems, |row| {
            Ok(Some(format!("people: person {} has {what}, and is not among the people", row.get::<_, i64>(0)?)))
        })?;
    }
    Ok(())
}

fn bodies(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    for table in ["envelopes", "dead_letters", "history"] {
        let rows = format!("SELECT {} FROM {table} ORDER BY id", row::COLUMNS);
        each(connection, &rows, problems, |row| {
            let Err(reason) = row::delivery(row) else { return Ok(None) };
            Ok(Some(format!("bodies: envelope {} in {table} cannot be read: {reason}", row.get::<_, i64>(0)?)))
        })?;
    }
    for (table, name, order) in [
        ("states", "'state ' || routine || ' of person ' || person", "person, routine"),
        (
            "state_history",
            "'revision ' || revision || ' of state ' || routine || ' of person ' || person",
            "person, routine, revision",
        ),
        ("keys", "'the reply under key ' || key", "key"),
        ("facts", "'fact ' || id", "id"),
        ("jobs", "'what job ' || id || ' carries along'", "id"),
    ] {
        let rows = format!(
            "SELECT encoding, type, version, checksum, body, {name} FROM {table} WHERE encoding IS NOT NULL ORDER BY {order}"
        );
        each(connection, &rows, problems, |row| {
            let Some(reason) = unreadable(row, 0) else { return Ok(None) };
            Ok(Some(format!("bodies: {} cannot be read: {reason}", row.get::<_, String>(5)?)))
        })?;
    }
    Ok(())
}

/// A run can be read, and so can what it was told and what it came to.
fn runs(connection: &Connection, problems: &mut Vec<String>) -> rusqlite::Result<()> {
    each(connection, &run::every(), problems, |row| {
        let id = run::id(row)?;
        if let Err(reason) = run::read(row)? {
            return Ok(Some(format!("runs: {id} cannot be read: {reason}")));
        }
        let payloads = [("what it was told", run::PAYLOAD), ("what it came to", run::RESULT)];
        let there = payloads.into_iter().filter(|(_, column)| row.get_ref(*column) != Ok(ValueRef::Null));
        let wrong = there.filter_map(|(what, column)| Some((what, unreadable(row, column)?)));
        Ok(wrong.map(|(what, reason)| format!("runs: of {id}, {what} cannot be read: {reason}")).next())
    })
}

/// What is wrong with the payload in the five columns from this one on, if anything.
fn unreadable(row: &Row<'_>, first: usize) -> Option<String> {
    match row::payload(row, first) {
        Ok(Some(payload)) if payload.is_intact() => None,
        Ok(Some(_)) => Some("its checksum does not fit".into()),
        Ok(None) => Some("its encoding is unknown".into()),
        Err(error) => Some(error.to_string()),
    }
}

/// Adds what is wrong with each row, if anything.
fn each(
    connection: &Connection,
    sql: &str,
    problems: &mut Vec<String>,
    wrong: impl Fn(&Row<'_>) -> rusqlite::Result<Option<String>>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut found = 0;
    while let Some(row) = rows.next()? {
        let Some(problem) = wrong(row)? else { continue };
        found += 1;
        if found <= TOLD_MAX {
            problems.push(problem);
        }
    }
    if found > TOLD_MAX {
        problems.push(format!("and {} more of this kind", found - TOLD_MAX));
    }
    Ok(())
}

/// [`each`], unless they are no more than were quarantined and then forgotten.
fn beyond_forgotten(
    connection: &Connection,
    sql: &str,
    problems: &mut Vec<String>,
    wrong: impl Fn(&Row<'_>) -> rusqlite::Result<Option<String>>,
) -> rusqlite::Result<()> {
    let forgotten = "SELECT max(0, quarantined - (SELECT count(*) FROM quarantine)) FROM site";
    let found = count(connection, &format!("SELECT count(*) FROM ({sql})"))?;
    if found > count(connection, forgotten)? { each(connection, sql, problems, wrong) } else { Ok(()) }
}

fn count(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SqliteOptions, SqliteStore};
    use std::path::Path;
    use worksite_model::flow::{Job, JobId, JobNotes, JobStatus, JobWrite};
    use worksite_model::{
        Burial, Change, Departure, Draft, EnvelopeId, FailureKind, Payload, Person, PersonId, Roster, RoutineFailure,
        Run, RunDraft, RunId, RunIds, RunWrite, StateWrite, Store, Timestamp,
    };

    fn commit(store: &mut SqliteStore, change: Change) {
        store.commit(&[change], Timestamp::from_seconds(1)).unwrap().remove(0).unwrap();
    }

    /// A sound site: mail 1 to 3 waits, 4 is a dead letter, 5 is history; and a state.
    fn site(path: &Path) {
        let mut store = SqliteStore::open(path, SqliteOptions::default()).unwrap();
        commit(
            &mut store,
            Change::sync(Roster::new([Person::new(1, "ada"), Person::new(2, "grace")]), Departure::Keep),
        );
        let letter = |key: &str| Draft::to(1, &String::from("hello")).unwrap().key(key).thread("t");
        commit(&mut store, Change::send((1..=5).map(|number| letter(&format!("key {number}"))).collect()));
        let payload = Payload::encode(&7_u64).unwrap();
        let delivery = store.recover(PersonId(1), Timestamp::default()).unwrap().waiting.remove(3).delivery;
        let burial = Burial::of(&delivery, RoutineFailure::new(FailureKind::Returned, "broken"));
        let state = StateWrite { person: PersonId(1), routine: "diary".into(), payload, keep: None };
        commit(
            &mut store,
            Change { author: Some(PersonId(1)), buried: vec![burial], states: vec![state], ..Change::default() },
        );
        commit(&mut store, Change { removed: vec![EnvelopeId(5)], ..Change::default() });
        let run = Run::new(run_id(), RunDraft::of(&7_u64).unwrap(), Timestamp::from_seconds(1));
        commit(&mut store, Change { runs: vec![RunWrite::Add(run.into())], ..Change::default() });
        let job = Job {
            id: JobId::of(EnvelopeId(5), 0),
            worker: PersonId(1),
            flow: "f".into(),
            status: JobStatus::Running,
            created_at: Timestamp::from_seconds(1),
            ended_at: None,
            deadline: None,
            parent: None,
            error: None,
            body: Some(Payload::encode(&JobNotes { output_lost: 1, ..JobNotes::default() }).unwrap()),
        };
        commit(&mut store, Change { jobs: vec![JobWrite { job, known: false }], ..Change::default() });
    }

    fn run_id() -> RunId {
        RunIds::after(0, None).next(Timestamp::from_seconds(1))
    }

    #[test]
    fn a_sound_site_is_counted_and_nothing_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        site(&path);
        let report = Reader::open(&path).unwrap().check().unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!((report.envelopes, report.states, report.dead_letters, report.history), (3, 1, 1, 1));
        assert_eq!((report.threads, report.keys, report.quarantine, report.people), (5, 5, 0, 2));
        assert_eq!((report.runs, report.jobs), (1, 1));
    }

    #[test]
    fn every_kind_of_problem_is_found_and_named() {
        for (planted, told) in [
            ("UPDATE site SET settled = 1", "conservation: 5 were accepted, but 3 wait, 1 are settled, 1 buried"),
            ("DELETE FROM envelopes WHERE id = 1", "conservation: 5 were accepted, but 2 wait"),
            ("UPDATE site SET last_envelope = 2", "ids: envelopes has envelope 3, but the last one given was 2"),
            ("UPDATE site SET last_envelope = 4", "ids: history has envelope 5, but the last one given was 4"),
            (
                "INSERT INTO facts VALUES (9, 0, NULL, 1, 'u64', 1, 1, x'07')",
                "ids: there is fact 9, but the last one logged was 0",
            ),
            ("INSERT INTO facts VALUES (9, 0, NULL, 1, 'u64', 1, 1, x'07')", "bodies: fact 9 cannot be read"),
            (
                "INSERT INTO state_history VALUES (1, 'diary', 3, 0, NULL, 1, 'u64', 1, 1, x'07')",
                "bodies: revision 3 of state diary of person 1 cannot be read: its checksum does not fit",
            ),
            ("UPDATE history SET id = 4", "ids: envelope 4 is in dead_letters and in history"),
            (
                "UPDATE keys SET envelope = 5 WHERE envelope = 1",
                "keys: \"key 1\" waits for envelope 5, which does not wait",
            ),
            ("INSERT INTO threads VALUES ('u', 3)", "threads: \"u\" has envelope 3, which is nowhere"),
            ("DELETE FROM history", "threads: \"t\" has envelope 5, which is nowhere"),
            ("DELETE FROM people WHERE id = 1", "people: person 1 has mail waiting, and is not among the people"),
            ("UPDATE states SET person = 9", "people: person 9 has a state, and is not among the people"),
            (
                "UPDATE envelopes SET body = x'00' WHERE id = 2",
                "bodies: envelope 2 in envelopes cannot be read: its checksum does not fit",
            ),
            (
                "UPDATE dead_letters SET checksum = 0",
                "bodies: envelope 4 in dead_letters cannot be read: its checksum does not fit",
            ),
            (
                "UPDATE history SET encoding = 9",
                "bodies: envelope 5 in history cannot be read: its encoding is unknown",
            ),
            (
                "UPDATE states SET version = 2",
                "bodies: state diary of person 1 cannot be read: its checksum does not fit",
            ),
            (
                "UPDATE keys SET encoding = 1, type = 'u64', version = 1, checksum = 1, body = x'07' WHERE envelope = 5",
                "bodies: the reply under key key 5 cannot be read: its checksum does not fit",
            ),
            ("UPDATE jobs SET checksum = 0", "bodies: what job 5242880 carries along cannot be read: its checksum"),
            ("UPDATE runs SET demands = '7'", &format!("runs: {} cannot be read: its status or its demands", run_id())),
            (
                "UPDATE runs SET body = x'00'",
                &format!("runs: of {}, what it was told cannot be read: its checksum does not fit", run_id()),
            ),
            (
                "UPDATE runs SET result_encoding = 9, result_type = 'u64', result_version = 1, result_checksum = 1, \
                 result_body = x'07'",
                "what it came to cannot be read: its encoding is unknown",
            ),
            ("PRAGMA writable_schema = 1; DELETE FROM sqlite_schema WHERE name = 'keys_by_age'", "sqlite: Page"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("site.db");
            site(&path);
            let file = Connection::open(&path).unwrap();
            file.execute_batch(planted).unwrap();
            drop(file);
            let report = Reader::open(&path).unwrap().check().unwrap();
            assert!(report.problems.iter().any(|problem| problem.contains(told)), "{planted}: {:?}", report.problems);
            assert!(!report.is_sound());
        }
    }

    #[test]
    fn of_many_problems_of_a_kind_the_first_are_told_and_the_rest_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        site(&path);
        let file = Connection::open(&path).unwrap();
        let many = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 50) \
                    INSERT INTO threads SELECT 'lost', i FROM n";
        file.execute_batch(many).unwrap();
        let problems = Reader::open(&path).unwrap().check().unwrap().problems;
        assert_eq!((problems.len(), problems[21].as_str()), (22, "and 30 more of this kind"));
    }

    #[test]
    fn what_was_set_aside_and_forgotten_leaves_a_sound_site() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.db");
        site(&path);
        let file = Connection::open(&path).unwrap();
        file.execute_batch("UPDATE envelopes SET body = x'00' WHERE id = 2").unwrap();
        drop(file);
        let mut store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
        assert_eq!(store.recover(PersonId(1), Timestamp::from_seconds(2)).unwrap().quarantined.len(), 1);
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.check().unwrap().problems, Vec::<String>::new());
        Connection::open(&path).unwrap().execute_batch("DELETE FROM quarantine").unwrap();
        assert_eq!(reader.check().unwrap().problems, Vec::<String>::new());
    }
}
