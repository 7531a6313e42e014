//! What `make demo` runs: a root, two relays and three leaves as separate processes on loopback,
//! and a broadcaster that feeds them. It says READY when a viewer really gets pictures, and ends
//! everything at Ctrl-C.

use anyhow::{Context, bail};
use clap::Parser;
use soleil_tests::harness::{Broadcast, Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Between two looks at the processes.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// A viewer gets pictures within this time, or the demo has failed.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(30);
/// So many whole frames are "pictures".
const ENOUGH_FRAMES: u64 = 10;

/// A whole Soleil tree on this machine, with a broadcast in it.
#[derive(Debug, Parser)]
#[command(name = "soleil-demo", version)]
struct Arguments {
    /// Stop by itself after this many seconds.
    #[arg(long)]
    seconds: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    let arguments = Arguments::parse();
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT")?;

    // Starting takes a while: a signal meanwhile must not leave half a tree behind, and processes
    // end with the tree.
    let start = tokio::task::spawn_blocking(start);
    let (mut tree, mut broadcast) = tokio::select! {
        started = start => started??,
        _ = term.recv() => bail!("stopped while starting"),
        _ = int.recv() => bail!("stopped while starting"),
    };
    println!("READY {}/", tree.http());

    let limit = Duration::from_secs(arguments.seconds.unwrap_or(u64::from(u32::MAX)));
    let mut end = tokio::time::interval(limit);
    // The first tick comes at once.
    end.tick().await;
    let mut check = tokio::time::interval(CHECK_EVERY);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = end.tick() => break,
            _ = check.tick() => {
                let complaints = tree.complaints();
                if !complaints.is_empty() {
                    let logs: Vec<String> = tree.nodes_mut().map(|n| n.process.log_tail()).collect();
                    bail!("{}\n{}", complaints.join("\n"), logs.join("\n"));
                }
                if let Some(status) = broadcast.process().exit() {
                    bail!("the broadcaster ended: {status}\n{}", broadcast.process().log_tail());
                }
            }
        }
    }
    println!("stopping");
    let _ = broadcast.stop();
    drop(tree);
    Ok(())
}

fn start() -> anyhow::Result<(Tree, Broadcast)> {
    println!("starting root, 2 relays, 3 leaves ...");
    let options =
        Options { relays: 2, leaves: 3, root_children: 2, demo_ports: true, ..Options::default() };
    let tree = Tree::start(&options)?;
    println!("  root      pages {}/   ops http://localhost:9100/metrics", tree.http());
    println!("            broadcast to rtp://127.0.0.1:5004 (H.264) and :5006 (Opus)");
    for (n, node) in tree.relays.iter().enumerate() {
        println!("  relay-{}   ops http://{}/metrics", n + 1, node.ops);
    }
    for (n, node) in tree.leaves.iter().enumerate() {
        println!(
            "  leaf-{}    WHEP http://localhost:{}/whep/demo   ops http://{}/metrics",
            n + 1,
            8091 + n,
            node.ops
        );
    }
    let broadcast = tree.go_live(0, &["--clock-text"])?;
    println!("on air: {}", tree.watch_url("demo"));
    let viewers = Viewers::start(&tree.whep_url("demo"), 1, &viewer::Options::default())?;
    let seen = viewers.wait(PICTURE_TIMEOUT, |r| r.video.frames >= ENOUGH_FRAMES || r.failed > 0);
    let report = seen.unwrap_or_else(|report| *report);
    if report.video.frames < ENOUGH_FRAMES {
        let logs: Vec<String> = tree.nodes().map(|n| n.process.log_tail()).collect();
        bail!("a viewer gets no pictures:\n{report}\n{}", logs.join("\n"));
    }
    let _ = viewers.stop();
    Ok((tree, broadcast))
}
