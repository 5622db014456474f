//! The real `millrace gateway`, with its configuration file.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::client::{Answer, Client};
use super::gateway::metric_in;
use super::process::{Command, Process};
use super::wait::until_some;

/// A gateway process with its configuration file.
pub(crate) struct GatewayProcess {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) admin: Client,
    pub(crate) file: PathBuf,
    _folder: TempDir,
}

/// A configuration with these keys of `[gateway]` and these more tables, on free ports.
pub(crate) fn configuration(keys: &str, tables: &str) -> String {
    format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{keys}\n{tables}\
         [telemetry]\naccess_log = false\n"
    )
}

/// Writes a file in one step, as editors and ConfigMaps do.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("a file can be written");
    fs::rename(new, file).expect("a file can be replaced");
}

impl GatewayProcess {
    /// Starts it with this configuration, whatever its workers do.
    pub(crate) async fn start(text: &str) -> Self {
        Self::start_as(text, |_| {}).await
    }

    /// The same, with something changed about the way it is run.
    pub(crate) async fn start_as(text: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let file = folder.path().join("millrace.toml");
        fs::write(&file, text).expect("a file can be written");
        let process = Process::start_as(
            &["gateway", "--config", file.to_str().expect("its path is text")],
            change,
        );
        let (address, admin) = process.listening().await;
        Self {
            process,
            address,
            client: Client::new(address),
            admin: Client::new(admin),
            file,
            _folder: folder,
        }
    }

    /// Puts another configuration in the place of the one before.
    pub(crate) fn rewrite(&self, text: &str) {
        replace(&self.file, text);
    }

    pub(crate) async fn workers(&self) -> Vec<Value> {
        let shown = self.admin.get("/admin/workers").await.assert_ok().json();
        shown["workers"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn until_up(&self, count: usize) {
        until_some(&format!("{count} workers take requests"), async || {
            let workers = self.workers().await;
            let up = workers.iter().filter(|worker| worker["state"] == "up").count();
            (up == count && workers.len() == count).then_some(())
        })
        .await;
    }

    /// Waits until one of its workers is up, or is not.
    pub(crate) async fn until_is_up(&self, id: &str, wanted: bool) {
        until_some(&format!("that {id} is up is {wanted}"), async || {
            let workers = self.workers().await;
            let worker = workers.iter().find(|worker| worker["id"] == id)?;
            ((worker["state"] == "up") == wanted).then_some(())
        })
        .await;
    }

    /// The value of one metric, by its name and labels as they stand in the text; 0 where it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        metric_in(&self.client.get("/metrics").await.assert_ok().text(), series)
    }

    pub(crate) async fn until_reloads(&self, outcome: &str, count: f64) {
        let series = format!("millrace_gateway_config_reloads_total{{outcome=\"{outcome}\"}}");
        until_some(&format!("{count} reloads were {outcome}"), async || {
            (self.metric(&series).await >= count).then_some(())
        })
        .await;
    }

    pub(crate) fn predict_meanwhile(&self) -> JoinHandle<Answer> {
        let client = self.client.clone();
        tokio::spawn(async move { client.predict().await })
    }
}
