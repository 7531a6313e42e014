//! Plays the simulator's scenarios: `make scenarios` plays all of them. docs/scenarios.md says what
//! happens in each and what has to hold.

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use relay_node::clock::Clock;
use soleil_tests::sim::scenario::{self, Outcome, Scenario, Size, plot};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  soleil-scenarios list
  soleil-scenarios run growth                      as docs/scenarios.md has it
  soleil-scenarios run all --out target/scenarios  tables, JSON and pictures
  soleil-scenarios run churn --size small --seed 7 a history of `make test` again

The same name, size and seed are the same history to the last byte: its digest is printed.
Ends with 1 if an invariant does not hold.";

/// Plays scenarios on the simulator: the real control cores of whole trees on virtual time.
#[derive(Debug, Parser)]
#[command(name = "soleil-scenarios", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The scenarios and what happens in each.
    List,
    /// Plays one, or `all` of them, and says whether every invariant held.
    Run {
        /// Its name, or `all`.
        name: String,
        /// What chance does: another seed is another history.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// As in `make test` or as in docs/scenarios.md.
        #[arg(long, value_enum, default_value_t = Size::Full)]
        size: Size,
        /// Writes NAME.json and NAME.svg into this directory.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

fn write(outcome: &Outcome, out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("{}", out.display()))?;
    let file = |kind: &str| out.join(format!("{}.{kind}", outcome.name));
    let write = |path: PathBuf, text: String| {
        std::fs::write(&path, text).with_context(|| format!("{}", path.display()))
    };
    write(file("json"), serde_json::to_string_pretty(outcome)?)?;
    write(file("svg"), plot::svg(outcome)?)
}

fn chosen(name: &str) -> anyhow::Result<Vec<Scenario>> {
    if name == "all" {
        return Ok(scenario::all());
    }
    let names: Vec<&str> = scenario::all().iter().map(|s| s.name).collect();
    let found = scenario::named(name);
    found
        .map(|s| vec![s])
        .with_context(|| format!("no scenario {name}; there are: all, {}", names.join(", ")))
}

fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    match Arguments::parse().what {
        What::List => {
            for scenario in scenario::all() {
                println!("{:<12} {}", scenario.name, scenario.about);
            }
        }
        What::Run { name, seed, size, out } => {
            let clock = Clock::start();
            let mut failed = Vec::new();
            for scenario in chosen(&name)? {
                let began = clock.now().mono;
                let outcome = (scenario.run)(size, seed);
                let took = clock.now().mono.since(began);
                print!("{}", outcome.table());
                println!(
                    "       played in {:.1} s, digest {}\n",
                    took.as_secs_f64(),
                    outcome.digest
                );
                if let Some(out) = &out {
                    write(&outcome, out)?;
                }
                if !outcome.holds() {
                    failed.push(scenario.name);
                }
            }
            if !failed.is_empty() {
                bail!("an invariant did not hold in: {}", failed.join(", "));
            }
        }
    }
    Ok(())
}
