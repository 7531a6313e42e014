//! The UDP link emulator by itself, for trying things by hand.

use anyhow::Context;
use clap::Parser;
use soleil_tests::emulator::{Dir, GilbertElliott, LinkConfig, UdpEmulator};
use std::net::SocketAddr;

/// Passes UDP packets between those who send to --listen and --target, and harms them.
#[derive(Debug, Parser)]
#[command(name = "soleil-emulator", version)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where packets go.
    #[arg(long)]
    target: SocketAddr,
    /// Delay each way in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Additional delay, up to this many milliseconds.
    #[arg(long, default_value_t = 0)]
    jitter: u64,
    /// Chance of loss, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// Bursts of loss: chance to enter a bad stretch, per packet.
    #[arg(long, default_value_t = 0.0)]
    burst_enter: f64,
    /// Bursts of loss: chance to leave it, per packet.
    #[arg(long, default_value_t = 0.2)]
    burst_leave: f64,
    /// Chance that a packet comes 10 ms late.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// Chance that a packet comes twice.
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// Rate in kbit/s, 0 is without limit.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Bytes that may wait for the line.
    #[arg(long, default_value_t = 100_000)]
    queue: u64,
    /// Harm only packets to the target.
    #[arg(long)]
    one_way: bool,
    /// The same seed gives the same losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    let a = Arguments::parse();
    let bursts = (a.burst_enter > 0.0).then_some(GilbertElliott {
        enter: a.burst_enter,
        leave: a.burst_leave,
        loss: 1.0,
    });
    let config = LinkConfig {
        delay_us: a.delay * 1000,
        jitter_us: a.jitter * 1000,
        loss: a.loss,
        bursts,
        reorder: a.reorder,
        reorder_by_us: 10_000,
        duplicate: a.duplicate,
        rate_bps: a.rate * 1000,
        queue_bytes: a.queue,
    };
    let emulator =
        UdpEmulator::start(a.listen, a.target, config, a.seed).context("cannot listen")?;
    if a.one_way {
        emulator.set(Dir::FromTarget, LinkConfig::default());
    }
    tokio::signal::ctrl_c().await.context("Ctrl-C")?;
    let stats = [emulator.stats(Dir::ToTarget), emulator.stats(Dir::FromTarget)];
    println!("{}", serde_json::to_string(&stats)?);
    Ok(())
}
