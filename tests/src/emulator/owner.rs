//! Which process a TCP connection of this machine belongs to, by what Linux says in `/proc`.

use std::collections::HashSet;
use std::fs;

/// Those of the ports `local` from which a process has a connection to port `remote`. One look at
/// the system's tables for all of them: they are long on a busy machine.
pub(super) fn owned(pid: u32, local: &[u16], remote: u16) -> Vec<u16> {
    let Ok(table) = fs::read_to_string("/proc/net/tcp") else { return Vec::new() };
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let names = descriptors.flatten().filter_map(|d| fs::read_link(d.path()).ok());
    let sockets: HashSet<String> = names
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let rows = table.lines().filter_map(|line| connection(line, remote));
    rows.filter(|(port, inode)| local.contains(port) && sockets.contains(*inode))
        .map(|(port, _)| port)
        .collect()
}

/// Port and number of the socket in a line of `/proc/net/tcp`, if it is connected to this port.
fn connection(line: &str, remote: u16) -> Option<(u16, &str)> {
    let mut words = line.split_whitespace();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let (local, to) = (port(words.nth(1)?)?, port(words.next()?)?);
    // State, queues, timer, retransmissions, user, time-out; then the number.
    let inode = words.nth(6)?;
    (to == remote).then_some((local, inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_owner_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("127.0.0.1", remote)).unwrap();
        let local = stream.local_addr().unwrap().port();
        let mine = |ports: &[u16]| owned(std::process::id(), ports, remote);
        assert_eq!(mine(&[local, remote]), [local]);
        assert!(mine(&[remote]).is_empty());
        assert!(owned(1, &[local], remote).is_empty() || std::process::id() == 1);
        drop(stream);
        assert!(mine(&[local]).is_empty());
    }

    #[test]
    fn lines_of_the_table_are_read() {
        let line = "  3: 0100007F:1D13 0100007F:C35A 01 00000000:00000000 00:00000000 00000000     0        0 48213 1 0000000000000000 20 4 30 10 -1";
        assert_eq!(connection(line, 0xc35a), Some((0x1d13, "48213")));
        assert_eq!(connection(line, 0x1d13), None);
        assert_eq!(connection("  sl  local_address rem_address   st", 2), None);
    }
}
