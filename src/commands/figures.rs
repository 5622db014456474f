//! Figures as people read them.

use std::fmt::Write as _;

use crate::training::evaluation::{ClassFigures, Evaluation};

/// The figures in words; for classes with the table of which was taken for which.
pub(super) fn figures(metrics: &Evaluation, classes: &[String]) -> String {
    match metrics {
        Evaluation::Regression { r2, rmse, mae } => format!("R² {r2:.4}, RMSE {rmse:.4}, MAE {mae:.4}"),
        Evaluation::Forecast { rmse, rmse_by_step } => {
            let by_step: Vec<String> = rmse_by_step.iter().map(|rmse| format!("{rmse:.4}")).collect();
            format!("RMSE {rmse:.4} (by step ahead: {})", by_step.join(", "))
        }
        Evaluation::Classification {
            accuracy,
            log_loss,
            roc_auc,
            confusion,
        } => {
            let loss = log_loss
                .map(|loss| format!(", log-loss {loss:.4}"))
                .unwrap_or_default();
            let area = roc_auc
                .map(|area| format!(", ROC AUC {area:.4}"))
                .unwrap_or_default();
            let table = confusion_table(classes, confusion);
            format!("accuracy {accuracy:.4}{loss}{area}\n\n{table}")
        }
    }
}

/// A line for each class: how many rows are of it, and how well it is told from the others.
pub(super) fn class_table(classes: &[ClassFigures]) -> String {
    const NAME: &str = "class";
    let width = |class: &ClassFigures| class.class.chars().count();
    let first = classes.iter().map(width).max().unwrap_or(0).max(NAME.len());
    let mut table = format!(
        "{NAME:<first$}  {:>7}  {:>9}  {:>6}  {:>6}\n",
        "rows", "precision", "recall", "F1"
    );
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{share:.4}"));
    for class in classes {
        let ClassFigures {
            class,
            rows,
            precision,
            recall,
            f1,
        } = class;
        let (precision, recall, f1) = (share(*precision), share(*recall), share(*f1));
        let _ = writeln!(
            table,
            "{class:<first$}  {rows:>7}  {precision:>9}  {recall:>6}  {f1:>6}"
        );
    }
    table
}

/// A line for each true class, a column for each predicted one.
fn confusion_table(classes: &[String], confusion: &[Vec<u32>]) -> String {
    const CORNER: &str = "true \\ predicted";
    let width = |name: &String| name.chars().count();
    let first = classes.iter().map(width).max().unwrap_or(0).max(CORNER.len());
    let others: Vec<usize> = classes.iter().map(|name| width(name).max(4)).collect();
    let mut table = format!("{CORNER:<first$}");
    for (name, &width) in classes.iter().zip(&others) {
        let _ = write!(table, "  {name:>width$}");
    }
    table.push('\n');
    for (name, counts) in classes.iter().zip(confusion) {
        let _ = write!(table, "{name:<first$}");
        for (count, &width) in counts.iter().zip(&others) {
            let _ = write!(table, "  {count:>width$}");
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_classes_lines_up() {
        let classes = ["cat".to_owned(), "crocodile".to_owned()];
        let evaluation = Evaluation::of_classes(&[0, 0, 0], &[0, 0, 1], 2, None);
        let expected = "\
class         rows  precision  recall      F1
cat              2     0.6667  1.0000  0.8000
crocodile        1          –  0.0000  0.0000
";
        assert_eq!(class_table(&evaluation.by_class(&classes)), expected);
    }

    #[test]
    fn the_confusion_table_lines_up() {
        let classes = ["cat".to_owned(), "crocodile".to_owned()];
        let table = confusion_table(&classes, &[vec![10, 2], vec![0, 1234]]);
        let expected = "\
true \\ predicted   cat  crocodile
cat                 10          2
crocodile            0       1234
";
        assert_eq!(table, expected);
    }
}
