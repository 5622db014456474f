//! `millrace gateway`: the front process only.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::start::{bind, layers, load, network_threads, raise_descriptor_limit, runtime, with_front_flags};
use crate::cli::GatewayArgs;
use crate::config::{Config, GatewayConfig, Layers};
use crate::gateway::reload::{Membership, follow};
use crate::gateway::{Gateway, router};
use crate::http::drain::{Drain, Phase};
use crate::http::observe::AccessLog;
use crate::http::server::serve;
use crate::http::service::{Predictions, Service};
use crate::http::signal::Termination;
use crate::http::threads::Threads;
use crate::system::unmap_idle_code;
use crate::telemetry::{logging, metrics};

pub(super) fn run(arguments: &GatewayArgs) -> Result<(), Failure> {
    let layers = with_front_flags(layers(), &arguments.front);
    let config = load(&layers, arguments.config.as_deref())?;
    config.gateway.require_workers().map_err(Failure::usage)?;
    logging::start(&config.telemetry, None);
    metrics::start(&config.telemetry);
    raise_descriptor_limit(config.gateway.http.max_connections);
    runtime()?.block_on(async {
        let mut termination = Termination::listen().map_err(Failure::failed)?;
        let front = Front::start(
            &config,
            layers,
            arguments.config.as_deref(),
            Membership::Configured,
        )
        .await?;
        let signal = termination.received().await;
        tracing::info!(signal, "the gateway is shutting down");
        termination.insist();
        front.gateway.drain.begin(&config.gateway.shutdown).await;
        front.end().await
    })
}

/// A gateway with its two listeners, as `gateway` and `serve` run it.
pub(super) struct Front {
    pub(super) gateway: Arc<Gateway>,
    public: tokio::task::JoinHandle<usize>,
    admin: tokio::task::JoinHandle<usize>,
    admin_drain: Drain,
    follower: Option<tokio::task::JoinHandle<()>>,
}

impl Front {
    /// Binds both listeners before anything is started, so that an address in use stops the start.
    pub(super) async fn start(
        config: &Config,
        layers: Layers,
        file: Option<&Path>,
        membership: Membership,
    ) -> Result<Self, Failure> {
        let settings = &config.gateway;
        // Before a log line tells anybody that there is a process to signal.
        let hangup = file
            .map(|_| signal(SignalKind::hangup()))
            .transpose()
            .map_err(Failure::failed)?;
        let public = bind("gateway.listen", settings.listen).await?;
        let admin = bind("gateway.admin", settings.admin).await?;
        let addresses = (public.local_addr(), admin.local_addr());
        let gateway = Gateway::start(settings.clone());
        if let (Ok(listen), Ok(admin)) = addresses {
            tracing::info!(%listen, %admin, policy = %settings.policy, "the gateway listens");
        }
        let access_log = AccessLog(config.telemetry.access_log);
        let admin_drain = Drain::new();
        let follower = file.zip(hangup).map(|(file, hangup)| {
            tokio::spawn(follow(
                gateway.clone(),
                file.to_owned(),
                layers,
                settings.clone(),
                membership,
                hangup,
            ))
        });
        let front = Self {
            public: listen(
                public,
                router::public(gateway.clone(), access_log),
                settings,
                network_threads(settings.network_threads().get())?,
                &gateway.drain,
            ),
            admin: listen(
                admin,
                router::admin(gateway.clone(), access_log),
                settings,
                Threads::here(),
                &admin_drain,
            ),
            gateway,
            admin_drain,
            follower,
        };
        unmap_idle_code();
        Ok(front)
    }

    /// Waits until every request is answered, once the gateway's drain closes. It has failed where some were not.
    pub(super) async fn end(self) -> Result<(), Failure> {
        let cut_off = self.public.await.map_err(Failure::failed)?;
        // Operators can look on until the last request is answered.
        self.admin_drain.advance(Phase::Closing);
        self.admin.abort();
        if let Some(follower) = self.follower {
            follower.abort();
        }
        if cut_off > 0 {
            let message = format!("the grace period was over; {cut_off} connections were cut off");
            return Err(Failure::failed(message));
        }
        tracing::info!("the gateway has ended");
        Ok(())
    }
}

fn listen<P: Predictions>(
    listener: TcpListener,
    service: Service<P>,
    settings: &GatewayConfig,
    threads: Threads,
    drain: &Drain,
) -> tokio::task::JoinHandle<usize> {
    let (limits, grace, drain): (_, Duration, _) =
        (settings.http.clone(), settings.shutdown.grace, drain.clone());
    tokio::spawn(async move { serve(listener.into(), service, &limits, &threads, &drain, grace).await })
}
