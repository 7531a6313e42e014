//! Viewers over TCP (RFC 6544, RFC 4571): the viewer itself speaks UDP to a bridge of its own on
//! loopback, which puts every datagram as a frame on a connection to the server, and back.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How often the threads look whether they are to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A running bridge; it ends when dropped, and its connection with it.
#[derive(Debug)]
pub(super) struct Bridge {
    address: SocketAddr,
    stream: TcpStream,
    stop: Arc<AtomicBool>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Bridge {
    /// Connects to the server.
    fn start(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK_EVERY))?;
        let address = socket.local_addr()?;
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let viewer = Arc::new(OnceLock::new());
        let (back, mut out, ended) = (socket.try_clone()?, stream.try_clone()?, stop.clone());
        let known = viewer.clone();
        std::thread::Builder::new().name("bridge-out".into()).spawn(move || {
            let mut frame = [0; 65_537];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut frame[2..]) else { continue };
                known.get_or_init(|| from);
                frame[..2].copy_from_slice(&(length as u16).to_be_bytes());
                if out.write_all(&frame[..2 + length]).is_err() {
                    return;
                }
            }
        })?;
        let mut input = stream.try_clone()?;
        std::thread::Builder::new().name("bridge-in".into()).spawn(move || {
            let (mut length, mut frame) = ([0; 2], vec![0; 65_535]);
            // Ends with its connection.
            while input.read_exact(&mut length).is_ok() {
                let frame = &mut frame[..usize::from(u16::from_be_bytes(length))];
                if input.read_exact(frame).is_err() {
                    return;
                }
                if let Some(viewer) = viewer.get() {
                    let _ = back.send_to(frame, viewer);
                }
            }
        })?;
        Ok(Self { address, stream, stop })
    }

    /// Puts a bridge before the first TCP candidate of an answer; the answer that comes back has
    /// that bridge as its only candidate.
    pub(super) fn before(answer: &str) -> Result<(Self, String), String> {
        let server = answer.lines().find_map(passive).ok_or("the answer has no TCP candidate")?;
        let bridge = Self::start(server).map_err(|error| format!("TCP {server}: {error}"))?;
        let mut sdp = String::new();
        for line in answer.lines().map(str::trim_end) {
            if passive(line) == Some(server) {
                let (ip, port) = (bridge.address.ip(), bridge.address.port());
                sdp += &format!("a=candidate:1 1 udp 1 {ip} {port} typ host\r\n");
            } else if !line.starts_with("a=candidate:") {
                sdp += &format!("{line}\r\n");
            }
        }
        Ok((bridge, sdp))
    }
}

/// The address of a passive TCP candidate.
fn passive(line: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = line.trim_end().strip_prefix("a=candidate:")?.split(' ').collect();
    let [_, "1", transport, _, ip, port, rest @ ..] = words.as_slice() else { return None };
    let tcp = transport.eq_ignore_ascii_case("tcp") && rest.ends_with(&["tcptype", "passive"]);
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?)).filter(|_| tcp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn datagrams_are_frames_both_ways() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let answer = format!(
            "v=0\r\na=candidate:1 1 udp 9 127.0.0.1 9 typ host\r\n\
             a=candidate:2 1 tcp 8 127.0.0.1 {port} typ host tcptype passive\r\na=x\r\n"
        );
        let (bridge, sdp) = Bridge::before(&answer).unwrap();
        let (mut connection, _) = server.accept().unwrap();
        let udp = bridge.address.port();
        let candidate = format!("a=candidate:1 1 udp 1 127.0.0.1 {udp} typ host\r\n");
        assert_eq!(sdp, format!("v=0\r\n{candidate}a=x\r\n"));
        let viewer = UdpSocket::bind("127.0.0.1:0").unwrap();
        viewer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        viewer.send_to(b"hello", bridge.address).unwrap();
        let mut frame = [0; 7];
        connection.read_exact(&mut frame).unwrap();
        assert_eq!(frame, *b"\0\x05hello");
        connection.write_all(b"\0\x02hi\0\x01!").unwrap();
        let mut got = [0; 9];
        assert_eq!(viewer.recv(&mut got).unwrap(), 2);
        assert_eq!(viewer.recv(&mut got).unwrap(), 1);
        drop(bridge);
        assert_eq!(connection.read(&mut frame).unwrap_or(0), 0);
        assert!(Bridge::before("a=candidate:1 1 udp 9 127.0.0.1 9 typ host\r\n").is_err());
    }
}
