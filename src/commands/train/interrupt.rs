//! Ctrl-C ends a fit with the best so far; a second one ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::commands::{Failure, say};
use crate::http::signal::Termination;

/// A flag that is set by Ctrl-C or SIGTERM.
pub(super) fn on_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let termination = {
        let _entered = runtime.enter();
        Termination::listen().map_err(Failure::failed)?
    };
    let listen = move || runtime.block_on(watch(termination, &flag));
    thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(listen)
        .map_err(Failure::failed)?;
    Ok(stop)
}

async fn watch(mut termination: Termination, stop: &AtomicBool) {
    termination.received().await;
    stop.store(true, Ordering::Relaxed);
    say("ending with the best so far; once more to end without a model");
    termination.received().await;
    std::process::exit(1);
}
