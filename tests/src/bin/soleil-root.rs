//! The root for tests that steer it: as `root-node` without its other commands, it also reads
//! `move NODE PARENT` from its standard input, and writes the tree as it sees it to a file whenever
//! that has changed.

use anyhow::Context;
use clap::Parser;
use relay_node::logging;
use root_node::config::Config;
use root_node::core::api::{RootCommand, RootView};
use root_node::root::Root;
use soleil_protocol::NodeId;
use soleil_tests::harness::{Order, Seen};
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// A root that tests steer.
#[derive(Debug, Parser)]
#[command(name = "soleil-root", version)]
struct Arguments {
    /// Configuration file (TOML).
    #[arg(long)]
    config: PathBuf,
    /// The file that the tree is written to.
    #[arg(long)]
    tree: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = Config::load(Some(&arguments.config))?;
    config.check_listeners(Some(&arguments.config))?;
    let log = logging::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reason = runtime.block_on(async {
        let root = Root::start(config, log).await?;
        let node = root.node.clone();
        // Ends with the process: nothing else wakes it from its read.
        std::thread::Builder::new().name("orders".into()).spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match command(&line) {
                    Ok(command) => {
                        // `false`: the node has ended.
                        if !node.command(command) {
                            return;
                        }
                    }
                    Err(error) => tracing::error!(%line, %error, "no order"),
                }
            }
        })?;
        tokio::spawn(publish(root.view.clone(), arguments.tree));
        root.run_until_signalled().await
    })?;
    tracing::info!(%reason, "stopped");
    Ok(())
}

fn command(line: &str) -> anyhow::Result<RootCommand> {
    let Order::Move(node, parent) = Order::parse(line).context("it is not `move NODE PARENT`")?;
    Ok(RootCommand::Move { node: NodeId::new(&node)?, parent: NodeId::new(&parent)? })
}

/// Writes each view of the tree.
async fn publish(mut views: watch::Receiver<Arc<RootView>>, file: PathBuf) {
    let mut last = Vec::new();
    while views.changed().await.is_ok() {
        let seen = Seen::all(&views.borrow_and_update());
        if seen == last {
            continue;
        }
        if let Err(error) = Seen::write(&seen, &file) {
            tracing::error!(%error, file = %file.display(), "can't write the tree");
        }
        last = seen;
    }
}
