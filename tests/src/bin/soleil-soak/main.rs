//! The long run: relays die, stop, vanish and leave under viewers, nodes and subtrees are moved, the root dies,
//! again and again, and the longest time without a new frame at any viewer is measured each time.
//! `make soak` prints the tables that docs/failover.md shows.

mod machine;
mod scene;

use anyhow::{Context, ensure};
use clap::Parser;
use relay_node::clock::Clock;
use scene::{Event, Row, Scene};
use serde::Serialize;
use std::path::PathBuf;

/// Breaks or moves nodes under viewers and measures what they notice.
#[derive(Debug, Parser)]
#[command(name = "soleil-soak", version)]
struct Arguments {
    /// What happens.
    #[arg(value_enum)]
    event: Event,
    /// How often.
    #[arg(short, long, default_value_t = 20)]
    times: usize,
    /// Viewers at the three leaves.
    #[arg(short = 'n', long, default_value_t = 50)]
    viewers: usize,
    /// Writes all figures there, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// How long a picture may stand, in ms, while nodes come back and are moved to where they were.
const MENDING_MS: f64 = 150.0;

#[derive(Debug, Serialize)]
struct Results {
    event: Event,
    viewers: usize,
    /// How often it was waited for that frames came evenly.
    uneven: usize,
    rows: Vec<Row>,
}

impl Results {
    fn sorted(&self, of: fn(&Row) -> f64) -> Vec<f64> {
        let mut all: Vec<f64> = self.rows.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    fn sum(&self, of: fn(&Row) -> u64) -> u64 {
        self.rows.iter().map(of).sum()
    }

    /// Packets, frames, sessions, and what was lost while the tree came to rest.
    fn lost(&self) -> [u64; 4] {
        let of: [fn(&Row) -> u64; 4] =
            [|r| r.lost, |r| r.broken, |r| r.sessions, |r| r.mending_lost];
        of.map(|of| self.sum(of))
    }

    /// Events after which a picture stood for longer than is promised.
    fn late(&self) -> usize {
        let late =
            |r: &&Row| r.gap_ms > self.event.limit_ms(r.before_ms) || r.mending_ms > MENDING_MS;
        self.rows.iter().filter(late).count()
    }

    fn print(&self) {
        println!("{:?}, {} times, {} viewers", self.event, self.rows.len(), self.viewers);
        println!("{:<28}{:>10}{:>10}{:>10}", "longest gap, ms", "median", "p99", "max");
        let lines = [
            ("before", self.sorted(|r| r.before_ms)),
            ("after", self.sorted(|r| r.gap_ms)),
            ("while it was mended", self.sorted(|r| r.mending_ms)),
            ("threads woke too late by", self.sorted(|r| r.late_ms)),
        ];
        for (what, all) in lines {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(&all, share));
            println!("{what:<28}{p50:>10.0}{p99:>10.0}{max:>10.0}");
        }
        let [packets, frames, sessions, mending] = self.lost();
        println!("packets lost {packets}, frames lost {frames}, sessions lost {sessions}");
        println!("packets and frames lost while it was mended {mending}");
        println!("longer than promised {}", self.late());
        println!("put off, since frames came unevenly before, {} times", self.uneven);
    }
}

/// Of sorted figures: the smallest that at least this share of them does not exceed.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    let a = Arguments::parse();
    let clock = Clock::start();
    let mut scene = Scene::start(a.event, a.viewers)?;
    let mut results = Results { event: a.event, viewers: a.viewers, uneven: 0, rows: Vec::new() };
    let mut failed = Ok(());
    for n in 1..=a.times {
        match scene.event(a.event) {
            Ok(row) => {
                let seconds = clock.now().mono.0 / 1_000_000;
                eprintln!(
                    "{n}/{} at {seconds} s: gap {:.0} ms (before {:.0}, {} viewers; machine {:.0} late, {:.0} stolen), lost {} packets, {} frames, {} sessions",
                    a.times,
                    row.gap_ms,
                    row.before_ms,
                    row.stood,
                    row.late_ms,
                    row.stolen_ms,
                    row.lost,
                    row.broken,
                    row.sessions
                );
                results.rows.push(row);
            }
            // What was measured until then is shown all the same.
            Err(error) => {
                failed = Err(error.context(format!("event {n}")));
                break;
            }
        }
    }
    results.uneven = scene.uneven;
    results.print();
    if let Some(path) = a.json {
        std::fs::write(&path, serde_json::to_string_pretty(&results)?)
            .with_context(|| path.display().to_string())?;
    }
    failed?;
    ensure!(results.lost() == [0; 4], "something was lost");
    ensure!(results.late() == 0, "a picture stood for longer than is promised");
    Ok(())
}
