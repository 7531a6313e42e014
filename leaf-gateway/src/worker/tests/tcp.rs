//! Viewers over TCP and IPv6, and viewers whose address changes.

use super::*;
use crate::worker::tcp;
use std::io::{Read, Write};
use std::net::TcpStream;

const LIMITS: Option<TcpLimits> = Some(TcpLimits { total: 50, per_address: 50 });

pub(super) struct TcpClient {
    clock: Clock,
    stream: TcpStream,
    input: Vec<u8>,
    pub(super) viewer: Viewer,
    next_check: Mono,
    over: bool,
}

impl Rig {
    fn join_over_tcp(&self, n: u32) -> TcpClient {
        let udp = self.join(n, socket());
        let stream = TcpStream::connect(self.worker.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        TcpClient {
            clock: self.clock,
            stream,
            input: Vec::new(),
            viewer: udp.viewer,
            next_check: Mono(0),
            over: false,
        }
    }

    pub(super) fn viewer_over_tcp(&self, n: u32) -> TcpClient {
        let mut client = self.join_over_tcp(n);
        let live = self.metrics.live.get();
        client.until("connected", |c| c.viewer.profile.is_some() && self.metrics.live.get() > live);
        client
    }
}

impl TcpClient {
    fn send(&mut self, data: &[u8]) {
        let frame = [&(data.len() as u16).to_be_bytes(), data].concat();
        self.over |= self.stream.write_all(&frame).is_err();
    }

    fn pump(&mut self) {
        let now = self.clock.now().mono;
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.over = true,
            Ok(n) => self.input.extend_from_slice(&buffer[..n]),
            Err(_) => {}
        }
        while let Some(length) = self.input.first_chunk().map(|l| u16::from_be_bytes(*l)) {
            let end = 2 + usize::from(length);
            if self.input.len() < end {
                break;
            }
            let frame: Vec<u8> = self.input.drain(..end).skip(2).collect();
            self.viewer.receive(now, &frame);
        }
        if self.viewer.poll_timeout().is_some_and(|at| at <= now) {
            self.viewer.handle_timeout(now);
        }
        if self.next_check <= now {
            let check = self.viewer.check(true, 1);
            self.send(&check);
            self.next_check = now.after(Duration::from_millis(200));
        }
        for data in std::mem::take(&mut self.viewer.out) {
            self.send(&data);
        }
    }

    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut TcpClient) -> bool) {
        let until = self.clock.now().mono.after(DEADLINE);
        while !done(self) {
            assert!(self.clock.now().mono < until, "never: {what}");
            self.pump();
        }
    }

    pub(super) fn rtcp(&mut self, plain: &[u8]) {
        let sealed = self.viewer.seal(plain).unwrap();
        self.send(&sealed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_served_over_tcp_beside_one_over_udp() {
    let mut rig = rig_at("127.0.0.1:0", LIMITS);
    let mut udp = rig.viewer(1);
    let mut tcp = rig.viewer_over_tcp(2);
    rig.media(50, true);
    tcp.until("media", |c| c.viewer.seen.len() == 50);
    udp.until("media", |c| c.viewer.seen.len() == 50);
    assert_eq!(tcp.viewer.unopened, 0);
    let seq = tcp.viewer.seen[20].seq;
    tcp.rtcp(&nack(VIDEO_OUT, &[(seq, 0)]));
    tcp.until("the packet again", |c| c.viewer.seen.len() == 51);
    assert!(rig.worker.remove(id(2)).await);
    tcp.until("goodbye and end", |c| c.viewer.closed && c.over);
    rig.media(5, false);
    udp.until("more media", |c| c.viewer.seen.len() == 55);
    rig.wait("it is counted", || rig.metrics.tcp_packets.get() >= 51);
    assert_eq!(rig.metrics.tcp_connections.get(), 1);
}

#[test]
fn a_connection_that_ends_is_no_session_and_another_one_takes_over() {
    let mut rig = rig_at("127.0.0.1:0", LIMITS);
    let mut client = rig.viewer_over_tcp(1);
    rig.media(3, true);
    client.until("media", |c| c.viewer.seen.len() == 3);
    client.stream = TcpStream::connect(rig.worker.local_addr()).unwrap();
    client.stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    client.input.clear();
    client.next_check = Mono(0);
    let mut turns = 0;
    client.until("media over the new one", |c| {
        turns += 1;
        rig.media(1, turns % 20 == 0);
        c.viewer.seen.len() > 10
    });
    assert_eq!(rig.occupancy.counts(), (1, 0));
}

#[test]
fn many_connections_of_one_viewer_are_closed_but_a_few() {
    let mut rig = rig_at("127.0.0.1:0", LIMITS);
    let mut client = rig.viewer(1);
    let mut many: Vec<TcpStream> = Vec::new();
    for _ in 0..30 {
        let mut stream = TcpStream::connect(rig.worker.local_addr()).unwrap();
        let check = client.viewer.check(false, 0);
        let frame = [&(check.len() as u16).to_be_bytes(), check.as_slice()].concat();
        stream.write_all(&frame).unwrap();
        stream.set_nonblocking(true).unwrap();
        many.push(stream);
    }
    client.until("the rest are closed", |_| {
        many.retain_mut(|stream| match stream.read(&mut [0; 4_096]) {
            Ok(n) => n > 0,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
        many.len() <= crate::session::ice::MAX_ADDRESSES
    });
    rig.media(3, true);
    client.until("media where they were", |c| c.viewer.seen.len() == 3);
}

#[test]
fn strangers_on_tcp_disturb_nobody() {
    let mut rig = rig_at("127.0.0.1:0", LIMITS);
    let mut client = rig.viewer_over_tcp(1);
    let mut wrong = setup(true).credentials;
    wrong.local_ufrag = "0leaf99".into();
    let mut stranger = Viewer::new(rig.clock, wrong, &[GCM]);
    let check = stranger.check(true, 1);
    for data in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 40], &[0, 3, 22, 1, 1], &check] {
        let mut stream = TcpStream::connect(rig.worker.local_addr()).unwrap();
        // Before the time for a first check is over: it is what they say that ends it.
        stream.set_read_timeout(Some(tcp::AUTHENTICATE_WITHIN / 2)).unwrap();
        let frame = [&(data.len() as u16).to_be_bytes(), data].concat();
        stream.write_all(if data.len() == check.len() { &frame } else { data }).unwrap();
        if data.len() > 5 {
            // Closed, and not a byte before it.
            match stream.read(&mut [0; 64]) {
                Ok(n) => assert_eq!(n, 0),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
    }
    rig.media(5, true);
    client.until("media all the same", |c| c.viewer.seen.len() == 5);
    rig.wait("they are counted", || rig.metrics.tcp_refused.get() >= 2);
}

#[test]
fn who_reads_nothing_over_tcp_costs_the_others_nothing_and_plays_on_when_it_reads() {
    let mut rig = rig_at("127.0.0.1:0", LIMITS);
    let mut slow = rig.viewer_over_tcp(1);
    let mut other = rig.viewer(2);
    rig.media(1, true);
    slow.until("media", |c| c.viewer.seen.len() == 1);
    let mut sent = 1;
    while rig.metrics.tcp_stalls.get() == 0 {
        assert!(sent < 20_000, "it never stalls");
        rig.media(20, sent % 200 == 1);
        sent += 20;
        other.until("media", |c| c.viewer.seen.len() >= sent);
    }
    // Not more at once than the other's socket holds while nobody reads it.
    for part in 1..=10 {
        rig.media(20, false);
        other.until("media", |c| c.viewer.seen.len() >= sent + 20 * part);
    }
    // It reads again, and goes on with what is sent from then on.
    let mut quiet = 0;
    slow.until("all that waited", |c| {
        let before = c.viewer.seen.len();
        c.pump();
        quiet = if c.viewer.seen.len() == before { quiet + 1 } else { 0 };
        quiet > 20
    });
    let seen = slow.viewer.seen.len();
    assert!(seen < sent + 200, "what came meanwhile is lost");
    let mut turns = 0;
    slow.until("new media", |c| {
        rig.media(1, turns % 20 == 0);
        turns += 1;
        c.viewer.seen.len() > seen + 5
    });
}

#[test]
fn viewers_over_ipv6_and_over_both_families_of_one_port() {
    let mut six = rig_at("[::1]:0", LIMITS);
    let local = UdpSocket::bind("[::1]:0").unwrap();
    local.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let mut client = six.join(1, local);
    client.until("connected", |_| six.metrics.live.get() == 1);
    six.media(3, true);
    client.until("media", |c| c.viewer.seen.len() >= 3);
    let mut tcp = six.viewer_over_tcp(2);
    six.media(3, true);
    tcp.until("media", |c| c.viewer.seen.len() >= 3);

    let mut both = rig_at("[::]:0", LIMITS);
    let port = both.worker.local_addr().port();
    for (n, host) in [(1, "[::1]"), (2, "127.0.0.1")] {
        let local = UdpSocket::bind(format!("{host}:0")).unwrap();
        local.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let mut client = both.join(n, local);
        client.to = format!("{host}:{port}").parse().unwrap();
        let live = both.metrics.live.get();
        client.until("connected", |_| both.metrics.live.get() > live);
        both.media(3, true);
        client.until("media", |c| c.viewer.seen.len() >= 3);
    }
}

#[test]
fn a_viewer_at_another_port_is_followed_by_its_rtcp() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    rig.media(3, true);
    client.until("media", |c| c.viewer.seen.len() == 3);
    client.socket = socket();
    // No more checks: nothing but reports says where it is now.
    client.next_check = Mono(u64::MAX);
    for _ in 0..3 {
        client.rtcp(&crate::session::tests::client::report(VIDEO_OUT, 0, 0, 0));
        client.pump();
    }
    client.until("it is seen", |c| {
        c.pump();
        rig.metrics.moves.get() == 1
    });
    let mut turns = 0;
    client.until("media at the new port", |c| {
        turns += 1;
        rig.media(1, turns % 20 == 0);
        c.viewer.seen.len() > 8
    });
}
