//! The benchmarks of `make bench`: the leaf under load with the machine's limit beside it, a peer, any
//! other server, the ladder, and the picture of it all.

mod arguments;
mod table;

use anyhow::Context;
use arguments::{Arguments, CrowdArguments, LadderArguments, What};
use clap::Parser;
use relay_node::clock::Clock;
use soleil_tests::load::{self, CellResult, Subject, limit, plot, results};
use soleil_tests::planning;
use soleil_tests::viewer::Signalling;
use std::io::Read;
use std::path::Path;

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

fn siege(arguments: &CrowdArguments, sent: usize) -> anyhow::Result<()> {
    soleil_tests::load::stay_on(arguments.core + 1)?;
    println!("{}", table::SIEGE_HEADING);
    let crowd = arguments.crowd(0);
    let results = load::siege::run(&crowd, sent, Clock::start(), |r| {
        println!("{}", table::siege_row(r));
    })?;
    write_json(arguments.json.as_deref(), &results)
}

fn planner(nodes: &[usize], repeat: usize, seed: u64, json: Option<&Path>) -> anyhow::Result<()> {
    println!("{}", table::PLANNER_HEADING);
    let mut done = Vec::new();
    for nodes in nodes {
        let result = planning::run(*nodes, repeat, seed).context("no nodes")?;
        println!("{}", table::planner_row(&result));
        done.push(result);
    }
    // Not a list: those hold cells, which the plot reads.
    write_json(json, &serde_json::json!({ "planner": done }))
}

fn ladder(ladder: &LadderArguments, clock: Clock) -> anyhow::Result<()> {
    println!("{}", table::LADDER_HEADING);
    let mut done = Vec::new();
    for pattern in &ladder.pattern {
        let result = load::ladder::run(pattern, &ladder.rungs, ladder.seconds, clock)?;
        println!("{}", table::ladder_row(&result));
        done.push(result);
    }
    // Not a list: those hold cells, which the plot reads.
    write_json(ladder.json.as_deref(), &serde_json::json!({ "ladder": done }))
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

/// Runs the measurements one after the other. One that fails does not keep the others from running,
/// but a run in which all failed has failed.
fn measure<C, E: std::fmt::Display>(
    cells: impl Iterator<Item = C>,
    json: Option<&Path>,
    viewers: impl Fn(&C) -> usize,
    run: impl Fn(&C) -> Result<CellResult, E>,
) -> anyhow::Result<()> {
    let (mut done, mut failed) = (Vec::new(), None);
    println!("{}", table::HEADING);
    for cell in cells {
        match run(&cell) {
            Ok(result) => {
                println!("{}", table::row(&result));
                done.push(result);
            }
            Err(error) => {
                println!("{:>5}  {error}", viewers(&cell));
                failed = Some(error.to_string());
            }
        }
    }
    if let Some(error) = failed.filter(|_| done.is_empty()) {
        anyhow::bail!("nothing was measured: {error}");
    }
    write_json(json, &done)
}

fn draw(figures: &Path, svg: Option<&Path>) -> anyhow::Result<()> {
    let beside = figures.join("bench.svg");
    let path = svg.unwrap_or(&beside);
    std::fs::write(path, plot::svg(&results::read(figures)?)?)
        .with_context(|| path.display().to_string())?;
    println!("picture: {}", path.display());
    Ok(())
}

fn compare(figures: &Path, viewers: usize) -> anyhow::Result<()> {
    let found = results::compare(&results::read(figures)?, viewers);
    anyhow::ensure!(!found.is_empty(), "no peer was measured with {viewers} viewers beside ours");
    for c in found {
        let gro = if c.gro { "viewers with GRO" } else { "viewers without GRO" };
        println!(
            "{viewers} viewers, {gro}: ours {:.2} us, {} {:.2} us a packet: 1/{:.1}",
            c.ours_us,
            c.peer,
            c.theirs_us,
            1.0 / c.ratio()
        );
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    let clock = Clock::start();
    match Arguments::parse().command {
        What::Limit => {
            let mut job = String::new();
            std::io::stdin().read_to_string(&mut job)?;
            let result = limit::run(&serde_json::from_str(&job).context("the job")?)?;
            println!("{}", serde_json::to_string(&result)?);
        }
        What::Storm { crowd, joins } => storm(&crowd, joins)?,
        What::Churn { crowd, joins, seconds } => churn(&crowd, joins, seconds)?,
        What::Siege { crowd, sent } => siege(&crowd, sent)?,
        What::Planner { nodes, repeat, seed, json } => {
            planner(&nodes, repeat, seed, json.as_deref())?;
        }
        What::Ladder(arguments) => ladder(&arguments, clock)?,
        What::Plot { figures, svg } => draw(&figures, svg.as_deref())?,
        What::Compare { figures, viewers } => compare(&figures, viewers)?,
        What::Leaf { watch, setting } => {
            load::stay_on(setting.core + 1)?;
            let setting = setting.setting();
            measure(
                watch.audiences(),
                watch.json.as_deref(),
                |a| a.viewers,
                |audience| setting.leaf(audience, clock),
            )?;
        }
        What::Janus { watch, setting, event_loops } => {
            load::stay_on(setting.core + 1)?;
            let setting = setting.setting();
            measure(
                watch.audiences(),
                watch.json.as_deref(),
                |a| a.viewers,
                |audience| setting.janus(event_loops, audience, clock),
            )?;
        }
        What::Whep { url, watch, pid, janus, video, token, local, core } => {
            core.map(load::stay_on).transpose()?;
            let signalling =
                janus.map_or(Signalling::Whep, |mountpoint| Signalling::Janus { mountpoint });
            let source = None;
            let subject = Subject { url, signalling, token, local, video, process: pid, source };
            measure(
                watch.audiences(),
                watch.json.as_deref(),
                |a| a.viewers,
                |audience| load::foreign(audience, &subject, clock),
            )?;
        }
    }
    Ok(())
}
