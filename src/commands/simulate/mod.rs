//! `millrace simulate`: read the scenario, run it under each policy, print the figures.

mod scenario;

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use self::scenario::{Contender, Plan};
use super::start::{layers, load};
use super::{Failure, print};
use crate::cli::SimulateArgs;
use crate::moment::Moment;
use crate::simulation::{Drawn, Outcome, Scenario, Simulation, Summary, mark_fastest, picture, table};

/// Parts of a run after which the progress is shown.
const PARTS: u32 = 100;

pub(super) fn run(arguments: &SimulateArgs) -> Result<(), Failure> {
    let config = load(&layers(), arguments.config.as_deref())?;
    let plan = Plan::read(arguments, &config)?;
    warn_of_overload(&plan.scenario);
    let outcomes = run_all(&plan);
    let workers = &plan.scenario.workers;
    let summarise =
        |(contender, outcome): (&Contender, &Outcome)| Summary::new(contender.label(), outcome, workers);
    let mut summaries: Vec<Summary> = plan.contenders.iter().zip(&outcomes).map(summarise).collect();
    mark_fastest(&mut summaries);
    if let Some(path) = &arguments.plot {
        let labels: Vec<String> = plan
            .contenders
            .iter()
            .map(|contender| contender.label())
            .collect();
        let drawn: Vec<Drawn<'_>> = labels.iter().map(String::as_str).zip(&outcomes).collect();
        let svg = picture(&plan.title(), &drawn).map_err(Failure::failed)?;
        write(path, &svg)?;
    }
    let text = if arguments.json {
        serde_json::to_string_pretty(&summaries).map_err(Failure::failed)? + "\n"
    } else {
        format!("{}\n\n{}", plan.title(), table(&summaries))
    };
    print(&text)
}

#[expect(
    clippy::print_stderr,
    reason = "for whoever watches, and not part of the output"
)]
fn warn_of_overload(scenario: &Scenario) {
    let (rate, capacity) = (scenario.rate, scenario.capacity());
    if rate >= capacity {
        eprintln!(
            "warning: {rate} requests/s are more than the {capacity:.0} that these workers can answer: queues grow for ever, \
             and the figures say how long was waited"
        );
    }
}

/// The outcome of each contender, in their order. They run beside each other: none knows of the others.
fn run_all(plan: &Plan) -> Vec<Outcome> {
    let bar = progress_bar(plan.contenders.len());
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(contender) = plan.contenders.get(index) else {
                return done;
            };
            done.push((index, run_one(plan, contender, &bar)));
        }
    };
    let mut outcomes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(plan.contenders.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("a simulation does not panic"));
        joined.flatten().collect::<Vec<_>>()
    });
    bar.finish_and_clear();
    outcomes.sort_unstable_by_key(|&(index, _)| index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn run_one(plan: &Plan, contender: &Contender, bar: &ProgressBar) -> Outcome {
    let scenario = contender.scenario(&plan.scenario);
    let mut simulation = Simulation::new(&scenario, contender.policy);
    let warm_up = plan.duration / 10;
    pass(&mut simulation, Moment::default(), warm_up, 1, bar);
    simulation.begin_measuring();
    pass(
        &mut simulation,
        Moment::default() + warm_up,
        plan.duration,
        PARTS - 1,
        bar,
    );
    simulation.finish()
}

fn pass(simulation: &mut Simulation, since: Moment, time: Duration, parts: u32, bar: &ProgressBar) {
    for part in 1..=parts {
        simulation.run_until(since + time * part / parts);
        bar.inc(1);
    }
}

/// On standard error, and only where that is a terminal.
fn progress_bar(contenders: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent} %, at most {eta} left")
        .expect("the template is well formed");
    ProgressBar::new(contenders as u64 * u64::from(PARTS)).with_style(style)
}

fn write(path: &Path, svg: &str) -> Result<(), Failure> {
    std::fs::write(path, svg)
        .map_err(|error| Failure::failed(format!("cannot write the picture to {}: {error}", path.display())))
}
