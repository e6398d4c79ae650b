//! Runs own the queue's tables: guarded writes in the transaction of their change, the opening read of what is live, and
//! the history. Who comes late finds the guard changed, and its change is refused as a whole.

use crate::commit::{Trouble, Writer};
use crate::open::CACHE_KIB;
use crate::reader::{FoundRun, RunnerSummary};
use crate::row;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params, params_from_iter};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use worksite_model::{
    Conflict, Demands, Durable, Encoding, ExecutionMode, Guard, Keep, Payload, RecoveredRuns, Refusal, Retention, Run,
    RunDraft, RunFilter, RunId, RunStatus, RunWrite, RunnerId, Schedule, Session, SessionUse, Timestamp,
};

/// How many rows of one kind one call forgets at most.
const PRUNED_MAX: i64 = 10_000;

/// The columns of a run that has not ended.
const LIVE_COLUMNS: &str = "number, tail, status, kind, session, parent, mode, agent, project_dir, demands, priority, \
     unique_key, limit_key, schedule, attempts_max, lease, claimed_within, created_at, due, deadline, fence, attempts, \
     encoding, type, version, checksum, body, runner, epoch, claimed_at, started_at, lease_until, stop_requested_at, error";

/// Those that only a run has that has ended, behind the others.
const ENDED_COLUMNS: &str = "ended_at, called_back, result_encoding, result_type, result_version, result_checksum, \
     result_body";

/// Where, among all of these columns, the five of what a run was told begin, and those of what it came to.
pub(crate) const PAYLOAD: usize = 22;
pub(crate) const RESULT: usize = 36;

/// While all live runs are read, each page is looked at once: a cache would hold the table a second time, beside the runs.
const READING_CACHE_KIB: u32 = 256;

const INSERT: &str = "INSERT INTO runs (number, tail, status, kind, session, parent, mode, agent, project_dir, demands, \
     priority, unique_key, limit_key, schedule, attempts_max, lease, claimed_within, created_at, due, deadline, fence, \
     attempts, epoch, encoding, type, version, checksum, body) VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
     ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, 0, 0, 0, ?20, ?21, ?22, ?23, ?24)";

const UPDATE: &str = "UPDATE runs SET status = ?5, runner = ?6, fence = ?7, attempts = ?8, epoch = ?9, claimed_at = ?10, \
     started_at = ?11, lease_until = ?12, stop_requested_at = ?13, error = ?14, deadline = ?15 \
     WHERE number = ?1 AND tail = ?2 AND status = ?3 AND fence = ?4";

const END: &str = "UPDATE runs SET status = ?5, runner = ?6, fence = ?7, attempts = ?8, epoch = ?9, claimed_at = ?10, \
     started_at = ?11, lease_until = ?12, stop_requested_at = ?13, error = ?14, deadline = ?15, ended_at = ?16 \
     WHERE number = ?1 AND tail = ?2 AND status = ?3 AND fence = ?4";

/// The hot statements of a transaction, prepared with the first run that needs one: looking one up by its text costs more than
/// binding it.
#[derive(Default)]
pub(crate) struct RunStatements<'a> {
    insert: Option<CachedStatement<'a>>,
    update: Option<CachedStatement<'a>>,
    end: Option<CachedStatement<'a>>,
}

fn kept<'s, 'a>(
    statement: &'s mut Option<CachedStatement<'a>>,
    connection: &'a Connection,
    sql: &str,
) -> rusqlite::Result<&'s mut CachedStatement<'a>> {
    match statement {
        Some(statement) => Ok(statement),
        none => Ok(none.insert(connection.prepare_cached(sql)?)),
    }
}

impl Writer<'_> {
    pub(crate) fn write_run(&mut self, write: &RunWrite) -> Result<(), Trouble> {
        match write {
            RunWrite::Add(run) => self.add_run(run),
            RunWrite::Update { guard, run } => self.update_run(guard, run),
            RunWrite::Open(session) => self.open_session(session),
            RunWrite::Bind { session, place } => {
                let sql = "UPDATE sessions SET place = ?2 WHERE id = ?1";
                let changed = self.transaction.prepare_cached(sql)?.execute(params![session, json(place)])?;
                held(changed, || Refusal::SessionMoved(session.clone()))
            }
            RunWrite::Schedule { guard, schedule } => self.write_schedule(*guard, schedule),
            RunWrite::Unschedule(name) => {
                self.transaction.prepare_cached("DELETE FROM schedules WHERE name = ?1")?.execute([name])?;
                Ok(())
            }
        }
    }

    fn add_run(&mut self, run: &Run) -> Result<(), Trouble> {
        if let Some(key) = &run.draft.unique {
            let sql = "SELECT 1 FROM runs WHERE unique_key = ?1 AND ended_at IS NULL";
            if self.transaction.prepare_cached(sql)?.exists([key])? {
                return Err(Trouble::Change(Refusal::RunKeyHeld(key.clone())));
            }
        }
        if let SessionUse::Resume(session) = &run.draft.session
            && !self.transaction.prepare_cached("SELECT 1 FROM sessions WHERE id = ?1")?.exists([session])?
        {
            return Err(Trouble::Change(Refusal::SessionMoved(session.clone())));
        }
        let insert = kept(&mut self.runs.insert, self.transaction, INSERT)?;
        bind_new(insert, run)?;
        match insert.raw_execute() {
            Err(error) if is_taken(&error) => Err(Trouble::Change(Refusal::RunMoved(run.id))),
            inserted => Ok(inserted.map(drop)?),
        }
    }

    fn update_run(&mut self, guard: &Guard, run: &Run) -> Result<(), Trouble> {
        let moved = || Refusal::RunMoved(run.id);
        if guard.status.is_terminal() {
            // All that may still become of it: its parent has been told.
            let sql = "UPDATE runs SET called_back = ?3 WHERE number = ?1 AND tail = ?2 AND called_back IS NULL \
                       AND ended_at IS NOT NULL";
            let caller = run.called_back.map(|id| id.to_string());
            let mut update = self.transaction.prepare_cached(sql)?;
            return held(update.execute(params![high(run.id), low(run.id), caller])?, moved);
        }
        let ends = run.status.is_terminal();
        let update = match ends {
            true => kept(&mut self.runs.end, self.transaction, END)?,
            false => kept(&mut self.runs.update, self.transaction, UPDATE)?,
        };
        bind_changed(update, guard, run)?;
        if ends {
            update.raw_bind_parameter(16, run.ended_at.map(Timestamp::as_micros))?;
        }
        held(update.raw_execute()?, moved)?;
        if guard.status == RunStatus::Pending && run.status == RunStatus::Pending {
            let sql = "UPDATE runs SET demands = ?2 WHERE number = ?1";
            self.transaction.prepare_cached(sql)?.execute(params![high(run.id), json(&run.demands)])?;
        }
        if let Some(result) = &run.result {
            let sql = "UPDATE runs SET result_encoding = ?2, result_type = ?3, result_version = ?4, \
                       result_checksum = ?5, result_body = ?6 WHERE number = ?1";
            let mut update = self.transaction.prepare_cached(sql)?;
            update.raw_bind_parameter(1, high(run.id))?;
            row::bind_payload(&mut update, 2, result)?;
            update.raw_execute()?;
        }
        Ok(())
    }

    fn open_session(&mut self, session: &Session) -> Result<(), Trouble> {
        let sql = "INSERT INTO sessions (id, agent, project_dir, parent, created_at, place) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                   ON CONFLICT (id) DO NOTHING";
        let Session { id, agent, project_dir, parent, created_at, place, status: _ } = session;
        let values = params![id, agent, project_dir, parent, created_at.as_micros(), json(place)];
        let opened = self.transaction.prepare_cached(sql)?.execute(values)?;
        held(opened, || Refusal::SessionMoved(id.clone()))
    }

    fn write_schedule(&mut self, guard: Option<Timestamp>, schedule: &Schedule) -> Result<(), Trouble> {
        if let Some(next) = guard {
            let sql = "SELECT 1 FROM schedules WHERE name = ?1 AND next = ?2";
            if !self.transaction.prepare_cached(sql)?.exists(params![schedule.name, next.as_micros()])? {
                return Err(Trouble::Change(Refusal::ScheduleMoved(schedule.name.clone())));
            }
        }
        let whole = Payload::encode(schedule).map_err(|error| Trouble::Change(Refusal::Invalid(error.to_string())))?;
        let sql = "INSERT INTO schedules (name, cron, zone, next, schedule) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT (name) DO UPDATE SET cron = ?2, zone = ?3, next = ?4, schedule = ?5";
        let (next, whole) = (schedule.next.map(Timestamp::as_micros), String::from_utf8_lossy(&whole.body));
        let values = params![schedule.name, schedule.cron, schedule.zone, next, whole];
        Ok(self.transaction.prepare_cached(sql)?.execute(values).map(drop)?)
    }
}

/// A write whose guard did not hold refuses its change.
fn held(rows: usize, refusal: impl FnOnce() -> Refusal) -> Result<(), Trouble> {
    if rows == 1 { Ok(()) } else { Err(Trouble::Change(refusal())) }
}

fn is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
        && error.to_string().starts_with("UNIQUE")
}

fn bind_new(insert: &mut CachedStatement<'_>, run: &Run) -> rusqlite::Result<()> {
    let draft = &run.draft;
    let kind = match draft.session {
        SessionUse::None => "plain",
        SessionUse::Start(_) => "start_session",
        SessionUse::Resume(_) => "resume_session",
    };
    insert.raw_bind_parameter(1, high(run.id))?;
    insert.raw_bind_parameter(2, low(run.id))?;
    insert.raw_bind_parameter(3, kind)?;
    insert.raw_bind_parameter(4, run.session())?;
    insert.raw_bind_parameter(5, draft.parent.as_deref())?;
    insert.raw_bind_parameter(6, draft.mode.name())?;
    insert.raw_bind_parameter(7, draft.agent.as_deref())?;
    insert.raw_bind_parameter(8, draft.project_dir.as_deref())?;
    insert.raw_bind_parameter(9, json(&run.demands))?;
    insert.raw_bind_parameter(10, draft.priority)?;
    insert.raw_bind_parameter(11, draft.unique.as_deref())?;
    insert.raw_bind_parameter(12, draft.limit.as_deref())?;
    insert.raw_bind_parameter(13, draft.schedule.as_deref())?;
    insert.raw_bind_parameter(14, draft.attempts_max)?;
    insert.raw_bind_parameter(15, draft.lease.map(micros))?;
    insert.raw_bind_parameter(16, draft.claimed_within.map(micros))?;
    insert.raw_bind_parameter(17, run.created_at.as_micros())?;
    insert.raw_bind_parameter(18, draft.due.map(Timestamp::as_micros))?;
    insert.raw_bind_parameter(19, run.deadline.map(Timestamp::as_micros))?;
    match &draft.payload {
        Some(payload) => row::bind_payload(insert, 20, payload),
        None => (20..=24).try_for_each(|column| insert.raw_bind_parameter(column, rusqlite::types::Null)),
    }
}

fn bind_changed(update: &mut CachedStatement<'_>, guard: &Guard, run: &Run) -> rusqlite::Result<()> {
    update.raw_bind_parameter(1, high(run.id))?;
    update.raw_bind_parameter(2, low(run.id))?;
    update.raw_bind_parameter(3, guard.status.name())?;
    update.raw_bind_parameter(4, guard.fence)?;
    update.raw_bind_parameter(5, run.status.name())?;
    update.raw_bind_parameter(6, run.runner.as_ref().map(|runner| &*runner.0))?;
    update.raw_bind_parameter(7, run.fence)?;
    update.raw_bind_parameter(8, run.attempts)?;
    update.raw_bind_parameter(9, run.epoch)?;
    update.raw_bind_parameter(10, run.claimed_at.map(Timestamp::as_micros))?;
    update.raw_bind_parameter(11, run.started_at.map(Timestamp::as_micros))?;
    update.raw_bind_parameter(12, run.lease_until.map(Timestamp::as_micros))?;
    update.raw_bind_parameter(13, run.stop_requested_at.map(Timestamp::as_micros))?;
    update.raw_bind_parameter(14, run.error.as_deref())?;
    update.raw_bind_parameter(15, run.deadline.map(Timestamp::as_micros))
}

/// What the queue needs to go on.
pub(crate) fn recovered(connection: &Connection) -> rusqlite::Result<RecoveredRuns> {
    connection.pragma_update(None, "cache_size", -i64::from(READING_CACHE_KIB))?;
    let recovered = read_live(connection);
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    recovered
}

fn read_live(connection: &Connection) -> rusqlite::Result<RecoveredRuns> {
    let mut recovered = RecoveredRuns {
        epoch: connection.query_row("SELECT incarnation FROM site", [], |row| row.get(0))?,
        last: connection.query_row("SELECT number, tail FROM runs ORDER BY number DESC LIMIT 1", [], id).optional()?,
        ..RecoveredRuns::default()
    };
    let live = format!("SELECT {LIVE_COLUMNS} FROM runs INDEXED BY runs_live WHERE ended_at IS NULL ORDER BY number");
    let mut statement = connection.prepare(&live)?;
    let mut rows = statement.query([])?;
    let mut words = Words::default();
    while let Some(row) = rows.next()? {
        match words.run(row, Extent::Live)? {
            Ok(run) => recovered.active.push(Arc::new(run)),
            Err(reason) => recovered.unreadable.push((id(row)?, reason)),
        }
    }
    let owing = format!(
        "SELECT {LIVE_COLUMNS}, {ENDED_COLUMNS} FROM runs INDEXED BY runs_owing WHERE mode = 'async_callback' AND called_back IS NULL \
         AND ended_at IS NOT NULL ORDER BY number"
    );
    recovered.owing = select(connection, &owing, &[])?.into_iter().flatten().map(Arc::new).collect();
    let mut statement = connection.prepare("SELECT name, schedule FROM schedules ORDER BY name")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let whole: String = row.get(1)?;
        let whole =
            Payload::from_body(Encoding::Json, Schedule::TYPE.into(), Schedule::VERSION, whole.as_bytes().into());
        match whole.decode::<Schedule>() {
            Ok(schedule) => recovered.schedules.push(Arc::new(schedule)),
            Err(error) => tracing::error!(name = row.get::<_, String>(0)?, %error, "a schedule cannot be read"),
        }
    }
    Ok(recovered)
}

/// A run, live or ended.
pub(crate) fn run(connection: &Connection, wanted: RunId) -> rusqlite::Result<Option<FoundRun>> {
    let sql = format!("SELECT {LIVE_COLUMNS}, {ENDED_COLUMNS} FROM runs WHERE number = ? AND tail = ?");
    let key = [Value::Integer(high(wanted)), Value::Integer(low(wanted))];
    Ok(select(connection, &sql, &key)?.pop())
}

/// A page of the history, the newest first. Conditions that an index serves come first.
pub(crate) fn history(connection: &Connection, filter: &RunFilter) -> rusqlite::Result<Vec<FoundRun>> {
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    let mut that = |condition: &str, value: Value| {
        conditions.push(condition.to_string());
        values.push(value);
    };
    for (column, wanted) in [
        ("session", &filter.session),
        ("parent", &filter.parent),
        ("agent", &filter.agent),
        ("schedule", &filter.schedule),
    ] {
        if let Some(wanted) = wanted {
            that(&format!("{column} = ?"), Value::Text(wanted.clone()));
        }
    }
    if let Some(runner) = &filter.runner {
        that("runner = ?", Value::Text(runner.0.to_string()));
    }
    for (condition, moment) in [("created_at >= ?", filter.since), ("created_at < ?", filter.until)] {
        if let Some(moment) = moment {
            that(condition, Value::Integer(moment.as_micros()));
        }
    }
    if let Some(before) = filter.before {
        that("number < ?", Value::Integer(high(before)));
    }
    if !filter.statuses.is_empty() {
        // Names of ours, not of a caller. The sign keeps the index over ends from being taken: pages go by numbers.
        let names: Vec<_> = filter.statuses.iter().map(|status| format!("'{}'", status.name())).collect();
        conditions.push(format!("+status IN ({})", names.join(", ")));
    }
    let which = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let sql = format!("SELECT {LIVE_COLUMNS}, {ENDED_COLUMNS} FROM runs {which} ORDER BY number DESC LIMIT ?");
    values.push(Value::Integer(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
    select(connection, &sql, &values)
}

/// A session, and how its latest run stands.
pub(crate) fn session(connection: &Connection, wanted: &str) -> rusqlite::Result<Option<Session>> {
    let sql = "SELECT id, agent, project_dir, parent, created_at, place, (SELECT status FROM runs WHERE session = ?1 \
               ORDER BY number DESC LIMIT 1) FROM sessions WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let session = statement.query_row([wanted], |row| {
        Ok(Session {
            id: row.get(0)?,
            agent: row.get(1)?,
            project_dir: row.get(2)?,
            parent: row.get(3)?,
            created_at: Timestamp::from_micros(row.get(4)?),
            place: row.get::<_, Option<String>>(5)?.and_then(|json| Demands::from_json(&json)).unwrap_or_default(),
            status: row.get::<_, Option<String>>(6)?.and_then(|name| RunStatus::from_name(&name)),
        })
    });
    session.optional()
}

fn select(connection: &Connection, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<FoundRun>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut runs, mut words) = (Vec::new(), Words::default());
    while let Some(row) = rows.next()? {
        runs.push(match words.run(row, Extent::Whole)? {
            Ok(run) => Ok(run),
            Err(reason) => Err((id(row)?, reason)),
        });
    }
    Ok(runs)
}

/// Every run there is, for [`read`].
pub(crate) fn every() -> String {
    format!("SELECT {LIVE_COLUMNS}, {ENDED_COLUMNS} FROM runs ORDER BY number")
}

/// Reads one of [`every`] run; what is wrong with it, when it cannot be read.
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Result<Run, String>> {
    Words::default().run(row, Extent::Whole)
}

/// How many runs stand how, of those that are kept. Live and ended ones are counted in the index each of them is in.
pub(crate) fn count(connection: &Connection) -> rusqlite::Result<BTreeMap<RunStatus, u64>> {
    let mut counts: BTreeMap<_, _> = RunStatus::ALL.map(|status| (status, 0)).into();
    for ended in ["IS NULL", "IS NOT NULL"] {
        let sql = format!("SELECT status, count(*) FROM runs WHERE ended_at {ended} GROUP BY status");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(status) = RunStatus::from_name(row.get_ref(0)?.as_str()?) {
                counts.insert(status, row.get::<_, i64>(1)?.cast_unsigned());
            }
        }
    }
    Ok(counts)
}

/// Who holds how much, in order of names. What was given back still names its last runner, and is nobody's.
pub(crate) fn runners(connection: &Connection) -> rusqlite::Result<Vec<RunnerSummary>> {
    let sql = "SELECT runner, sum(status = 'claimed'), sum(status = 'running'), sum(status = 'stopping'), \
               min(claimed_at), min(lease_until) FROM runs INDEXED BY runs_live \
               WHERE ended_at IS NULL AND runner IS NOT NULL AND status <> 'pending' GROUP BY runner ORDER BY runner";
    let mut statement = connection.prepare_cached(sql)?;
    let runners = statement.query_map([], |row| {
        let runs = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(RunnerSummary {
            runner: RunnerId::from(row.get_ref(0)?.as_str()?),
            claimed: runs(1)?,
            running: runs(2)?,
            stopping: runs(3)?,
            claimed_at: moment(row, 4)?,
            lease_until: moment(row, 5)?,
        })
    })?;
    runners.collect()
}

/// Which columns a row has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// [`LIVE_COLUMNS`]
    Live,
    /// [`ENDED_COLUMNS`] behind them.
    Whole,
}

/// Texts that many rows have in common, read once.
#[derive(Default)]
struct Words {
    demands: HashMap<String, Arc<Demands>>,
    runners: HashMap<String, RunnerId>,
}

impl Words {
    /// Reads a run; what is wrong with it, when it cannot be read: a bad row is nobody else's trouble.
    fn run(&mut self, row: &Row<'_>, extent: Extent) -> rusqlite::Result<Result<Run, String>> {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        match self.fitting(row, extent) {
            Err(error @ (FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))) => {
                Ok(Err(error.to_string()))
            }
            read => read,
        }
    }

    fn fitting(&mut self, row: &Row<'_>, extent: Extent) -> rusqlite::Result<Result<Run, String>> {
        let status = RunStatus::from_name(row.get_ref(2)?.as_str()?);
        let demands = self.demands(row.get_ref(9)?.as_str_or_null()?.unwrap_or_default());
        let (Some(status), Some(demands)) = (status, demands) else {
            return Ok(Err("its status or its demands cannot be read".into()));
        };
        let session = match row.get_ref(3)?.as_str()? {
            "start_session" => SessionUse::Start(text(row, 4)?),
            "resume_session" => text(row, 4)?.map_or(SessionUse::None, SessionUse::Resume),
            _ => SessionUse::None,
        };
        let mode = match row.get_ref(6)?.as_str()? {
            "sync" => ExecutionMode::Sync,
            "async_callback" => ExecutionMode::AsyncCallback,
            _ => ExecutionMode::AsyncPoll,
        };
        let draft = RunDraft {
            agent: text(row, 7)?,
            payload: row::payload(row, PAYLOAD)?,
            project_dir: text(row, 8)?,
            session,
            parent: text(row, 5)?,
            mode,
            demands: Demands::none(),
            priority: row.get(10)?,
            due: moment(row, 18)?,
            claimed_within: time(row, 16)?,
            attempts_max: row.get(14)?,
            lease: time(row, 15)?,
            unique: text(row, 11)?,
            conflict: Conflict::default(),
            limit: text(row, 12)?,
            schedule: text(row, 13)?,
        };
        let created_at = Timestamp::from_micros(row.get(17)?);
        let mut run = Run {
            deadline: moment(row, 19)?,
            status,
            fence: row.get(20)?,
            attempts: row.get(21)?,
            ..Run::sharing(id(row)?, draft, demands, created_at)
        };
        // One that nobody has ever claimed has nothing in the columns that claims write: most of a long queue.
        if run.fence > 0 || status != RunStatus::Pending {
            self.read_claim(&mut run, row)?;
        }
        if extent == Extent::Whole {
            run.ended_at = moment(row, 34)?;
            run.called_back = row.get_ref(35)?.as_str_or_null()?.and_then(|id| id.parse().ok());
            run.result = row::payload(row, RESULT)?.map(Box::new);
        }
        Ok(Ok(run))
    }

    fn read_claim(&mut self, run: &mut Run, row: &Row<'_>) -> rusqlite::Result<()> {
        run.runner = row.get_ref(27)?.as_str_or_null()?.map(|name| self.runner(name));
        run.epoch = row.get(28)?;
        (run.claimed_at, run.started_at) = (moment(row, 29)?, moment(row, 30)?);
        (run.lease_until, run.stop_requested_at) = (moment(row, 31)?, moment(row, 32)?);
        run.error = text(row, 33)?;
        Ok(())
    }

    fn demands(&mut self, json: &str) -> Option<Arc<Demands>> {
        if let Some(demands) = self.demands.get(json) {
            return Some(demands.clone());
        }
        let demands = Arc::new(if json.is_empty() { Demands::none() } else { Demands::from_json(json)? });
        self.demands.insert(json.to_string(), demands.clone());
        Some(demands)
    }

    fn runner(&mut self, name: &str) -> RunnerId {
        if let Some(runner) = self.runners.get(name) {
            return runner.clone();
        }
        let runner = RunnerId::from(name);
        self.runners.insert(name.to_string(), runner.clone());
        runner
    }
}

/// Forgets runs that have ended, by status, age and count, and then sessions without any. What owes a callback stays, and
/// whom it is owed.
pub(crate) fn prune(connection: &Connection, retention: &Retention, at: Timestamp) -> rusqlite::Result<(u64, u64)> {
    let mut pruned = 0;
    for (status, keep) in [
        (RunStatus::Completed, retention.runs_completed),
        (RunStatus::Failed, retention.runs_failed),
        (RunStatus::Stopped, retention.runs_stopped),
    ] {
        pruned += prune_status(connection, status, keep, at)?;
    }
    // Nor one that is still to be told of a child.
    let gone = "NOT EXISTS (SELECT 1 FROM runs WHERE session = sessions.id) AND NOT EXISTS (SELECT 1 FROM runs \
                WHERE parent = sessions.id AND mode = 'async_callback' AND called_back IS NULL AND session IS NOT parent)";
    let sql = format!(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE created_at < ?1 AND {gone} \
         ORDER BY created_at LIMIT ?2)"
    );
    let mut sessions = connection.prepare_cached(&sql)?.execute(params![cut(retention.sessions, at), PRUNED_MAX])?;
    let count: i64 = connection.query_row("SELECT count(*) FROM sessions", [], |row| row.get(0))?;
    let surplus = count.saturating_sub(i64::try_from(retention.sessions.rows).unwrap_or(i64::MAX)).min(PRUNED_MAX);
    if surplus > 0 {
        let sql = format!(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE {gone} ORDER BY created_at, id LIMIT ?1)"
        );
        sessions += connection.prepare_cached(&sql)?.execute([surplus])?;
    }
    Ok((pruned, sessions as u64))
}

fn prune_status(connection: &Connection, status: RunStatus, keep: Keep, at: Timestamp) -> rusqlite::Result<u64> {
    // Word for word as the partial index has it, or it would not be used.
    let ended = "status = ?1 AND ended_at IS NOT NULL";
    let sql = format!("SELECT count(*) FROM runs WHERE {ended}");
    let count: i64 = connection.prepare_cached(&sql)?.query_row([status.name()], |row| row.get(0))?;
    let surplus = count.saturating_sub(i64::try_from(keep.rows).unwrap_or(i64::MAX)).max(0);
    let sql = format!(
        "SELECT number, ended_at FROM runs WHERE {ended} AND NOT (mode = 'async_callback' AND called_back IS NULL \
         AND parent IS NOT NULL AND parent IS NOT session) ORDER BY ended_at, number LIMIT ?2"
    );
    let mut oldest = connection.prepare_cached(&sql)?;
    let rows = oldest
        .query_map(params![status.name(), PRUNED_MAX], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let mut delete = connection.prepare_cached("DELETE FROM runs WHERE number = ?1")?;
    let mut pruned = 0;
    for row in rows.collect::<rusqlite::Result<Vec<_>>>()? {
        if row.1 >= cut(keep, at) && pruned >= surplus {
            break;
        }
        pruned += delete.execute([row.0])? as i64;
    }
    Ok(pruned.cast_unsigned())
}

fn cut(keep: Keep, at: Timestamp) -> i64 {
    at.as_micros().saturating_sub(i64::try_from(keep.age.as_micros()).unwrap_or(i64::MAX))
}

/// A set of demands as it stands in the file; nothing for none.
fn json(demands: &Demands) -> Option<String> {
    (!demands.is_empty()).then(|| demands.to_json())
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

const fn high(id: RunId) -> i64 {
    id.high().cast_signed()
}

const fn low(id: RunId) -> i64 {
    id.low().cast_signed()
}

fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(row.get_ref(column)?.as_str_or_null()?.map(str::to_string))
}

fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get_ref(column)?.as_i64_or_null()?.map(Timestamp::from_micros))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Duration>> {
    let micros = row.get_ref(column)?.as_i64_or_null()?;
    Ok(micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
}

pub(crate) fn id(row: &Row<'_>) -> rusqlite::Result<RunId> {
    Ok(RunId::from_halves(row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use crate::open::CACHE_KIB;
    use crate::{SqliteOptions, SqliteStore};
    use worksite_model::Store;

    #[test]
    fn the_cache_is_as_large_as_before_when_the_live_runs_have_been_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path().join("site.db"), SqliteOptions::default()).unwrap();
        let cache = |store: &SqliteStore| -> i64 {
            store.connection.pragma_query_value(None, "cache_size", |row| row.get(0)).unwrap()
        };
        let before = cache(&store);
        store.runs().unwrap();
        assert_eq!((before, cache(&store)), (-i64::from(CACHE_KIB), before));
    }
}
