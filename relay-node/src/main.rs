//! The relay as a program.

use relay_node::{exit, relay};
use std::process::ExitCode;

fn main() -> ExitCode {
    match exit::parse_args::<relay::Cli>() {
        Ok(cli) => exit::code(relay::run(&cli)),
        Err(code) => code,
    }
}
