//! What `make demo` runs: a root, two relays and three leaves as separate processes on loopback,
//! and a broadcaster that feeds them. It says READY when a viewer really gets pictures. Whoever is
//! killed is started again some seconds later, so that one can watch what happens; Ctrl-C ends
//! everything.

mod keeper;

use anyhow::{Context, bail};
use clap::Parser;
use keeper::Keeper;
use relay_node::clock::Clock;
use soleil_protocol::Mono;
use soleil_tests::harness::{Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A viewer gets pictures within this time, or the demo has failed.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(30);
/// So many whole frames are "pictures".
const ENOUGH_FRAMES: u64 = 10;
/// Of the broadcaster.
const BROADCAST: &[&str] = &["--clock-text"];

/// A whole Soleil tree on this machine, with a broadcast in it.
#[derive(Debug, Parser)]
#[command(name = "soleil-demo", version)]
struct Arguments {
    /// Stop by itself after this many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Take ports that are free instead of the ones in the documentation.
    #[arg(long)]
    free_ports: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    let arguments = Arguments::parse();
    let mut term = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT")?;

    // Starting takes a while: a signal meanwhile must not leave half a tree behind, and processes
    // end with the tree.
    let demo_ports = !arguments.free_ports;
    let start = tokio::task::spawn_blocking(move || start(demo_ports));
    let keeper = tokio::select! {
        started = start => started??,
        _ = term.recv() => bail!("stopped while starting"),
        _ = int.recv() => bail!("stopped while starting"),
    };
    println!("READY {}/", keeper.tree.http());

    let (stop, stopped) = channel();
    let end = arguments.seconds.map(Duration::from_secs);
    let mut kept = tokio::task::spawn_blocking(move || keep(keeper, &stopped, end));
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        ended = &mut kept => return ended?,
    }
    // If nobody listens any more, it has just ended by itself.
    let _ = stop.send(());
    kept.await?
}

/// Runs until told to stop, or for so long.
fn keep(mut keeper: Keeper, stop: &Receiver<()>, end: Option<Duration>) -> anyhow::Result<()> {
    let clock = Clock::start();
    let end = end.map(|after| Mono(0).after(after));
    while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let now = clock.now().mono;
        if end.is_some_and(|end| now >= end) {
            break;
        }
        for line in keeper.look(now)? {
            println!("{line}");
        }
    }
    println!("stopping");
    keeper.stop();
    Ok(())
}

fn start(demo_ports: bool) -> anyhow::Result<Keeper> {
    println!("starting root, 2 relays, 3 leaves ...");
    // The root has room for everybody, should both relays be away.
    let options =
        Options { relays: 2, leaves: 3, root_children: 5, demo_ports, ..Options::default() };
    let tree = Tree::start(&options)?;
    let ops = |node: &soleil_tests::harness::Running| format!("ops http://{}/metrics", node.ops);
    for node in tree.nodes() {
        let more = match tree.leaves.iter().position(|l| l.ops == node.ops) {
            Some(n) => format!("WHEP http://localhost:{}/whep/demo   ", tree.leaf_http_port(n)),
            None if node.ops == tree.root.ops => format!("pages {}/   ", tree.http()),
            None => String::new(),
        };
        println!("  {:<8} pid {:<8}{more}{}", node.process.name(), node.process.id(), ops(node));
    }
    let (video, audio) = tree.ingest(0);
    println!("  broadcast to rtp://{video} (H.264) and :{} (Opus)", audio.port());
    let broadcast = tree.go_live(0, BROADCAST)?;
    println!("on air: {}", tree.watch_url("demo"));
    let viewers = Viewers::start(&tree.whep_url("demo"), 1, &viewer::Options::default())?;
    let seen = viewers.wait(PICTURE_TIMEOUT, |r| r.video.frames >= ENOUGH_FRAMES || r.failed > 0);
    let report = seen.unwrap_or_else(|report| *report);
    if report.video.frames < ENOUGH_FRAMES {
        let logs: Vec<String> = tree.nodes().map(|n| n.process.log_tail()).collect();
        bail!("a viewer gets no pictures:\n{report}\n{}", logs.join("\n"));
    }
    let _ = viewers.stop();
    Ok(Keeper::new(tree, broadcast, BROADCAST))
}
