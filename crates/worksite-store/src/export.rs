//! The export owns a site as lines of text: for other programs, for a look with common tools, and for a way into a new
//! file ([`import`](crate::import())).
//!
//! The first line says what follows: the schema, how many rows each table has, and what the application keeps in the file
//! beside us (`also`). Then a line for each row, tables in order of names and rows in order of primary keys, so that
//! equal sites give equal bytes. Whole numbers and texts are JSON's; `{"$blob": hex}` are bytes, `{"$real": text}` is a
//! fraction, and `{"$text": hex}` a text that is not UTF-8.

use crate::copy::CopyError;
use crate::reader::Reader;
use crate::schema;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

/// What was exported or imported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportSummary {
    /// Rows of all tables.
    pub rows: u64,
    /// Rows of each table.
    pub tables: BTreeMap<String, u64>,
}

impl ExportSummary {
    pub(crate) fn of(tables: BTreeMap<String, u64>) -> Self {
        Self { rows: tables.values().sum(), tables }
    }
}

impl Reader {
    /// Writes the whole site, of one moment, as JSON Lines, the application's own tables included. Beside a living owner
    /// too; the write-ahead log is not emptied until the last line is written. What SQLite keeps for itself is left out:
    /// statistics, and the counters of `AUTOINCREMENT`.
    ///
    /// # Errors
    /// [`CopyError`].
    pub fn export(&self, out: &mut dyn Write) -> Result<ExportSummary, CopyError> {
        let connection = &self.connection;
        let _snapshot = connection.unchecked_transaction()?;
        let tables = tables(connection)?;
        let mut counts = BTreeMap::new();
        for table in &tables {
            let sql = format!("SELECT count(*) FROM {}", quoted(table));
            let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
            counts.insert(table.clone(), rows.cast_unsigned());
        }
        out.write_all(&header(connection, &counts)?).map_err(CopyError::Stream)?;
        for table in &tables {
            write_rows(connection, table, out)?;
        }
        out.flush().map_err(CopyError::Stream)?;
        Ok(ExportSummary::of(counts))
    }
}

/// Something in the file's schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    /// `table`, `index`, `view` or `trigger`.
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) sql: String,
}

/// All that is in the file's schema, and not SQLite's own, in a stable order.
pub(crate) fn objects(connection: &Connection) -> rusqlite::Result<BTreeSet<Object>> {
    let sql = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'";
    let mut statement = connection.prepare(sql)?;
    let objects =
        statement.query_map([], |row| Ok(Object { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? }))?;
    objects.collect()
}

/// The names of all tables, in order.
pub(crate) fn tables(connection: &Connection) -> Result<Vec<String>, CopyError> {
    let tables = objects(connection)?.into_iter().filter(|object| object.kind == "table");
    let plain = |table: Object| match table.sql.starts_with("CREATE VIRTUAL ") {
        true => Err(CopyError::Virtual { name: table.name }),
        false => Ok(table.name),
    };
    tables.map(plain).collect()
}

/// The columns of a table that hold a value, and those of its primary key.
pub(crate) fn columns(connection: &Connection, table: &str) -> rusqlite::Result<(Vec<String>, Vec<String>)> {
    let mut statement = connection.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")?;
    let columns = statement.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let columns = columns.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut key: Vec<_> = columns.iter().filter(|(_, place)| *place > 0).collect();
    key.sort_by_key(|(_, place)| *place);
    let key = key.into_iter().map(|(name, _)| name.clone()).collect();
    Ok((columns.into_iter().map(|(name, _)| name).collect(), key))
}

/// A name as SQL takes it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn header(connection: &Connection, counts: &BTreeMap<String, u64>) -> Result<Vec<u8>, CopyError> {
    let mut fresh = Connection::open_in_memory()?;
    schema::migrate(&mut fresh, Path::new(""))?;
    let ours: BTreeSet<_> = objects(&fresh)?.into_iter().map(|object| (object.kind, object.name)).collect();
    let mut line = format!("{{\"worksite\":{{\"schema\":{},\"rows\":{{", schema::VERSION).into_bytes();
    for (place, (table, rows)) in counts.iter().enumerate() {
        separate(&mut line, place);
        text(&mut line, table)?;
        line.extend_from_slice(format!(":{rows}").as_bytes());
    }
    line.extend_from_slice(b"},\"also\":[");
    let also =
        objects(connection)?.into_iter().filter(|object| !ours.contains(&(object.kind.clone(), object.name.clone())));
    for (place, Object { kind, name, sql }) in also.enumerate() {
        separate(&mut line, place);
        for (before, part) in [("{\"type\":", kind), (",\"name\":", name), (",\"sql\":", sql)] {
            line.extend_from_slice(before.as_bytes());
            text(&mut line, &part)?;
        }
        line.push(b'}');
    }
    line.extend_from_slice(b"]}}\n");
    Ok(line)
}

fn write_rows(connection: &Connection, table: &str, out: &mut dyn Write) -> Result<(), CopyError> {
    let (columns, key) = columns(connection, table)?;
    let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let order = if key.is_empty() { "rowid".into() } else { list(&key) };
    let sql = format!("SELECT {} FROM {} ORDER BY {order}", list(&columns), quoted(table));
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut line = Vec::new();
    while let Some(row) = rows.next()? {
        line.clear();
        line.extend_from_slice(b"{\"table\":");
        text(&mut line, table)?;
        line.extend_from_slice(b",\"row\":{");
        for (place, column) in columns.iter().enumerate() {
            separate(&mut line, place);
            text(&mut line, column)?;
            line.push(b':');
            value(&mut line, row.get_ref(place)?)?;
        }
        line.extend_from_slice(b"}}\n");
        out.write_all(&line).map_err(CopyError::Stream)?;
    }
    Ok(())
}

fn separate(line: &mut Vec<u8>, place: usize) {
    if place > 0 {
        line.push(b',');
    }
}

fn text(line: &mut Vec<u8>, text: &str) -> Result<(), CopyError> {
    serde_json::to_writer(line, text).map_err(|error| CopyError::Stream(io::Error::from(error)))
}

fn value(line: &mut Vec<u8>, value: ValueRef<'_>) -> Result<(), CopyError> {
    let tagged = match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(number) => number.to_string(),
        // Rust's shortest form reads back as the same number, and has words for the infinite ones, as JSON has not.
        ValueRef::Real(number) => format!("{{\"$real\":\"{number:?}\"}}"),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(plain) => return text(line, plain),
            Err(_) => format!("{{\"$text\":\"{}\"}}", hex(bytes)),
        },
        ValueRef::Blob(bytes) => format!("{{\"$blob\":\"{}\"}}", hex(bytes)),
    };
    line.extend_from_slice(tagged.as_bytes());
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _written = write!(text, "{byte:02x}");
    }
    text
}
