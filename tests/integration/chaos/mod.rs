//! Faults under steady load: a real gateway in its default configuration over real workers, a hundred requests a second, and
//! no request may fail, whatever else happens (docs/faults.md has the table).
//!
//! Each test shows by what the processes say of themselves that its fault took place. Where a fault lasts for some time, the
//! test sleeps: that is the fault, and no wait for a condition.

mod answers;
mod clock;
mod configuration;
mod discovery;
mod network;
mod signals;

use crate::support::gateway_process::{GatewayProcess, configuration};
use crate::support::load::Load;
use crate::support::worker_process::WorkerProcess;

/// A gateway over workers, all of which take requests.
struct Fleet {
    gateway: GatewayProcess,
    workers: Vec<WorkerProcess>,
}

impl Fleet {
    /// So many workers, called a, b, c, …
    async fn start(count: usize) -> Self {
        Self::over(WorkerProcess::start_many(count).await).await
    }

    async fn over(workers: Vec<WorkerProcess>) -> Self {
        let gateway = GatewayProcess::start(&configuration("", &entries(&workers))).await;
        gateway.until_up(workers.len()).await;
        Self { gateway, workers }
    }

    async fn load(&self) -> Load {
        Load::steady(&self.gateway.client).await
    }

    /// After the first `skip` lines of its log, the gateway must not have said that any worker is lost.
    fn assert_nobody_lost(&self, skip: usize) {
        let log = self.gateway.process.log();
        let is_lost = |line: &&String| line.contains("takes no requests") || line.contains("ejected");
        assert_eq!(log.iter().skip(skip).find(is_lost), None);
    }

    /// Waits until every worker takes requests and has answered some more.
    async fn until_all_answer(&self, load: &Load) {
        self.gateway.until_up(self.workers.len()).await;
        for worker in &self.workers {
            load.until_answered_by(worker.id).await;
        }
    }
}

/// Workers as a gateway's configuration names them.
fn entries(workers: &[WorkerProcess]) -> String {
    workers.iter().map(WorkerProcess::entry).collect()
}
