//! The broadcaster of tests and demo: sends the test picture and tone as plain RTP until it is
//! stopped, then prints what it sent as JSON.

use anyhow::{Context, bail};
use clap::Parser;
use soleil_tests::source::{Source, SourceOptions};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often the pipeline is asked for errors.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Sends the test picture and a keyed tone as plain RTP.
#[derive(Debug, Parser)]
#[command(name = "soleil-source", version)]
struct Arguments {
    #[command(flatten)]
    source: SourceOptions,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    let arguments = Arguments::parse();
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut check = tokio::time::interval(CHECK_EVERY);
    let source = Source::start(&arguments.source)?;
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = check.tick() => {
                if let Some(error) = source.error() {
                    bail!("the pipeline failed: {error}");
                }
                if source.is_done() {
                    break;
                }
            }
        }
    }
    println!("{}", serde_json::to_string(&source.stop())?);
    Ok(())
}
