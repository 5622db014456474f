//! `millrace predict`: every row of a file through a model.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Failure, file_model, say};
use crate::cli::PredictArgs;
use crate::offline::{OfflineModel, Wanted, predict};
use crate::training::dataset::Table;

pub(super) fn run(arguments: &PredictArgs) -> Result<(), Failure> {
    let (mut model, table) = file_model::open(&arguments.file)?;
    let Some(path) = &arguments.output else {
        let mut output = BufWriter::new(std::io::stdout().lock());
        return write(arguments, &mut model, &table, (&mut output, "standard output"));
    };
    let unfinished = beside(path);
    let outcome = write_file(arguments, &mut model, &table, &unfinished, path);
    if outcome.is_err() {
        // Half a file could be taken for a whole one.
        let _ = std::fs::remove_file(&unfinished);
    }
    outcome
}

fn write_file(
    arguments: &PredictArgs,
    model: &mut OfflineModel,
    table: &Table,
    unfinished: &Path,
    path: &Path,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let mut output = BufWriter::new(File::create(unfinished).map_err(failed)?);
    write(
        arguments,
        model,
        table,
        (&mut output, &path.display().to_string()),
    )?;
    output.flush().map_err(failed)?;
    std::fs::rename(unfinished, path).map_err(failed)
}

fn write(
    arguments: &PredictArgs,
    model: &mut OfflineModel,
    table: &Table,
    output: (&mut dyn Write, &str),
) -> Result<(), Failure> {
    let bar = file_model::bar(table.rows());
    let wanted = Wanted {
        column: arguments.file.column.as_deref(),
        keep: arguments.keep,
        rolling: arguments.rolling,
    };
    let outcome = predict(model, table, &wanted, output, &mut |rows| {
        bar.set_position(rows as u64);
    });
    bar.finish_and_clear();
    let predicted = outcome.map_err(file_model::failure)?;
    if predicted.without_window > 0 {
        let (rows, window) = (predicted.without_window, predicted.without_window + 1);
        say(&format!(
            "the first {rows} rows have no forecast: it is made from {window} values, the row's own the last of them"
        ));
    }
    Ok(())
}

/// Where a file is written before it has its name.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}
