//! The text of a card.

use std::fmt::Write as _;

use super::super::dataset::{Column, Missing, Target, Values};
use super::super::encoding::Unknown;
use super::super::evaluation::Evaluation;
use super::super::report::Candidate;
use super::interval::{bootstrap_rmse, wilson};
use super::pictures::Picture;
use super::{Findings, Subject, likeliest, sample};
use crate::chart::{clean, short, shortened};

/// Columns and classes that are listed at most.
const LISTED: usize = 40;
/// Categories of a column that are listed at most.
const LISTED_CATEGORIES: usize = 8;

/// The whole card.
pub(super) fn card(subject: &Subject<'_>, pictures: &[Picture], findings: &Findings) -> String {
    let sections = [
        head(subject),
        use_of_it(subject),
        data(subject),
        method(subject),
        figures(subject),
        classes(subject),
        candidates(&subject.report.candidates),
        illustrations(pictures, findings),
        limits(subject),
        again(subject),
    ];
    let mut card = sections.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    card.push('\n');
    card
}

/// A text from elsewhere, so that nothing in it begins or ends anything in Markdown.
fn plain(text: &str) -> String {
    let text = clean(text);
    let characters: Vec<char> = text.chars().collect();
    let is_inside = |place: usize| {
        let around = [place.checked_sub(1), Some(place + 1)];
        let mut around = around
            .into_iter()
            .map(|place| place.and_then(|place| characters.get(place)));
        around.all(|neighbour| neighbour.is_some_and(|neighbour| neighbour.is_alphanumeric()))
    };
    let mut escaped = String::with_capacity(text.len());
    for (place, &character) in characters.iter().enumerate() {
        // An underscore inside a word is one.
        let is_mark = match character {
            '_' => !is_inside(place),
            other => "\\`*[]<>|#~&".contains(other),
        };
        if is_mark {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// A figure to four decimals; a dash where there is none.
fn figure(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.4}")
    } else {
        "–".to_owned()
    }
}

/// A figure in the unit of the data, to four digits; a dash where there is none.
fn measured(value: f64) -> String {
    if value.is_finite() {
        short(value)
    } else {
        "–".to_owned()
    }
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = format!("| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = write!(table, "\n| {} |", row.join(" | "));
    }
    table
}

fn head(subject: &Subject<'_>) -> Option<String> {
    let request = subject.request;
    let model = plain(&request.destination.model);
    let description = request.description.as_deref().map(plain);
    let what = task(subject);
    Some(match description {
        Some(description) => format!("# {model}\n\n{description}\n\n{what}"),
        None => format!("# {model}\n\n{what}"),
    })
}

/// One sentence: what it predicts, from what, and how good that is.
fn task(subject: &Subject<'_>) -> String {
    let target = plain(&subject.roles.target);
    let held_out = subject.held_out.rows();
    let columns = subject.held_out.columns.len();
    let from = if columns == 1 {
        format!("`{}`", clean(&subject.held_out.columns[0].name).replace('`', "'"))
    } else {
        format!("{columns} features")
    };
    match (&subject.held_out.target, &subject.report.metrics) {
        (Target::Classes { names, .. }, Evaluation::Classification { accuracy, .. }) => format!(
            "Tells which of {} classes of **{target}** a row is, from {from}. It was right for {:.1} % of {held_out} rows that it had \
             never seen.",
            names.len(),
            accuracy * 100.0
        ),
        (Target::Steps(steps), Evaluation::Forecast { rmse, .. }) => format!(
            "Forecasts the next {} values of **{target}** from {from}. On {held_out} windows that it had never seen, its error (RMSE) \
             was {}.",
            steps.ncols(),
            measured(*rmse)
        ),
        (_, Evaluation::Regression { rmse, r2, .. }) => format!(
            "Predicts the number **{target}** from {from}. On {held_out} rows that it had never seen, its error (RMSE) was {} \
             (R² {}).",
            measured(*rmse),
            figure(*r2)
        ),
        _ => format!("Predicts **{target}** from {from}."),
    }
}

fn use_of_it(subject: &Subject<'_>) -> Option<String> {
    let mut text = "## Use\n\nMeant for rows that come about as those of the data below did, and for nothing that the figures below \
                    do not speak for."
        .to_owned();
    // The row that the example explains would be the hardest one; the first is as good as any.
    if let Some(row) = sample::row(subject.inputs, subject.held_out, 0) {
        let request = sample::request(&subject.request.destination.model, &row);
        let _ = write!(
            text,
            " With a server on this machine (`millrace serve`), the first row held out is asked for so:\n\n```sh\n{request}\n```\n\n{}",
            answer(subject)
        );
    }
    Some(text)
}

fn answer(subject: &Subject<'_>) -> String {
    let predicted = subject.predictions.row(0);
    match &subject.held_out.target {
        Target::Classes { names, labels } => {
            let class = likeliest(predicted);
            let name = |class: usize| plain(names.get(class).map_or("", String::as_str));
            let probability = figure(predicted[class]);
            format!(
                "It answers {} with probability {probability}; the truth is {}.",
                name(class),
                name(labels[0])
            )
        }
        Target::Numbers(values) => format!(
            "It answers {}; the truth is {}.",
            measured(predicted[0]),
            measured(values[0])
        ),
        Target::Steps(values) => {
            let list = |values: Vec<f64>| {
                values
                    .into_iter()
                    .take(6)
                    .map(measured)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let more = if predicted.len() > 6 { ", …" } else { "" };
            format!(
                "It answers {}{more}; what came was {}{more}.",
                list(predicted.to_vec()),
                list(values.row(0).to_vec())
            )
        }
    }
}

fn data(subject: &Subject<'_>) -> Option<String> {
    let (report, request) = (subject.report, subject.request);
    let file = request.data.file_name().unwrap_or_default().to_string_lossy();
    let (train, test) = (report.train_rows.len(), report.test_rows.len());
    let split = if in_order(&report.train_rows, &report.test_rows) {
        "the last ones of the file"
    } else if matches!(subject.held_out.target, Target::Classes { .. }) {
        "chosen by chance in proportion within each class"
    } else {
        "chosen by chance"
    };
    let mut text = format!(
        "## Data\n\nFrom {}: {} rows with the target {}. The model learnt from {train} of them (*training part*); {test} were held out, {split} \
         (share {}, seed {}), and used for nothing but the figures here. Where the data comes from, under which licence, and whom it is \
         about stands with the data file.\n\n",
        plain(&file),
        train + test,
        plain(&subject.roles.target),
        request.test_fraction,
        request.split_seed()
    );
    text += &columns(subject);
    let missing = match subject.roles.missing {
        Missing::Refuse => None,
        Missing::Mean => Some("mean"),
        Missing::Median => Some("median"),
    };
    if let Some(filling) = missing {
        let _ = write!(
            text,
            "\n\nMissing numbers become the {filling} of the training part; a missing category is a category of its own."
        );
    }
    if subject.held_out.columns.iter().any(is_categorical) {
        text += match request.unknown {
            Unknown::Refuse => "\n\nA category that the training part does not have is refused.",
            Unknown::Zero => {
                "\n\nA category that the training part does not have is taken for none of the categories."
            }
        };
    }
    Some(text)
}

/// Whether all rows held out come after all others.
fn in_order(train: &[usize], test: &[usize]) -> bool {
    match (train.last(), test.first()) {
        (Some(last), Some(first)) => last < first,
        _ => false,
    }
}

fn is_categorical(column: &Column) -> bool {
    matches!(column.values, Values::Categories(_))
}

fn columns(subject: &Subject<'_>) -> String {
    let columns = &subject.training.columns;
    let rows = columns.iter().take(LISTED).map(describe);
    let mut text = table(&["feature", "kind", "in the training part"], rows);
    if columns.len() > LISTED {
        let _ = write!(text, "\n\nand {} more.", columns.len() - LISTED);
    }
    text
}

fn describe(column: &Column) -> Vec<String> {
    let (kind, values) = match &column.values {
        Values::Numbers(values) => ("number", numbers(values)),
        Values::Categories(values) => ("category", categories(values)),
        Values::Texts(values) => ("text", texts(values)),
    };
    vec![plain(&column.name), kind.to_owned(), values]
}

fn numbers(values: &[f64]) -> String {
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    if present.is_empty() {
        return "no value".to_owned();
    }
    let least = present.iter().copied().fold(f64::INFINITY, f64::min);
    let most = present.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = present.iter().map(|value| value / present.len() as f64).sum();
    let gaps = match values.len() - present.len() {
        0 => String::new(),
        gaps => format!(", {gaps} missing"),
    };
    format!(
        "{} to {}, mean {}{gaps}",
        measured(least),
        measured(most),
        measured(mean)
    )
}

fn categories(values: &[String]) -> String {
    let names: std::collections::BTreeSet<&String> = values.iter().collect();
    let listed = names.iter().take(LISTED_CATEGORIES);
    let listed: Vec<String> = listed
        .map(|name| {
            if name.is_empty() {
                "(missing)".to_owned()
            } else {
                plain(&shortened(name, 30))
            }
        })
        .collect();
    let more = if names.len() > LISTED_CATEGORIES {
        ", …"
    } else {
        ""
    };
    format!("{} categories: {}{more}", names.len(), listed.join(", "))
}

fn texts(values: &[String]) -> String {
    let lengths = || values.iter().map(|text| text.chars().count());
    format!(
        "{} to {} characters",
        lengths().min().unwrap_or(0),
        lengths().max().unwrap_or(0)
    )
}

fn method(subject: &Subject<'_>) -> Option<String> {
    let report = subject.report;
    let mut text = format!("## Method\n\nFitted by `{}`", report.algorithm);
    if report.options.is_empty() {
        text.push('.');
    } else {
        text += " with these options:\n\n";
        let rows = report.options.iter();
        text += &table(
            &["option", "value"],
            rows.map(|(name, value)| vec![plain(name), plain(&value.to_string())]),
        );
    }
    if subject.request.balance_classes {
        text += "\n\nRows were weighted so that all classes count the same.";
    }
    if let Some(last) = report.epochs.last() {
        let _ = write!(
            text,
            "\n\nIt learnt for {} epochs; the weights are those after epoch {}, when the loss on the validation part (taken from the \
             training part) was lowest.",
            last.number, last.best
        );
    }
    Some(text)
}

fn figures(subject: &Subject<'_>) -> Option<String> {
    let rows = subject.held_out.rows();
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut line = |name: &str, value: String, meaning: &str| {
        lines.push(vec![name.to_owned(), value, meaning.to_owned()]);
    };
    match &subject.report.metrics {
        Evaluation::Classification {
            accuracy,
            log_loss,
            roc_auc,
            ..
        } => {
            let hits = (accuracy * rows as f64).round() as u32;
            let (least, most) = wilson(hits, u32::try_from(rows).unwrap_or(u32::MAX));
            let interval = format!(
                "{} (95 %: {} to {})",
                figure(*accuracy),
                figure(least),
                figure(most)
            );
            line(
                "accuracy",
                interval,
                "share of rows whose class was found; interval by Wilson",
            );
            if let Some(loss) = log_loss {
                line(
                    "log-loss",
                    figure(*loss),
                    "mean of −ln of the true class's probability; 0 is perfect",
                );
            }
            if let Some(area) = roc_auc {
                line(
                    "ROC AUC",
                    figure(*area),
                    "1 is perfect, 0.5 is chance; the mean over classes where there are more than two",
                );
            }
            line(
                "accuracy of the most frequent class",
                figure(most_frequent(subject)),
                "what comes of always saying that one",
            );
        }
        Evaluation::Regression { r2, rmse, mae } => {
            line(
                "R²",
                figure(*r2),
                "share of the variance that is predicted; 1 is perfect, 0 is as good as the mean",
            );
            line(
                "RMSE",
                with_interval(subject, *rmse),
                "root of the mean squared error, in the target's unit; interval by bootstrap",
            );
            line(
                "MAE",
                measured(*mae),
                "mean of the absolute error, in the target's unit",
            );
            line(
                "RMSE of the mean",
                measured(error_of_mean(subject)),
                "what comes of always saying the mean of the training part",
            );
        }
        Evaluation::Forecast { rmse, rmse_by_step } => {
            line(
                "RMSE",
                measured(*rmse),
                "root of the mean squared error over all steps, in the series' unit",
            );
            for (step, rmse) in (1..).zip(rmse_by_step.iter().take(LISTED)) {
                line(
                    &format!("RMSE, {step} ahead"),
                    measured(*rmse),
                    "the same for one step",
                );
            }
        }
    }
    for baseline in &subject.report.baselines {
        let figure = baseline.figure.replace("rmse", "RMSE");
        line(
            &format!("{figure} of {}", plain(baseline.name)),
            measured(baseline.value),
            "something simpler on the same rows",
        );
    }
    Some(format!(
        "## Figures\n\nOn the {rows} rows held out, by what the written file itself predicts.\n\n{}",
        table(&["figure", "value", "meaning"], lines)
    ))
}

/// The interval where it can be told.
fn with_interval(subject: &Subject<'_>, rmse: f64) -> String {
    let Target::Numbers(truth) = &subject.held_out.target else {
        return measured(rmse);
    };
    let errors = truth.iter().zip(subject.predictions.column(0));
    let squares: Vec<f64> = errors
        .map(|(truth, predicted)| (truth - predicted).powi(2))
        .collect();
    match bootstrap_rmse(&squares, subject.report.seed) {
        Some((least, most)) => {
            format!(
                "{} (95 %: {} to {})",
                measured(rmse),
                measured(least),
                measured(most)
            )
        }
        None => measured(rmse),
    }
}

fn error_of_mean(subject: &Subject<'_>) -> f64 {
    let (Target::Numbers(known), Target::Numbers(truth)) =
        (&subject.training.target, &subject.held_out.target)
    else {
        return f64::NAN;
    };
    let mean = known.sum() / known.len() as f64;
    (truth.iter().map(|truth| (truth - mean).powi(2)).sum::<f64>() / truth.len() as f64).sqrt()
}

/// The share of the rows held out that are of the class with most rows in the training part.
fn most_frequent(subject: &Subject<'_>) -> f64 {
    let (Target::Classes { names, labels: known }, Target::Classes { labels, .. }) =
        (&subject.training.target, &subject.held_out.target)
    else {
        return f64::NAN;
    };
    let rows_of = |labels: &[usize], class: usize| labels.iter().filter(|&&label| label == class).count();
    // Of equals the first.
    let most = (0..names.len()).rev().max_by_key(|&class| rows_of(known, class));
    most.map_or(f64::NAN, |class| {
        rows_of(labels, class) as f64 / labels.len() as f64
    })
}

fn classes(subject: &Subject<'_>) -> Option<String> {
    let Evaluation::Classification { confusion, .. } = &subject.report.metrics else {
        return None;
    };
    let names = &subject.report.classes;
    let share = |part: u32, whole: u32| {
        if whole == 0 {
            return "–".to_owned();
        }
        let (least, most) = wilson(part, whole);
        let share = f64::from(part) / f64::from(whole);
        format!("{share:.3} ({least:.3} to {most:.3})")
    };
    let rows = (0..names.len().min(LISTED)).map(|class| {
        let rows = confusion[class].iter().sum::<u32>();
        let found = confusion[class][class];
        let said = confusion.iter().map(|row| row[class]).sum::<u32>();
        vec![
            plain(&names[class]),
            rows.to_string(),
            share(found, rows),
            share(found, said),
        ]
    });
    let mut text = format!(
        "## By class\n\nRecall is the share of a class that was found, precision the share of what was taken for it that was right, both \
         with 95 % intervals.\n\n{}",
        table(&["class", "rows held out", "recall", "precision"], rows)
    );
    if names.len() > LISTED {
        let _ = write!(text, "\n\nand {} more.", names.len() - LISTED);
    }
    Some(text)
}

fn candidates(candidates: &[Candidate]) -> Option<String> {
    let first = candidates.first()?;
    let differs = |key: &str| {
        candidates
            .iter()
            .any(|other| other.options.get(key) != first.options.get(key))
    };
    let rows = candidates.iter().map(|candidate| {
        let options = candidate.options.iter().filter(|(key, _)| differs(key));
        let options: Vec<String> = options
            .map(|(key, value)| plain(&format!("{key} = {value}")))
            .collect();
        let options = if options.is_empty() {
            "as above".to_owned()
        } else {
            options.join(", ")
        };
        vec![
            options,
            candidate.scores.len().to_string(),
            figure(candidate.mean),
            figure(candidate.deviation),
        ]
    });
    let chosen = if candidates.len() > 1 {
        " The best of these was fitted on the whole training part."
    } else {
        ""
    };
    Some(format!(
        "## Cross-validation\n\nThe training part was divided, and each part predicted by a fit on the others; the rows held out had no \
         share in it.{chosen}\n\n{}",
        table(
            &[
                "options",
                "parts",
                &format!("mean {}", first.figure),
                "standard deviation"
            ],
            rows
        )
    ))
}

fn illustrations(pictures: &[Picture], findings: &Findings) -> Option<String> {
    let picture = |picture: &Picture| {
        format!(
            "### {title}\n\n![{title}]({path})\n\n{caption}",
            title = picture.title,
            path = crate::model::card::picture_path(picture.file),
            caption = plain(&picture.caption)
        )
    };
    let mut parts = vec!["## Pictures".to_owned()];
    parts.extend(pictures.iter().map(picture));
    parts.extend(findings.failures.iter().map(|failure| plain(failure)));
    (parts.len() > 1).then(|| parts.join("\n\n"))
}

fn limits(subject: &Subject<'_>) -> Option<String> {
    let (train, test) = (subject.training.rows(), subject.held_out.rows());
    let mut limits = vec![
        format!(
            "{train} rows were learnt from and {test} were held out, once. Another division of the same data gives another model and other \
             figures; the intervals above only say what the choice of the rows held out does."
        ),
        "Rows from elsewhere, from later, or measured in another way can be harder than those held out here."
            .to_owned(),
    ];
    if subject
        .held_out
        .columns
        .iter()
        .any(|column| matches!(column.values, Values::Numbers(_)))
    {
        limits.push(
            "Values outside the ranges of the table of features are extrapolated, and no answer says so."
                .to_owned(),
        );
    }
    if matches!(subject.held_out.target, Target::Classes { .. }) {
        limits.push(
            "It answers one of its classes to every row, also to one that is of none of them.".to_owned(),
        );
    }
    if let Some(rare) = rarest(subject) {
        limits.push(rare);
    }
    limits.push("Whether it is equally good for different groups of people was not looked at.".to_owned());
    Some(format!("## Limits\n\n- {}", limits.join("\n- ")))
}

/// A word on classes with few rows held out.
fn rarest(subject: &Subject<'_>) -> Option<String> {
    const FEW: usize = 20;
    let Target::Classes { names, labels } = &subject.held_out.target else {
        return None;
    };
    let rows_of = |class: usize| labels.iter().filter(|&&label| label == class).count();
    let few = (0..names.len()).filter(|&class| rows_of(class) < FEW).count();
    (few > 0).then(|| {
        format!("Of {few} of the {} classes fewer than {FEW} rows were held out: what is said of these alone is little more than a guess.", names.len())
    })
}

fn again(subject: &Subject<'_>) -> Option<String> {
    let command = subject.request.command.as_deref()?;
    // The fence must be longer than any in the command.
    let fence = "`".repeat(3 + command.matches('`').count());
    Some(format!(
        "## Again\n\nThe same command on the same file gives the same model and this card, byte for byte (a net: on machines with the same \
         vector units).\n\n{fence}sh\n{}\n{fence}",
        command.replace('\n', " ")
    ))
}
