//! The supervisor of `serve`, over workers that are small shell scripts.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace::http::drain::{Drain, Phase};
use millrace::supervisor::{self, WorkerCommand};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::process::{is_running, signal};
use crate::support::wait::{PATIENCE, in_time, until, until_equal};

/// Says that it listens, at a port made from its process id, and runs until its standard input ends.
const WELL: &str = "echo $$ > $PIDS/$ID.$$; echo listening 127.0.0.1:$(($$ % 60000 + 1)); cat > /dev/null";

/// A supervisor over scripts.
struct Supervised {
    drain: Drain,
    announced: Arc<Mutex<Vec<Vec<String>>>>,
    run: JoinHandle<()>,
    pids: TempDir,
}

impl Supervised {
    /// So many workers, each of which runs `script` with its name in `$ID`.
    fn start(count: usize, script: &str, grace: Duration) -> Self {
        let pids = TempDir::new().expect("a folder can be made");
        let prelude = format!("PIDS={}; ID=$4; ", pids.path().display());
        let command = WorkerCommand {
            program: PathBuf::from("/bin/sh"),
            arguments: ["-c", &(prelude + script), "sh"].map(str::to_owned).to_vec(),
            grace,
        };
        let drain = Drain::new();
        let announced = Arc::new(Mutex::new(Vec::new()));
        let run = tokio::spawn({
            let (drain, announced) = (drain.clone(), announced.clone());
            async move {
                supervisor::run(command, count, drain, |members| {
                    let ids = members.iter().map(|member| member.id.clone()).collect();
                    announced.lock().unwrap_or_else(PoisonError::into_inner).push(ids);
                })
                .await;
            }
        });
        Self {
            drain,
            announced,
            run,
            pids,
        }
    }

    /// Every list of members that was announced, in order.
    fn announced(&self) -> Vec<Vec<String>> {
        self.announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn members(&self) -> Vec<String> {
        self.announced().pop().unwrap_or_default()
    }

    async fn until_members(&self, ids: &[&str]) {
        until_equal("the list of members", ids.to_vec(), || {
            let members = self.members();
            ids.iter()
                .copied()
                .filter(|id| members.iter().any(|member| member == id))
                .collect()
        })
        .await;
    }

    /// The processes that were started for one worker.
    fn processes(&self, id: &str) -> Vec<u32> {
        let names = fs::read_dir(self.pids.path()).expect("the folder is there");
        let of_it = names.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix(id)?.strip_prefix('.')?.parse().ok()
        });
        of_it.collect()
    }

    async fn end(self) {
        self.drain.advance(Phase::Closing);
        in_time("the end of the supervisor", self.run)
            .await
            .expect("the supervisor does not panic");
    }
}

#[tokio::test]
async fn workers_are_announced_as_they_come() {
    let supervised = Supervised::start(3, WELL, PATIENCE);
    supervised.until_members(&["w0", "w1", "w2"]).await;
    let lengths: Vec<_> = supervised.announced().iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 2, 3]);
    supervised.end().await;
}

#[tokio::test]
async fn a_worker_that_ends_leaves_the_members_and_comes_back() {
    let supervised = Supervised::start(2, WELL, PATIENCE);
    supervised.until_members(&["w0", "w1"]).await;
    let [first] = supervised.processes("w0")[..] else {
        panic!("{:?}", supervised.processes("w0"))
    };
    signal(first, "KILL").await;
    until("another process was started", || {
        supervised.processes("w0").len() == 2
    })
    .await;
    until("four lists were announced", || supervised.announced().len() == 4).await;
    let after = supervised.announced().split_off(2);
    assert_eq!(after[0], ["w1"], "nobody is sent to a worker that is gone");
    assert_eq!(after[1], ["w0", "w1"]);
    supervised.end().await;
}

#[tokio::test]
async fn a_worker_that_cannot_start_is_tried_again_and_holds_up_nobody() {
    let script = format!("if [ $ID = w0 ]; then echo $$ > $PIDS/$ID.$$; exit 3; fi; {WELL}");
    let supervised = Supervised::start(2, &script, PATIENCE);
    supervised.until_members(&["w1"]).await;
    until("it was tried three times", || {
        supervised.processes("w0").len() >= 3
    })
    .await;
    assert_eq!(supervised.members(), ["w1"]);
    supervised.end().await;
}

#[tokio::test]
async fn a_worker_that_says_something_else_is_no_member_and_is_not_left_running() {
    let script = "echo $$ > $PIDS/$ID.$$; echo hello; exec sleep 1000";
    let supervised = Supervised::start(1, script, PATIENCE);
    until("it was tried twice", || supervised.processes("w0").len() >= 2).await;
    assert!(supervised.announced().is_empty());
    let started = supervised.processes("w0");
    supervised.end().await;
    until("none is left", || {
        !started.iter().any(|&process| is_running(process))
    })
    .await;
}

#[tokio::test]
async fn the_end_lets_workers_finish() {
    let script = format!("{WELL}; echo done > $PIDS/$ID.done");
    let supervised = Supervised::start(2, &script, PATIENCE);
    supervised.until_members(&["w0", "w1"]).await;
    let announced = supervised.announced().len();
    let processes = [supervised.processes("w0"), supervised.processes("w1")].concat();
    supervised.drain.advance(Phase::Closing);
    let Supervised {
        run,
        pids,
        announced: lists,
        ..
    } = supervised;
    in_time("the end of the supervisor", run).await.unwrap();
    assert!(pids.path().join("w0.done").exists() && pids.path().join("w1.done").exists());
    assert!(processes.iter().all(|&process| !is_running(process)));
    assert_eq!(lists.lock().unwrap().len(), announced, "that all end is no news");
}

#[tokio::test]
async fn a_worker_that_does_not_end_in_time_is_killed() {
    let script = "trap '' TERM; echo $$ > $PIDS/$ID.$$; echo listening 127.0.0.1:1; exec sleep 1000";
    let supervised = Supervised::start(1, script, Duration::from_millis(100));
    supervised.until_members(&["w0"]).await;
    let processes = supervised.processes("w0");
    supervised.end().await;
    assert!(processes.iter().all(|&process| !is_running(process)));
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_worker_that_is_starting() {
    let script = "echo $$ > $PIDS/$ID.$$; exec sleep 1000";
    let supervised = Supervised::start(1, script, Duration::from_millis(100));
    until("it is starting", || supervised.processes("w0").len() == 1).await;
    let processes = supervised.processes("w0");
    let begun = Instant::now();
    supervised.end().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until("it is gone", || !is_running(processes[0])).await;
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_backoff() {
    let supervised = Supervised::start(1, "echo $$ > $PIDS/$ID.$$; exit 1", PATIENCE);
    until("it backs off", || supervised.processes("w0").len() >= 5).await;
    let begun = Instant::now();
    supervised.end().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
