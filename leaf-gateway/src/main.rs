//! The leaf's program: reads the configuration and runs until told to stop.

use leaf_gateway::config::{Cli, LeafConfig};
use relay_node::exit;
use soleil_protocol::Role;
use std::process::ExitCode;

fn main() -> ExitCode {
    match exit::parse_args::<Cli>() {
        Ok(cli) => exit::code(program(&cli)),
        Err(code) => code,
    }
}

fn program(cli: &Cli) -> anyhow::Result<()> {
    let config = LeafConfig::load(cli)?;
    config.root.resolve(Role::Leaf, cli.common.config.as_deref())?;
    if cli.common.check {
        println!("the configuration is good");
        return Ok(());
    }
    tokio::runtime::Runtime::new()?
        .block_on(leaf_gateway::run(config, cli.common.config.as_deref()))
}
