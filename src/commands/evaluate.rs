//! `millrace evaluate`: the figures of a model on new data.

use super::figures::figures;
use super::{Failure, file_model, print};
use crate::cli::EvaluateArgs;
use crate::offline::evaluate;

pub(super) fn run(arguments: &EvaluateArgs) -> Result<(), Failure> {
    let (mut model, table) = file_model::open(&arguments.file)?;
    let bar = file_model::bar(table.rows());
    let (target, column) = (arguments.target.as_deref(), arguments.file.column.as_deref());
    let evaluated = evaluate(&mut model, &table, target, column, &mut |rows| {
        bar.set_position(rows as u64);
    });
    bar.finish_and_clear();
    let evaluated = evaluated.map_err(file_model::failure)?;
    if arguments.json {
        let text = serde_json::to_string(&evaluated.evaluation).map_err(Failure::failed)?;
        return print(&(text + "\n"));
    }
    print(&format!(
        "{} version {} on {} rows: {}\n",
        model.name,
        model.version,
        evaluated.rows,
        figures(&evaluated.evaluation, &evaluated.classes)
    ))
}
