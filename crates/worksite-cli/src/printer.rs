//! The printer owns how things look: a JSON object a line for programs, tables for people.

use crate::{letter, moment};
use serde_json::Value;
use std::error::Error;
use std::io::{self, BufWriter, Stdout, Write};

/// The widest a text is shown in a table, in letters.
const TEXT_MAX: usize = 60;

pub(crate) struct Printer {
    json: bool,
    out: BufWriter<Stdout>,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, out: BufWriter::new(io::stdout()) }
    }

    /// A list of objects: all of them for programs, these columns for people.
    pub(crate) fn list(&mut self, columns: &[&str], rows: &[Value]) -> io::Result<()> {
        if self.json {
            return rows.iter().try_for_each(|row| writeln!(self.out, "{row}"));
        }
        if rows.is_empty() {
            return writeln!(self.out, "nothing");
        }
        let cells = rows.iter().map(|row| columns.iter().map(|column| Cell::of(column, &row[*column])).collect());
        let heads = columns.iter().map(|column| Cell { text: column.replace('_', " "), number: false }).collect();
        let mut lines: Vec<Vec<Cell>> = vec![heads];
        lines.extend(cells);
        self.table(&lines)
    }

    /// One object; for people a line for each of these keys.
    pub(crate) fn object(&mut self, keys: &[&str], object: &Value) -> io::Result<()> {
        if self.json {
            return writeln!(self.out, "{object}");
        }
        // Numbers alone stand below each other by their last digits; among texts they begin where those do.
        let texts = keys.iter().any(|key| object[*key].is_string());
        let line = |key: &&str| {
            let (head, cell) = (Cell { text: key.replace('_', " "), number: false }, Cell::of(key, &object[*key]));
            vec![head, Cell { number: cell.number && !texts, ..cell }]
        };
        let lines: Vec<_> = keys.iter().map(line).collect();
        self.table(&lines)
    }

    /// What else belongs to an object that was printed: a table for people, apart from it; for programs it is in the object.
    pub(crate) fn part(&mut self, columns: &[&str], rows: &[Value]) -> io::Result<()> {
        if self.json || rows.is_empty() {
            return Ok(());
        }
        writeln!(self.out)?;
        self.list(columns, rows)
    }

    /// Says that there may be more than this page, and how to get it: by the id of its last row.
    pub(crate) fn say_if_full(&mut self, rows: &[Value], limit: u32, by: &str) -> io::Result<()> {
        let Some(last) = rows.last().filter(|_| rows.len() == limit as usize) else { return Ok(()) };
        match &last["id"] {
            Value::Null => Ok(()),
            Value::String(id) => self.say(&format!("there may be more: {by} {id}")),
            id => self.say(&format!("there may be more: {by} {id}")),
        }
    }

    /// A sentence for people alone.
    pub(crate) fn say(&mut self, sentence: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(self.out, "{}", clean(sentence)) }
    }

    /// Where lines go that are to be passed on as they are.
    pub(crate) fn raw(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(crate) fn tell_error(&mut self, error: &dyn Error) {
        let _told = self.out.flush();
        let mut standard_error = io::stderr();
        let _told = if self.json {
            writeln!(standard_error, "{}", serde_json::json!({ "error": error.to_string() }))
        } else {
            writeln!(standard_error, "worksite: {}", clean(&error.to_string()))
        };
    }

    fn table(&mut self, lines: &[Vec<Cell>]) -> io::Result<()> {
        let columns = lines.first().map_or(0, Vec::len);
        let width = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        for line in lines {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                let space = " ".repeat(width - cell.width());
                let (before, after) = if cell.number { (space.as_str(), "") } else { ("", space.as_str()) };
                text.extend([before, &cell.text, after, "  "]);
            }
            writeln!(self.out, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

struct Cell {
    text: String,
    number: bool,
}

impl Cell {
    fn of(key: &str, value: &Value) -> Self {
        let text = match value {
            Value::Null => String::new(),
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
            Value::Number(number) if is_moment(key) => number.as_i64().map(moment::utc).unwrap_or_default(),
            Value::Number(number) => return Self { text: number.to_string(), number: true },
            Value::String(text) => shortened(&clean(text)),
            Value::Array(parts) => {
                let names = parts.iter().filter_map(|part| part.as_str().or(part["routine"].as_str()));
                shortened(&names.map(clean).collect::<Vec<_>>().join(", "))
            }
            Value::Object(payload) => shortened(&clean(&letter::in_words(payload))),
        };
        Self { text, number: false }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Whether what goes under this name is a time, in microseconds since 1970.
fn is_moment(key: &str) -> bool {
    matches!(key, "due" | "deadline" | "lease_until") || key.ends_with("_at")
}

/// Mail comes from anywhere: what would move the cursor or colour the terminal is shown as an escape.
fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            clean.extend(letter.escape_default());
        } else {
            clean.push(letter);
        }
    }
    clean
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_cannot_play_with_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\u{9b}"), "a\\u{1b}[31mb\\r\\n\\u{9b}");
        assert_eq!(shortened(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
        assert_eq!(shortened(&"ä".repeat(60)), "ä".repeat(60));
    }
}
