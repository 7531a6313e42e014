//! Starts the parts of a tree: files, emulators, taps and processes.

use super::node::{Process, Running};
use super::options::Hop;
use super::{HarnessError, binary, io_error, steering};
use crate::emulator::{TcpTap, UdpEmulator};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

pub(super) fn emulator(
    hop: &Hop,
    listen: u16,
    target: u16,
) -> Result<Option<UdpEmulator>, HarnessError> {
    let Some(config) = hop.emulate else { return Ok(None) };
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // Any seed will do; a fixed one makes runs alike.
    UdpEmulator::start(at(listen), at(target), config, 1).map(Some).map_err(io_error("emulator"))
}

pub(super) fn tap(hop: &Hop, listen: u16, target: u16) -> Result<Option<TcpTap>, HarnessError> {
    if !hop.tap {
        return Ok(None);
    }
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpTap::start(at(listen), at(target)).map(Some).map_err(io_error("tap"))
}

pub(super) fn write(
    directory: &Path,
    name: &str,
    config: &str,
) -> Result<std::path::PathBuf, HarnessError> {
    let data = directory.join(name);
    std::fs::create_dir_all(&data).map_err(io_error("data directory"))?;
    let file = directory.join(format!("{name}.toml"));
    std::fs::write(&file, config).map_err(io_error("configuration"))?;
    Ok(file)
}

/// Starts the root with its configuration; steered it is a program of the tests.
pub(super) fn start_root(
    directory: &Path,
    file: &Path,
    ops: u16,
    steered: bool,
) -> Result<Running, HarnessError> {
    if !steered {
        return start("root", "root-node", file, ops, None);
    }
    let mut command = Command::new(binary("soleil-root")?);
    command.arg("--config").arg(file).args(steering::arguments(directory));
    command.env("RUST_BACKTRACE", "1");
    let process = Process::start_listening("root", &mut command)?;
    Ok(Running { process, ops: SocketAddr::from((Ipv4Addr::LOCALHOST, ops)) })
}

/// Starts a node with its configuration; `core` keeps it on one core.
pub(super) fn start(
    name: &str,
    program: &str,
    file: &Path,
    ops: u16,
    core: Option<usize>,
) -> Result<Running, HarnessError> {
    let mut command = match core {
        Some(core) => {
            let mut command = Command::new("taskset");
            command.args(["-c", &core.to_string()]).arg(binary(program)?);
            command
        }
        None => Command::new(binary(program)?),
    };
    command.arg("--config").arg(file).env("RUST_BACKTRACE", "1");
    let process = Process::start(name, &mut command)?;
    Ok(Running { process, ops: SocketAddr::from((Ipv4Addr::LOCALHOST, ops)) })
}
