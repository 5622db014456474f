//! `millrace evaluate`: the figures of a model on new data.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::figures::{class_table, figures};
use super::{Failure, file_model, print};
use crate::cli::EvaluateArgs;
use crate::offline::{Evaluated, Judged, Question, evaluate};

pub(super) fn run(arguments: &EvaluateArgs) -> Result<(), Failure> {
    let (mut model, table) = file_model::open(&arguments.file)?;
    let bar = file_model::bar(table.rows());
    let question = Question {
        targets: &arguments.target,
        output: arguments.output.as_deref(),
        column: arguments.file.column.as_deref(),
    };
    let evaluated = evaluate(&mut model, &table, &question, &mut |rows| {
        bar.set_position(rows as u64);
    });
    bar.finish_and_clear();
    let evaluated = evaluated.map_err(file_model::failure)?;
    if arguments.json {
        let value = as_json(&evaluated).map_err(Failure::failed)?;
        return print(&format!("{value}\n"));
    }
    let heading = format!(
        "{} version {} on {} rows",
        model.name, model.version, evaluated.rows
    );
    print(&in_words(&heading, &evaluated.judged))
}

fn in_words(heading: &str, judged: &[Judged]) -> String {
    if let [only] = judged {
        return format!("{heading}: {}", told(only));
    }
    let mut text = format!("{heading}:\n");
    for judged in judged {
        let _ = write!(text, "{}: {}", judged.target, told(judged));
    }
    text
}

fn told(judged: &Judged) -> String {
    let mut text = figures(&judged.evaluation, &judged.classes) + "\n";
    if !judged.classes.is_empty() {
        text += &class_table(&judged.evaluation.by_class(&judged.classes));
    }
    if let Some(note) = &judged.note {
        let _ = writeln!(text, "\n{note}");
    }
    text
}

/// The figures of the only target, or a list of those of each.
fn as_json(evaluated: &Evaluated) -> serde_json::Result<Value> {
    let mut judged: Vec<Value> = Vec::new();
    for it in &evaluated.judged {
        let mut value = serde_json::to_value(it)?;
        if !it.classes.is_empty() {
            value["by_class"] = serde_json::to_value(it.evaluation.by_class(&it.classes))?;
        }
        judged.push(value);
    }
    let mut value = match <[Value; 1]>::try_from(judged) {
        Ok([only]) => only,
        Err(several) => json!({ "targets": several }),
    };
    value["rows"] = evaluated.rows.into();
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::evaluation::Evaluation;

    fn regression(target: &str) -> Judged {
        Judged {
            target: target.to_owned(),
            evaluation: Evaluation::Regression {
                r2: 0.5,
                rmse: 2.0,
                mae: 1.0,
            },
            classes: Vec::new(),
            note: None,
        }
    }

    #[test]
    fn several_targets_are_a_list() {
        let one = vec![regression("a")];
        let two = vec![regression("a"), regression("b")];
        let expected = "h: R² 0.5000, RMSE 2.0000, MAE 1.0000\n";
        assert_eq!(in_words("h", &one), expected);
        let expected = "h:\na: R² 0.5000, RMSE 2.0000, MAE 1.0000\nb: R² 0.5000, RMSE 2.0000, MAE 1.0000\n";
        assert_eq!(in_words("h", &two), expected);
        let json = |judged| as_json(&Evaluated { rows: 3, judged }).unwrap();
        assert_eq!(
            json(one),
            json!({"target": "a", "r2": 0.5, "rmse": 2.0, "mae": 1.0, "rows": 3})
        );
        assert_eq!(json(two)["targets"][1]["target"], "b");
    }
}
