//! The headless viewer and load generator: joins a WHEP endpoint many times and says what came.

use anyhow::Context;
use clap::Parser;
use soleil_tests::viewer::{Codec, Options, SrtpOffer, Viewers};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Watches a WHEP endpoint without decoding, and measures.
#[derive(Debug, Parser)]
#[command(name = "soleil-viewer", version)]
struct Arguments {
    /// WHEP endpoint, like http://localhost:8080/whep/demo.
    url: String,
    /// How many viewers.
    #[arg(short = 'n', long, default_value_t = 1)]
    viewers: usize,
    /// Joins per second; all at once without it.
    #[arg(long)]
    rate: Option<f64>,
    /// Stop after this many seconds; without it at Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    /// Video codecs offered, best first.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "vp8,h264,vp9,av1")]
    video: Vec<Codec>,
    /// Offer no sound.
    #[arg(long)]
    no_audio: bool,
    /// SRTP profiles offered.
    #[arg(long, value_enum, default_value = "both")]
    srtp: SrtpOffer,
    /// Bearer token.
    #[arg(long)]
    token: Option<String>,
    /// Receiving threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Open one in so many packets; 1 opens all. Default: all up to 200 viewers, then one in 10.
    #[arg(long)]
    open_one_in: Option<u32>,
    /// Ask for nothing again.
    #[arg(long)]
    no_nack: bool,
    /// Give no transport-wide feedback: the server does not know what the link carries.
    #[arg(long)]
    no_feedback: bool,
    /// Media over TCP (ICE-TCP) instead of UDP.
    #[arg(long)]
    tcp: bool,
    /// JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// With --json: leave out the single viewers.
    #[arg(long)]
    summary: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    let a = Arguments::parse();
    let usual = Options::default();
    let options = Options {
        joins_per_second: a.rate,
        video: a.video,
        audio: !a.no_audio,
        srtp: a.srtp,
        token: a.token,
        threads: a.threads,
        open_one_in: a.open_one_in.unwrap_or(if a.viewers <= 200 { 1 } else { 10 }),
        nack: !a.no_nack,
        feedback_us: usual.feedback_us.filter(|_| !a.no_feedback),
        tcp: a.tcp,
        ..usual
    };
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let viewers = Viewers::start(&a.url, a.viewers, &options)?;
    let limit = Duration::from_secs(a.seconds.unwrap_or(u64::from(u32::MAX)));
    let mut end = tokio::time::interval(limit);
    // The first tick comes at once.
    end.tick().await;
    tokio::select! {
        _ = end.tick() => {}
        _ = term.recv() => {}
        result = tokio::signal::ctrl_c() => result.context("Ctrl-C")?,
    }
    let (mut report, _) = viewers.stop();
    let failed = report.failed;
    if a.json {
        if a.summary {
            report.each.clear();
        }
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    anyhow::ensure!(failed == 0, "{failed} viewers failed");
    Ok(())
}
