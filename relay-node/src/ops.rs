//! The operations endpoint, on a private listener: `/healthz` (alive, depends on nothing else),
//! `/readyz` (ready, or the reasons why not), `/metrics` (Prometheus text), `PUT /loglevel`.

use crate::io::process::ProcessMeter;
use crate::logging::{LogControl, MAX_DIRECTIVES};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, put};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

/// Something that has metrics. They are written at each scrape, as counters: rates are the
/// reader's business.
pub trait MetricsSource: Send + Sync {
    /// Appends lines in the Prometheus text format (version 0.0.4), `HELP` and `TYPE` included.
    fn write_metrics(&self, out: &mut String);
}

/// Whether the node is ready: ready as long as nobody holds it back. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    held: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Readiness {
    fn held(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not ready until `name` is cleared; `why` is shown to who asks.
    pub fn hold(&self, name: &'static str, why: impl Into<String>) {
        self.held().insert(name, why.into());
    }

    /// This reason is gone.
    pub fn clear(&self, name: &'static str) {
        self.held().remove(name);
    }

    /// What still holds it back, by name.
    pub fn reasons(&self) -> Vec<(&'static str, String)> {
        self.held().iter().map(|(name, why)| (*name, why.clone())).collect()
    }
}

/// What the endpoint shows.
pub struct Ops {
    program: &'static str,
    readiness: Readiness,
    log: LogControl,
    sources: Mutex<Vec<Arc<dyn MetricsSource>>>,
}

impl Ops {
    /// An endpoint for a program; `log` is what `PUT /loglevel` changes.
    pub fn new(program: &'static str, log: LogControl) -> Arc<Ops> {
        Arc::new(Ops { program, readiness: Readiness::default(), log, sources: Mutex::default() })
    }

    /// The latch behind `/readyz`.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Adds a source to `/metrics`.
    pub fn register(&self, source: Arc<dyn MetricsSource>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Everything that there is to scrape.
    pub fn metrics(&self) -> String {
        let mut out = String::with_capacity(4096);
        let (program, version) = (self.program, env!("CARGO_PKG_VERSION"));
        let _ = writeln!(out, "# HELP soleil_build_info The program and its version.");
        let _ = writeln!(out, "# TYPE soleil_build_info gauge");
        let _ = writeln!(out, "soleil_build_info{{program=\"{program}\",version=\"{version}\"}} 1");
        let ready = u8::from(self.readiness.reasons().is_empty());
        let _ = writeln!(out, "# HELP soleil_ready Whether /readyz says yes.");
        let _ = writeln!(out, "# TYPE soleil_ready gauge\nsoleil_ready {ready}");
        let name = "soleil_process_resident_bytes";
        let memory = ProcessMeter::default().memory();
        let _ = writeln!(out, "# HELP {name} Resident memory of the process.");
        let _ = writeln!(out, "# TYPE {name} gauge\n{name} {memory}");
        let name = "soleil_process_cpu_seconds_total";
        let cpu = ProcessMeter::cpu_seconds();
        let _ = writeln!(out, "# HELP {name} CPU time of the process.");
        let _ = writeln!(out, "# TYPE {name} counter\n{name} {cpu}");
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for source in sources {
            source.write_metrics(&mut out);
        }
        out
    }

    /// Serves until `stop` is over.
    ///
    /// # Errors
    /// What the listener says.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        axum::serve(listener, self.router()).with_graceful_shutdown(stop).await
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/loglevel", put(loglevel))
            .layer(DefaultBodyLimit::max(MAX_DIRECTIVES))
            .with_state(self)
    }
}

async fn readyz(State(ops): State<Arc<Ops>>) -> (StatusCode, String) {
    let reasons = ops.readiness.reasons();
    if reasons.is_empty() {
        return (StatusCode::OK, "ready\n".into());
    }
    let lines = reasons.iter().map(|(name, why)| format!("{name}: {why}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

async fn metrics(State(ops): State<Arc<Ops>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], ops.metrics())
}

async fn loglevel(State(ops): State<Arc<Ops>>, directives: String) -> (StatusCode, String) {
    match ops.log.set(directives.trim()) {
        Ok(()) => {
            tracing::info!(level = directives.trim(), "log level changed");
            (StatusCode::OK, "changed\n".into())
        }
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

#[cfg(test)]
mod tests;
