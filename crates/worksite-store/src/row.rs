//! Rows own the way between an envelope and its columns.

use rusqlite::types::{FromSql, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Row, Statement};
use std::borrow::Cow;
use worksite_model::{
    Delivery, Draft, Durable, Encoding, Envelope, EnvelopeId, Payload, PersonId, Priority, Timestamp, WaitingDelivery,
};

/// The columns of an envelope, in the order of the table.
pub(crate) const COLUMNS: &str = "id, recipient, sender, routine, priority, attempt, due, not_before, expires_at, \
     accepted_at, key, kind, channel, thread, reply_to, encoding, type, version, checksum, body, trace";

/// Writes a new envelope: a draft with its id and the time of its acceptance.
pub(crate) fn insert(
    statement: &mut CachedStatement<'_>,
    id: EnvelopeId,
    at: Timestamp,
    draft: &Draft,
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, id.0)?;
    statement.raw_bind_parameter(2, draft.to.0)?;
    statement.raw_bind_parameter(3, draft.from.map(|person| person.0))?;
    statement.raw_bind_parameter(4, draft.routine.as_deref())?;
    statement.raw_bind_parameter(5, draft.priority as i64)?;
    statement.raw_bind_parameter(6, 1)?;
    let not_before = draft.not_before.map(Timestamp::as_micros);
    statement.raw_bind_parameter(7, not_before)?;
    statement.raw_bind_parameter(8, not_before)?;
    statement.raw_bind_parameter(9, draft.expires_at.map(Timestamp::as_micros))?;
    statement.raw_bind_parameter(10, at.as_micros())?;
    statement.raw_bind_parameter(11, draft.key.as_deref())?;
    statement.raw_bind_parameter(12, draft.kind.as_deref())?;
    statement.raw_bind_parameter(13, draft.channel.as_deref())?;
    statement.raw_bind_parameter(14, draft.thread.as_deref())?;
    statement.raw_bind_parameter(15, draft.reply_to.map(|id| id.0))?;
    bind_payload(statement, 16, &draft.payload)?;
    statement.raw_bind_parameter(21, draft.trace.as_deref())?;
    statement.raw_execute().map(drop)
}

/// Whether a draft says nothing beyond who gets what, and how urgently: most mail does.
pub(crate) fn is_plain(draft: &Draft) -> bool {
    let Draft {
        to: _,
        priority: _,
        payload: _,
        from,
        routine,
        not_before,
        expires_at,
        key,
        kind,
        channel,
        thread,
        reply_to,
        // The door has kept it already.
        cooldown: _,
        trace,
    } = draft;
    from.is_none()
        && routine.is_none()
        && not_before.is_none()
        && expires_at.is_none()
        && key.is_none()
        && kind.is_none()
        && channel.is_none()
        && thread.is_none()
        && reply_to.is_none()
        && trace.is_none()
}

/// Writes a new envelope of a plain draft.
pub(crate) fn insert_plain(
    statement: &mut CachedStatement<'_>,
    id: EnvelopeId,
    at: Timestamp,
    draft: &Draft,
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, id.0)?;
    statement.raw_bind_parameter(2, draft.to.0)?;
    statement.raw_bind_parameter(3, draft.priority as i64)?;
    bind_payload(statement, 4, &draft.payload)?;
    statement.raw_bind_parameter(9, at.as_micros())?;
    statement.raw_execute().map(drop)
}

/// Binds a payload's five columns, beginning at this place.
pub(crate) fn bind_payload(statement: &mut Statement<'_>, first: usize, payload: &Payload) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(first, payload.encoding as i64)?;
    statement.raw_bind_parameter(first + 1, payload.type_name.as_ref())?;
    statement.raw_bind_parameter(first + 2, payload.version)?;
    statement.raw_bind_parameter(first + 3, payload.checksum)?;
    statement.raw_bind_parameter(first + 4, Blob(&payload.body))
}

/// Bytes to be bound without a copy of ours.
struct Blob<'a>(&'a [u8]);

impl ToSql for Blob<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0)))
    }
}

/// Reads an envelope back from its columns; what is wrong with it, when it cannot be read.
pub(crate) fn delivery(row: &Row<'_>) -> Result<WaitingDelivery, String> {
    let payload = payload(row, 15).map_err(|error| error.to_string())?.ok_or("its encoding is unknown")?;
    if !payload.is_intact() {
        return Err("its checksum does not fit".into());
    }
    let priority = Priority::from_number(get(row, 4)?).ok_or("its priority is unknown")?;
    let draft = Draft {
        to: PersonId(get(row, 1)?),
        from: get::<Option<i64>>(row, 2)?.map(PersonId),
        routine: get::<Option<String>>(row, 3)?.map(Cow::Owned),
        priority,
        payload,
        not_before: get::<Option<i64>>(row, 7)?.map(Timestamp::from_micros),
        expires_at: get::<Option<i64>>(row, 8)?.map(Timestamp::from_micros),
        key: get(row, 10)?,
        kind: get::<Option<String>>(row, 11)?.map(Cow::Owned),
        channel: get::<Option<String>>(row, 12)?.map(Cow::Owned),
        thread: get(row, 13)?,
        reply_to: get::<Option<i64>>(row, 14)?.map(EnvelopeId),
        cooldown: None,
        trace: get(row, 20)?,
    };
    let accepted_at = Timestamp::from_micros(get(row, 9)?);
    let envelope = Envelope { id: EnvelopeId(get(row, 0)?), accepted_at, draft };
    let due = get::<Option<i64>>(row, 6)?.map(Timestamp::from_micros);
    Ok(WaitingDelivery { delivery: Delivery { envelope: envelope.into(), attempt: get(row, 5)? }, due })
}

/// How many bytes the body of a row has that may not be readable otherwise.
pub(crate) fn body_bytes(row: &Row<'_>) -> usize {
    match row.get_ref(19) {
        Ok(ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => bytes.len(),
        _ => 0,
    }
}

/// Reads a number of bytes.
pub(crate) fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<usize> {
    row.get::<_, i64>(column).map(|bytes| usize::try_from(bytes).unwrap_or(0))
}

/// The name of a stored type: those of the house itself cost no allocation.
fn type_name(name: &str) -> Cow<'static, str> {
    let known = [String::TYPE, serde_json::Value::TYPE, u64::TYPE, i64::TYPE, f64::TYPE, bool::TYPE, <()>::TYPE];
    known.into_iter().find(|known| *known == name).map_or_else(|| Cow::Owned(name.to_string()), Cow::Borrowed)
}

/// Reads a payload from five columns, beginning at this place; nothing when its encoding is unknown or null.
pub(crate) fn payload(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Payload>> {
    let encoding: Option<i64> = row.get(first)?;
    let Some(encoding) = encoding.and_then(Encoding::from_number) else { return Ok(None) };
    Ok(Some(Payload {
        encoding,
        type_name: type_name(row.get_ref(first + 1)?.as_str()?),
        version: row.get(first + 2)?,
        checksum: row.get(first + 3)?,
        body: row.get_ref(first + 4)?.as_blob()?.into(),
    }))
}

/// A state. One in an encoding that this build does not know is not as if there were none: nobody can decode it, and the
/// error says why.
pub(crate) fn state(row: &Row<'_>, first: usize) -> rusqlite::Result<Payload> {
    if let Some(payload) = payload(row, first)? {
        return Ok(payload);
    }
    let (encoding, type_name): (i64, String) = (row.get(first)?, row.get(first + 1)?);
    let type_name = format!("{type_name} in the unknown encoding {encoding}");
    let body = row.get_ref(first + 4)?.as_blob()?.into();
    Ok(Payload::from_body(Encoding::Bincode, type_name.into(), row.get(first + 2)?, body))
}

fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Result<T, String> {
    row.get(column).map_err(|error| error.to_string())
}
