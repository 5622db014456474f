//! What is printed once a model is written.

use std::fmt::Write as _;

use crate::commands::figures::figures;
use crate::training::report::Candidate;
use crate::training::{Outcome, Request};

/// The figures on the rows held out, and where the model went.
pub(super) fn summary(request: &Request, outcome: &Outcome, seconds: f64) -> String {
    let Outcome {
        version,
        folder,
        report,
    } = outcome;
    let (train, test) = (report.train_rows.len(), report.test_rows.len());
    let mut figures = figures(&report.metrics, &report.classes);
    for baseline in &report.baselines {
        let _ = write!(figures, "\n{}: RMSE {:.4}", baseline.name, baseline.rmse);
    }
    format!(
        "{model} version {version}: {algorithm} on {train} rows of {features} features, {seconds:.2} s\n\
         {candidates}held out ({test} rows): {figures}\nwritten to {folder}\n",
        model = request.destination.model,
        algorithm = report.algorithm,
        features = report.features.len(),
        candidates = candidates(&report.candidates, &report.options),
        folder = folder.display(),
    )
}

/// What each candidate came to, the chosen one marked.
fn candidates(candidates: &[Candidate], chosen: &toml::Table) -> String {
    let mut lines = String::new();
    for candidate in candidates {
        let options = options(candidate, candidates);
        let mark = if candidates.len() > 1 && candidate.options == *chosen {
            "  ← taken"
        } else {
            ""
        };
        let Candidate {
            figure,
            mean,
            deviation,
            scores,
            ..
        } = candidate;
        let parts = scores.len();
        let _ = writeln!(
            lines,
            "cross-validation ({parts} parts){options}: {figure} {mean:.4} ± {deviation:.4}{mark}"
        );
    }
    lines
}

/// The options of a candidate that are not the same for all.
fn options(candidate: &Candidate, all: &[Candidate]) -> String {
    let differs = |key: &str| {
        all.iter()
            .any(|other| other.options.get(key) != candidate.options.get(key))
    };
    let differing = candidate.options.iter().filter(|(key, _)| differs(key));
    differing
        .map(|(key, value)| format!(" {key} = {value}"))
        .collect()
}
