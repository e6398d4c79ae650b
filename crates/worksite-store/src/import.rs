//! The import owns the way from an export's lines to a new site. The lines are input: everything in them is checked, and
//! nothing is left of a file that is not sound at the end.

use crate::check::check;
use crate::copy::{CopyError, NewFile};
use crate::export::{ExportSummary, Object, columns, objects, quoted, tables};
use crate::schema;
use rusqlite::types::{ToSql, ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, params_from_iter};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::Path;

/// Makes a new site of the lines of an [export](crate::Reader::export). It appears under its name when all lines are read and
/// [`Reader::check`](crate::Reader::check) finds nothing wrong with it; otherwise nothing is left. Exporting it gives the
/// same bytes again.
///
/// # Errors
/// [`CopyError`]; what is wrong with a line comes with its number.
pub fn import(path: impl AsRef<Path>, input: &mut dyn BufRead) -> Result<ExportSummary, CopyError> {
    let new = NewFile::begin(path.as_ref())?;
    let mut connection = Connection::open(new.temporary())?;
    // The file is synced as a whole when it is finished, and thrown away when it is not.
    for (pragma, value) in
        [("auto_vacuum", "2"), ("journal_mode", "memory"), ("synchronous", "0"), ("foreign_keys", "0")]
    {
        connection.pragma_update(None, pragma, value)?;
    }
    schema::migrate(&mut connection, new.temporary())?;
    let summary = Import { lines: Lines { input, number: 0, bytes: Vec::new() }, connection: &connection }.run()?;
    let report = check(&connection)?;
    if !report.is_sound() {
        return Err(CopyError::Unsound { problems: report.problems });
    }
    connection.close().map_err(|(_open, error)| CopyError::from(error))?;
    new.land()?;
    Ok(summary)
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: u64,
    bytes: Vec<u8>,
}

impl Lines<'_> {
    /// The object on the next line; nothing at the end.
    fn next(&mut self) -> Result<Option<Map<String, Value>>, CopyError> {
        self.bytes.clear();
        if self.input.read_until(b'\n', &mut self.bytes).map_err(CopyError::Stream)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        match serde_json::from_slice(&self.bytes) {
            Ok(object) => Ok(Some(object)),
            Err(error) => Err(self.broken(format!("it is no JSON object: {error}"))),
        }
    }

    fn broken(&self, reason: impl Into<String>) -> CopyError {
        CopyError::Line { line: self.number, reason: reason.into() }
    }
}

/// What the first line says.
struct Header {
    rows: BTreeMap<String, u64>,
    also: Vec<Object>,
}

/// A table that is being filled.
struct Table {
    columns: Vec<String>,
    insert: String,
    rows: u64,
}

struct Import<'a> {
    lines: Lines<'a>,
    connection: &'a Connection,
}

impl Import<'_> {
    fn run(mut self) -> Result<ExportSummary, CopyError> {
        let Header { rows: announced, also } = self.header()?;
        let transaction = self.connection.unchecked_transaction()?;
        let (new_tables, later): (Vec<_>, Vec<_>) = also.iter().partition(|object| object.kind == "table");
        for object in new_tables {
            self.create(object)?;
        }
        let mut filled = HashMap::new();
        for name in tables(self.connection)? {
            // A new site has rows of its own.
            self.connection.execute(&format!("DELETE FROM {}", quoted(&name)), [])?;
            filled.insert(name.clone(), Table::of(self.connection, &name)?);
        }
        while let Some(line) = self.lines.next()? {
            self.insert(&mut filled, line)?;
        }
        let found: BTreeMap<_, _> = filled.into_iter().map(|(name, table)| (name, table.rows)).collect();
        for table in announced.keys().chain(found.keys()) {
            let rows = |counts: &BTreeMap<String, u64>| counts.get(table).copied().unwrap_or_default();
            let (announced, found) = (rows(&announced), rows(&found));
            if found != announced {
                return Err(CopyError::Incomplete { table: table.clone(), announced, found });
            }
        }
        // After the rows, because triggers would act on them.
        for object in later {
            self.create(object)?;
        }
        transaction.commit()?;
        Ok(ExportSummary::of(found))
    }

    fn header(&mut self) -> Result<Header, CopyError> {
        let first = self.lines.next()?;
        let header = first.as_ref().and_then(|line| line.get("worksite")).and_then(Value::as_object);
        let Some(header) = header else {
            self.lines.number = 1;
            return Err(self.lines.broken("an export begins with a line {\"worksite\": …}"));
        };
        match header.get("schema").and_then(Value::as_i64) {
            Some(schema::VERSION) => {}
            Some(found) => return Err(CopyError::OtherSchema { found, supported: schema::VERSION }),
            None => return Err(self.lines.broken("it does not say its schema")),
        }
        let count = |(table, rows): (&String, &Value)| Some((table.clone(), rows.as_u64()?));
        let rows = header.get("rows").and_then(Value::as_object);
        let rows = rows.and_then(|rows| rows.iter().map(count).collect::<Option<_>>());
        let rows = rows.ok_or_else(|| self.lines.broken("it does not say how many rows each table has"))?;
        let object = |object: &Value| {
            let part = |name| object.get(name).and_then(Value::as_str).map(ToString::to_string);
            Some(Object { kind: part("type")?, name: part("name")?, sql: part("sql")? })
        };
        let also = header.get("also").and_then(Value::as_array);
        let also = also.and_then(|also| also.iter().map(object).collect::<Option<_>>());
        let also = also.ok_or_else(|| self.lines.broken("it does not say what the application has in the file"))?;
        Ok(Header { rows, also })
    }

    /// Creates something of the application's. Only what it says is made: other statements are refused unread.
    fn create(&self, object: &Object) -> Result<(), CopyError> {
        let broken = |reason: String| {
            let reason = format!("the application's {} {:?} cannot be made: {reason}", object.kind, object.name);
            CopyError::Line { line: 1, reason }
        };
        let begins = |word: &str| object.sql.starts_with(word);
        let creates = match object.kind.as_str() {
            "table" => begins("CREATE TABLE "),
            "index" => begins("CREATE INDEX ") || begins("CREATE UNIQUE INDEX "),
            "view" => begins("CREATE VIEW "),
            "trigger" => begins("CREATE TRIGGER "),
            _ => false,
        };
        if !creates {
            return Err(broken("its statement creates something else".into()));
        }
        self.connection.execute(&object.sql, []).map_err(|error| broken(error.to_string()))?;
        match objects(self.connection)?.contains(object) {
            true => Ok(()),
            false => Err(broken("its statement creates something else".into())),
        }
    }

    fn insert(&self, filled: &mut HashMap<String, Table>, line: Map<String, Value>) -> Result<(), CopyError> {
        let broken = |reason: String| self.lines.broken(reason);
        let name = line.get("table").and_then(Value::as_str).ok_or_else(|| broken("it names no table".into()))?;
        let row = line.get("row").and_then(Value::as_object).ok_or_else(|| broken("it has no row".into()))?;
        let table = filled.get_mut(name).ok_or_else(|| broken(format!("there is no table {name:?}")))?;
        if let Some(column) = row.keys().find(|column| !table.columns.contains(column)) {
            return Err(broken(format!("{name:?} has no column {column:?}")));
        }
        let value = |column: &String| {
            let value = row.get(column).ok_or_else(|| broken(format!("column {column:?} is missing")))?;
            Cell::of(value).ok_or_else(|| broken(format!("column {column:?} has no value of a file: {value}")))
        };
        let values = table.columns.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let inserted = self
            .connection
            .prepare_cached(&table.insert)
            .and_then(|mut insert| insert.execute(params_from_iter(values)).map(drop));
        inserted.map_err(|error| broken(error.to_string()))?;
        table.rows += 1;
        Ok(())
    }
}

impl Table {
    fn of(connection: &Connection, name: &str) -> rusqlite::Result<Self> {
        let (columns, _key) = columns(connection, name)?;
        let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
        let places = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO {} ({list}) VALUES ({places})", quoted(name));
        Ok(Self { columns, insert, rows: 0 })
    }
}

/// A value as the file is to have it.
enum Cell {
    Plain(SqlValue),
    /// A text that is not UTF-8: only a damaged or foreign file has one.
    Text(Vec<u8>),
}

impl Cell {
    /// The file's value for a line's; nothing when there is none.
    fn of(value: &Value) -> Option<Self> {
        let plain = match value {
            Value::Null => SqlValue::Null,
            Value::Number(number) => SqlValue::Integer(number.as_i64()?),
            Value::String(text) => SqlValue::Text(text.clone()),
            Value::Object(tagged) if tagged.len() == 1 => {
                let (tag, text) = tagged.iter().next()?;
                match (tag.as_str(), text.as_str()?) {
                    ("$blob", hex) => SqlValue::Blob(bytes(hex)?),
                    ("$real", number) => SqlValue::Real(number.parse().ok()?),
                    ("$text", hex) => return bytes(hex).map(Self::Text),
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some(Self::Plain(plain))
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Plain(value) => value.to_sql(),
            Self::Text(bytes) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(bytes))),
        }
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
