//! Which process a TCP connection of this machine belongs to, by what Linux says in `/proc`.

use std::fs;

/// Whether a process has a connection from port `local` to port `remote`.
pub(super) fn owns(pid: u32, local: u16, remote: u16) -> bool {
    let Ok(table) = fs::read_to_string("/proc/net/tcp") else { return false };
    let Some(inode) = table.lines().find_map(|line| inode(line, local, remote)) else {
        return false;
    };
    let socket = format!("socket:[{inode}]");
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .filter_map(|d| fs::read_link(d.path()).ok())
        .any(|to| to.to_str() == Some(socket.as_str()))
}

/// The number of the socket in a line of `/proc/net/tcp`, if it is the one between these ports.
fn inode(line: &str, local: u16, remote: u16) -> Option<&str> {
    let mut words = line.split_whitespace();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let ports = (port(words.nth(1)?)?, port(words.next()?)?);
    // State, queues, timer, retransmissions, user, time-out; then the number.
    (ports == (local, remote)).then(|| words.nth(6))?
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
        assert!(owns(std::process::id(), local, remote));
        assert!(!owns(1, local, remote) || std::process::id() == 1);
        drop(stream);
        assert!(!owns(std::process::id(), local, remote));
    }

    #[test]
    fn lines_of_the_table_are_read() {
        let line = "  3: 0100007F:1D13 0100007F:C35A 01 00000000:00000000 00:00000000 00000000     0        0 48213 1 0000000000000000 20 4 30 10 -1";
        assert_eq!(inode(line, 0x1d13, 0xc35a), Some("48213"));
        assert_eq!(inode(line, 0xc35a, 0x1d13), None);
        assert_eq!(inode("  sl  local_address rem_address   st", 1, 2), None);
    }
}
