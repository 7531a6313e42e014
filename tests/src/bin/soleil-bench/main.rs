//! The benchmarks of `make bench`: the leaf under load, with the machine's limit beside it.

use anyhow::Context;
use clap::{Parser, Subcommand};
use relay_node::clock::Clock;
use soleil_tests::load::{Cell, CellResult, Crowd, limit};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Benchmarks of Soleil. docs/benchmarks.md says how to read them.
#[derive(Debug, Parser)]
#[command(name = "soleil-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Viewers of one leaf on one core: CPU, loss, delay, joins, memory.
    Leaf {
        /// How many viewers, one measurement each.
        #[arg(
            short = 'n',
            long,
            value_delimiter = ',',
            default_value = "10,50,100,200,400,800,1600"
        )]
        viewers: Vec<usize>,
        /// Bits a second of the stream.
        #[arg(long, default_value_t = 2_500_000)]
        bitrate: u64,
        /// Joins a second; 50, and 200 from 400 viewers on, if not given.
        #[arg(long)]
        join_rate: Option<f64>,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 8)]
        seconds: u64,
        /// The source spreads its frames instead of sending them at once.
        #[arg(long)]
        paced: bool,
        /// Viewers' sockets take no merged datagrams.
        #[arg(long)]
        no_gro: bool,
        /// Viewers give transport-wide feedback, ten times a second, and the leaf estimates.
        #[arg(long)]
        twcc: bool,
        /// Core of the leaf; everything else runs on the next one.
        #[arg(long, default_value_t = 0)]
        core: usize,
        /// Where the figures go as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// A storm of joins: that many viewers within a second, beside those who are there.
    Storm {
        #[command(flatten)]
        crowd: CrowdArguments,
        /// How many join within a second.
        #[arg(long, default_value_t = 500)]
        joins: usize,
    },
    /// Viewers come and go for minutes: does memory stay where it is?
    Churn {
        #[command(flatten)]
        crowd: CrowdArguments,
        /// How many come and go each second.
        #[arg(long, default_value_t = 50)]
        joins: usize,
        /// For how long.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// The machine's limit by itself: the job comes as JSON on stdin. For internal use.
    #[command(hide = true)]
    Limit,
}

#[derive(Debug, clap::Args)]
struct CrowdArguments {
    /// Viewers who are there all the time.
    #[arg(short = 'n', long, default_value_t = 200)]
    viewers: usize,
    /// Bits a second of the stream.
    #[arg(long, default_value_t = 2_500_000)]
    bitrate: u64,
    /// Core of the leaf; everything else runs on the next one.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl CrowdArguments {
    fn crowd(&self, joins: usize) -> Crowd {
        Crowd { before: self.viewers, joins, bitrate: self.bitrate, server_core: self.core }
    }
}

fn storm(arguments: &CrowdArguments, joins: usize) -> anyhow::Result<()> {
    soleil_tests::load::stay_on(arguments.core + 1)?;
    let r = arguments.crowd(joins).storm(Clock::start())?;
    println!("{} viewers, {joins} join within a second", r.crowd.before);
    println!("  connected {} with a key frame after {:.0} ms", r.connected, r.all_ms);
    println!("  POST to key frame p50/p95 {:.1}/{:.1} ms", r.first_key.p50, r.first_key.p95);
    println!("  the leaf's CPU meanwhile {:.0} ms", r.cpu_ms);
    println!("  key frames asked for {}", r.key_requests);
    println!("  those who were there lost {:.3}%", r.loss_percent);
    println!("  and had a delay p50/p99 of {:.1}/{:.1} ms", r.delay.p50, r.delay.p99);
    write_json(arguments.json.as_deref(), &r)
}

fn churn(arguments: &CrowdArguments, joins: usize, seconds: u64) -> anyhow::Result<()> {
    soleil_tests::load::stay_on(arguments.core + 1)?;
    let r = arguments.crowd(joins).churn(seconds, Clock::start(), |second, memory| {
        println!("  {second:>4} s  {:>7} KiB", memory / 1024);
    })?;
    println!("{} viewers, {joins} come and go a second, for {seconds} s", r.crowd.before);
    println!("  came {}, failed {}", r.joined, r.failed);
    println!("  memory before {} KiB, after {} KiB", r.before / 1024, r.after / 1024);
    println!("  growth from the first minute to the last {:.1}%", r.growth_percent());
    println!("  those who were there lost {:.3}%", r.loss_percent);
    write_json(arguments.json.as_deref(), &r)
}

fn write_json(path: Option<&Path>, result: &impl serde::Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, serde_json::to_vec_pretty(result)?)
        .with_context(|| path.display().to_string())?;
    println!("figures: {}", path.display());
    Ok(())
}

fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    match Arguments::parse().command {
        What::Limit => {
            let mut job = String::new();
            std::io::stdin().read_to_string(&mut job)?;
            let result = limit::run(&serde_json::from_str(&job).context("the job")?)?;
            println!("{}", serde_json::to_string(&result)?);
        }
        What::Storm { crowd, joins } => storm(&crowd, joins)?,
        What::Churn { crowd, joins, seconds } => churn(&crowd, joins, seconds)?,
        What::Leaf { viewers, bitrate, join_rate, seconds, paced, no_gro, twcc, core, json } => {
            soleil_tests::load::stay_on(core + 1)?;
            let clock = Clock::start();
            let mut results = Vec::new();
            println!("{HEADING}");
            for viewers in viewers {
                let rate = join_rate.unwrap_or(if viewers < 400 { 50.0 } else { 200.0 });
                let cell = Cell {
                    viewers,
                    join_rate: rate,
                    bitrate,
                    paced,
                    gro: !no_gro,
                    twcc,
                    seconds,
                    server_core: core,
                };
                match cell.run(clock) {
                    Ok(result) => {
                        println!("{}", row(&result));
                        results.push(result);
                    }
                    Err(error) => println!("{viewers:>5}  {error}"),
                }
            }
            write_json(json.as_deref(), &results)?;
        }
    }
    Ok(())
}

const HEADING: &str = "    N  us/pkt   limit  ratio  core%   loss%  rate/source  delay p50/p99  key p50/p99  \
                       answer  packet p50/p95  key p50/p95  KB/viewer  PLI";

fn row(r: &CellResult) -> String {
    format!(
        "{:>5}  {:>6.2}  {:>6.2}  {:>5.2}  {:>5.1}  {:>6.3}  {:>5.1}/{:<5.1}  {:>5.1}/{:<7.1}  {:>4.1}/{:<6.1}  {:>6.1}  {:>6.1}/{:<7.1}  {:>5.1}/{:<5.1}  {:>9.1}  {:>3}",
        r.cell.viewers,
        r.cpu_us,
        r.limit_us,
        r.ratio(),
        100.0 * r.core,
        r.loss_percent,
        r.rate,
        r.source_rate,
        r.delay.p50,
        r.delay.p99,
        r.key_delay.p50,
        r.key_delay.p99,
        r.answer.p50,
        r.first_packet.p50,
        r.first_packet.p95,
        r.first_key.p50,
        r.first_key.p95,
        r.memory / 1024.0,
        r.key_requests,
    )
}
