//! Copies own the ways from a site to another file and back.

use crate::printer::Printer;
use crate::{Ended, Ending};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::Path;
use worksite::store::{CopyError, ExportSummary, Reader};

pub(crate) fn backup(reader: &Reader, to: &Path, printer: &mut Printer) -> Ended {
    reader.backup(to)?;
    printer.object(&["backup"], &json!({ "backup": to.display().to_string() }))?;
    Ok(Ending::Fine)
}

pub(crate) fn export(reader: &Reader, to: Option<&Path>, printer: &mut Printer) -> Ended {
    let Some(to) = to else {
        reader.export(printer.raw())?;
        return Ok(Ending::Fine);
    };
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => CopyError::Exists { path: to.to_path_buf() },
        _ => CopyError::Io { path: to.to_path_buf(), error },
    };
    let mut file = BufWriter::new(File::create_new(to).map_err(refused)?);
    let written = reader.export(&mut file).and_then(|summary| {
        file.get_ref().sync_all().map_err(refused)?;
        Ok(summary)
    });
    let summary = written.inspect_err(|_| drop(fs::remove_file(to)))?;
    printer.object(&["export", "rows"], &told(&summary, "export", to))?;
    Ok(Ending::Fine)
}

pub(crate) fn import(file: &Path, from: &Path, printer: &mut Printer) -> Ended {
    let summary = if from == Path::new("-") {
        worksite::store::import(file, &mut io::stdin().lock())?
    } else {
        let lines = File::open(from).map_err(|error| format!("{} cannot be read: {error}", from.display()))?;
        worksite::store::import(file, &mut BufReader::new(lines))?
    };
    printer.object(&["import", "rows"], &told(&summary, "import", file))?;
    Ok(Ending::Fine)
}

fn told(summary: &ExportSummary, what: &str, path: &Path) -> Value {
    json!({what: path.display().to_string(), "rows": summary.rows, "tables": summary.tables})
}
