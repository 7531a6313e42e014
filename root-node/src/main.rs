//! The root as a program.

use root_node::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match relay_node::exit::parse_args::<cli::Cli>() {
        Ok(cli) => relay_node::exit::code(cli::run(&cli)),
        Err(code) => code,
    }
}
