//! Jobs own the rows of what was posted to flows: written with the change that settles their post, ended once.

use crate::reader::FlowSummary;
use crate::row;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Transaction, params, params_from_iter};
use worksite_model::flow::{Job, JobFilter, JobId, JobStatus, JobWrite};
use worksite_model::{Keep, PersonId, Timestamp};

const COLUMNS: &str = "id, worker, flow, status, created_at, ended_at, deadline, parent, error, \
     encoding, type, version, checksum, body";

const INSERT: &str = "INSERT INTO jobs (id, worker, flow, status, created_at, ended_at, deadline, parent, error, \
     encoding, type, version, checksum, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
     ON CONFLICT (id) DO NOTHING";

/// Most jobs have no error, no deadline, no parent and nothing to carry along.
const INSERT_PLAIN: &str = "INSERT INTO jobs (id, worker, flow, status, created_at, ended_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING";

const UPDATE: &str = "UPDATE jobs SET worker = ?2, flow = ?3, status = ?4, created_at = ?5, ended_at = ?6, \
     deadline = ?7, parent = ?8, error = ?9, encoding = ?10, type = ?11, version = ?12, checksum = ?13, body = ?14 \
     WHERE id = ?1 AND ended_at IS NULL";

/// Writes jobs in order; gives the first that has ended before, or is there already, as the change says it is not.
pub(crate) fn write(transaction: &Transaction<'_>, jobs: &[JobWrite]) -> rusqlite::Result<Option<JobId>> {
    if jobs.is_empty() {
        return Ok(None);
    }
    let mut insert = transaction.prepare_cached(INSERT_PLAIN)?;
    for JobWrite { job, known } in jobs {
        let plain = job.error.is_none() && job.deadline.is_none() && job.parent.is_none() && job.body.is_none();
        let written = if plain && !known {
            bind(&mut insert, job)?;
            insert.raw_execute()?
        } else {
            let mut whole = transaction.prepare_cached(if *known { UPDATE } else { INSERT })?;
            bind(&mut whole, job)?;
            bind_rest(&mut whole, job)?;
            whole.raw_execute()?
        };
        if written == 0 {
            return Ok(Some(job.id));
        }
    }
    Ok(None)
}

fn bind(statement: &mut CachedStatement<'_>, job: &Job) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, job.id.0)?;
    statement.raw_bind_parameter(2, job.worker.0)?;
    statement.raw_bind_parameter(3, &*job.flow)?;
    statement.raw_bind_parameter(4, job.status as i64)?;
    statement.raw_bind_parameter(5, job.created_at.as_micros())?;
    statement.raw_bind_parameter(6, job.ended_at.map(Timestamp::as_micros))
}

fn bind_rest(statement: &mut CachedStatement<'_>, job: &Job) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(7, job.deadline.map(Timestamp::as_micros))?;
    statement.raw_bind_parameter(8, job.parent.map(|parent| parent.0))?;
    statement.raw_bind_parameter(9, job.error.as_deref())?;
    match &job.body {
        Some(body) => row::bind_payload(statement, 10, body),
        None => (10..=14).try_for_each(|place| statement.raw_bind_parameter(place, None::<i64>)),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        id: JobId(row.get(0)?),
        worker: PersonId(row.get(1)?),
        flow: row.get_ref(2)?.as_str()?.into(),
        status: JobStatus::from_number(row.get(3)?).unwrap_or(JobStatus::Failed),
        created_at: Timestamp::from_micros(row.get(4)?),
        ended_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
        deadline: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_micros),
        parent: row.get::<_, Option<i64>>(7)?.map(JobId),
        error: row.get(8)?,
        body: if row.get_ref(9)? == rusqlite::types::ValueRef::Null { None } else { row::payload(row, 9)? },
    })
}

/// One job.
pub(crate) fn job(connection: &Connection, id: JobId) -> rusqlite::Result<Option<Job>> {
    let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id.0], read).optional()
}

/// A page of jobs that are meant, in order of ids.
pub(crate) fn page(connection: &Connection, filter: &JobFilter, limit: usize) -> rusqlite::Result<Vec<Job>> {
    let mut sql = format!("SELECT {COLUMNS} FROM jobs WHERE id > ?1");
    let mut values = vec![Value::from(filter.after.map_or(0, |after| after.0))];
    let mut narrow = |condition: &str, value: Option<Value>| {
        let Some(value) = value else { return };
        values.push(value);
        sql.push_str(&format!(" AND {condition} ?{}", values.len()));
    };
    narrow("worker =", filter.worker.map(|worker| Value::from(worker.0)));
    narrow("flow =", filter.flow.clone().map(Value::from));
    narrow("status =", filter.status.map(|status| Value::from(status as i64)));
    narrow("parent =", filter.parent.map(|parent| Value::from(parent.0)));
    if filter.open {
        sql.push_str(" AND ended_at IS NULL");
    }
    values.push(Value::from(i64::try_from(limit).unwrap_or(i64::MAX)));
    sql.push_str(&format!(" ORDER BY id LIMIT ?{}", values.len()));
    let mut statement = connection.prepare_cached(&sql)?;
    let jobs = statement.query_map(params_from_iter(values), read)?;
    jobs.collect()
}

/// How many jobs each worker has that have not ended.
pub(crate) fn open(connection: &Connection) -> rusqlite::Result<Vec<(PersonId, usize)>> {
    let sql = "SELECT worker, count(*) FROM jobs WHERE ended_at IS NULL GROUP BY worker ORDER BY worker";
    let mut statement = connection.prepare_cached(sql)?;
    let open = statement.query_map([], |row| {
        Ok((PersonId(row.get(0)?), usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX)))
    })?;
    open.collect()
}

/// How many jobs of each worker stand how, of those that are kept, in order of workers and flows.
pub(crate) fn count(connection: &Connection) -> rusqlite::Result<Vec<FlowSummary>> {
    let sql = "SELECT j.worker, p.name, j.flow, sum(j.status = 1), sum(j.status = 2), sum(j.status = 3), \
               sum(j.status = 4) FROM jobs j LEFT JOIN people p ON p.id = j.worker \
               GROUP BY j.worker, j.flow ORDER BY j.worker, j.flow";
    let mut statement = connection.prepare_cached(sql)?;
    let flows = statement.query_map([], |row| {
        let jobs = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(FlowSummary {
            worker: PersonId(row.get(0)?),
            name: row.get(1)?,
            flow: row.get(2)?,
            running: jobs(3)?,
            completed: jobs(4)?,
            failed: jobs(5)?,
            cancelled: jobs(6)?,
        })
    })?;
    flows.collect()
}

/// Calls off what has not ended of a worker that is purged.
pub(crate) fn call_off(connection: &Connection, worker: PersonId, at: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE jobs SET status = 4, ended_at = ?2, error = 'its worker was purged' \
               WHERE worker = ?1 AND ended_at IS NULL";
    connection.prepare_cached(sql)?.execute(params![worker.0, at.as_micros()]).map(drop)
}

/// Forgets jobs that have ended and are older, or more, than is to be kept; the oldest first, which are those with the
/// lowest ids.
pub(crate) fn prune(connection: &Connection, keep: Keep, cut: i64, most: i64) -> rusqlite::Result<u64> {
    let count = |condition: &str| -> rusqlite::Result<i64> {
        connection.query_row(&format!("SELECT count(*) FROM jobs {condition}"), [], |row| row.get(0))
    };
    let ended = count("")? - count("WHERE ended_at IS NULL")?;
    let surplus = (ended - i64::try_from(keep.rows).unwrap_or(i64::MAX)).clamp(0, most);
    let sql = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE ended_at IS NOT NULL ORDER BY id LIMIT ?1)";
    let by_count = connection.prepare_cached(sql)?.execute([surplus])? as u64;
    let oldest = "SELECT id FROM jobs WHERE ended_at IS NOT NULL AND id < coalesce( \
                  (SELECT min(id) FROM jobs WHERE created_at >= ?1), 9223372036854775807) ORDER BY id LIMIT ?2";
    let sql = format!("DELETE FROM jobs WHERE id IN ({oldest})");
    let by_age = connection.prepare_cached(&sql)?.execute(params![cut, most - surplus])? as u64;
    Ok(by_count + by_age)
}
