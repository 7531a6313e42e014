//! Connections against their limits, on times of the test's choice.

use super::backlog::MAX_BYTES;
use super::frame::MAX_FRAME;
use super::*;
use relay_node::clock::Clock;
use std::net::TcpStream as Client;

pub(super) const NOW: Mono = Mono(1_000_000);
pub(super) const ROOMY: TcpLimits = TcpLimits { total: 1_000, per_address: 1_000 };

pub(super) fn bench(limits: TcpLimits) -> Tcp {
    Tcp::bind("127.0.0.1:0".parse().unwrap(), limits).unwrap()
}

pub(super) fn connect(tcp: &Tcp) -> Client {
    let client = Client::connect(tcp.listener.as_ref().unwrap().local_addr().unwrap()).unwrap();
    client.set_nonblocking(true).unwrap();
    client
}

pub(super) fn framed(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes(), data].concat()
}

/// Lets the driver work until something is so.
pub(super) fn until(tcp: &mut Tcp, now: Mono, what: &str, mut done: impl FnMut(&mut Tcp) -> bool) {
    let clock = Clock::start();
    while !done(tcp) {
        assert!(clock.now().mono < Mono(20_000_000), "never: {what}");
        tcp.turn(now).unwrap();
        tcp.accept = true;
        std::thread::yield_now();
    }
}

fn counted(tcp: &mut Tcp, n: usize) {
    until(tcp, NOW, "connections", |tcp| tcp.connections.len() == n);
}

/// The other side has closed.
pub(super) fn ended(client: &mut Client) -> bool {
    match client.read(&mut [0; 4_096]) {
        Ok(n) => n == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

pub(super) fn frames(tcp: &mut Tcp) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut all = Vec::new();
    let mut frames = tcp.take_frames();
    frames.for_each(|from, data| all.push((from, data.to_vec())));
    tcp.recycle(frames);
    all
}

/// A connection that has sent a frame and is admitted.
fn admitted(tcp: &mut Tcp) -> (Client, SocketAddr) {
    let mut client = connect(tcp);
    client.write_all(&framed(b"first")).unwrap();
    let mut got = Vec::new();
    until(tcp, NOW, "a frame", |tcp| {
        got.extend(frames(tcp));
        !got.is_empty()
    });
    tcp.admit(got[0].0);
    (client, got[0].0)
}

#[test]
fn frames_go_both_ways_under_an_address_that_no_datagram_has() {
    let mut tcp = bench(ROOMY);
    let (mut client, flow) = admitted(&mut tcp);
    assert!(is_flow(&flow) && tcp.is_open(flow) && !tcp.is_fresh(flow));
    let local = client.local_addr().unwrap();
    assert!(!is_flow(&local) && !is_flow(&"[::ffff:192.0.2.1]:9".parse().unwrap()));
    assert_eq!((flow.ip().to_canonical(), flow.port()), (local.ip(), local.port()));
    tcp.send(NOW, flow, b"one");
    tcp.send(NOW, flow, b"two");
    tcp.flush();
    let mut got = Vec::new();
    until(&mut tcp, NOW, "both frames", |_| {
        let mut buffer = [0; 64];
        let n = client.read(&mut buffer).unwrap_or(0);
        got.extend_from_slice(&buffer[..n]);
        got.len() >= 10
    });
    assert_eq!(got, [framed(b"one"), framed(b"two")].concat());
    // To another's number, or another address with it: nothing.
    tcp.send(NOW, super::flow::flow(local, 99), b"x");
    tcp.send(NOW, super::flow::flow("192.0.2.1:5".parse().unwrap(), 1), b"x");
    assert_eq!(tcp.take_counts().sent, 2);
}

#[test]
fn connections_are_limited_in_all_and_of_one_address() {
    for limits in [TcpLimits { total: 3, ..ROOMY }, TcpLimits { per_address: 3, ..ROOMY }] {
        let mut tcp = bench(limits);
        let kept: Vec<Client> = (0..3).map(|_| connect(&tcp)).collect();
        counted(&mut tcp, 3);
        let mut more = connect(&tcp);
        until(&mut tcp, NOW, "one too many", |_| ended(&mut more));
        drop(kept);
        counted(&mut tcp, 0);
        assert!(tcp.places.is_empty() && tcp.fresh.is_empty());
        assert_eq!(tcp.take_counts().refused, 1);
    }
}

#[test]
fn who_only_connects_is_closed_in_time_and_keeps_nobody_out() {
    let mut tcp = bench(ROOMY);
    let (_viewer, flow) = admitted(&mut tcp);
    let mut idle: Vec<Client> = (0..MAX_FRESH).map(|_| connect(&tcp)).collect();
    counted(&mut tcp, MAX_FRESH + 1);
    let another = connect(&tcp);
    until(&mut tcp, NOW, "the oldest makes room", |_| ended(&mut idle[0]));
    assert_eq!(tcp.connections.len(), MAX_FRESH + 1);
    let late = NOW.after(AUTHENTICATE_WITHIN);
    tcp.expire(Mono(late.0 - 1), |_| true);
    assert_eq!(tcp.connections.len(), MAX_FRESH + 1);
    tcp.expire(late, |_| true);
    assert_eq!(tcp.connections.len(), 1, "all but the one with a viewer");
    assert!(tcp.is_open(flow));
    drop(another);
}

#[test]
fn a_frame_that_is_too_long_ends_the_connection_and_a_slow_one_holds_little() {
    let mut tcp = bench(ROOMY);
    let (mut client, flow) = admitted(&mut tcp);
    client.write_all(&framed(&[7; MAX_FRAME])).unwrap();
    until(&mut tcp, NOW, "the longest frame", |tcp| {
        frames(tcp).iter().any(|(_, data)| data.len() == MAX_FRAME)
    });
    client.write_all(&(MAX_FRAME as u16 + 1).to_be_bytes()).unwrap();
    until(&mut tcp, NOW, "the end", |_| ended(&mut client));
    assert_eq!(tcp.next_event(), Some(TcpEvent::Closed(flow)));
    assert!(!tcp.is_open(flow));
}

#[test]
fn a_flood_of_frames_is_read_in_turns() {
    let mut tcp = bench(ROOMY);
    let (mut client, _) = admitted(&mut tcp);
    let flood = framed(&[0; 10]).repeat(20_000);
    let (mut written, mut seen) = (0, 0);
    until(&mut tcp, NOW, "all frames", |tcp| {
        written += client.write(&flood[written..]).unwrap_or(0);
        let some = frames(tcp).len();
        assert!(some <= READ_AT_ONCE / 12 + 1, "{some} frames in one turn");
        seen += some;
        seen == 20_000
    });
}

#[test]
fn a_viewer_that_does_not_read_loses_media_holds_a_bounded_backlog_and_recovers() {
    let mut tcp = bench(ROOMY);
    let (mut client, flow) = admitted(&mut tcp);
    let mut packet = vec![0x80, 0xe0];
    packet.resize(1_200, 7);
    let mut sent = 0;
    while tcp.next_event().is_none() {
        tcp.send(NOW, flow, &packet);
        tcp.flush();
        sent += 1;
        assert!(sent < 100_000, "it never stalls");
    }
    for _ in 0..10_000 {
        tcp.send(NOW, flow, &packet);
        tcp.flush();
    }
    let held = tcp.connections.values().map(|c| c.output.len()).sum::<usize>();
    assert!(held <= MAX_BYTES, "{held}");
    let counts = tcp.take_counts();
    assert_eq!((counts.sent, counts.dropped), (sent, 10_000));
    let mut got = 0;
    until(&mut tcp, NOW, "all that was taken", |_| {
        got += client.read(&mut [0; 65_536]).unwrap_or(0);
        got == sent as usize * 1_202
    });
    assert_eq!(tcp.next_event(), Some(TcpEvent::Drained(flow)));
    assert_eq!(tcp.next_event(), None);
    tcp.expire(NOW.after(2 * MAX_STALL), |_| true);
    assert!(tcp.is_open(flow), "all is well again");
}

#[test]
fn a_viewer_that_never_reads_again_is_closed() {
    let mut tcp = bench(ROOMY);
    let (_client, flow) = admitted(&mut tcp);
    let mut packet = vec![0x80, 0xe0];
    packet.resize(1_200, 7);
    while tcp.next_event() != Some(TcpEvent::Stalled(flow)) {
        tcp.send(NOW, flow, &packet);
        tcp.flush();
    }
    tcp.expire(Mono(NOW.after(MAX_STALL).0 - 1), |_| true);
    assert!(tcp.is_open(flow));
    tcp.expire(NOW.after(MAX_STALL), |_| true);
    assert_eq!(tcp.next_event(), Some(TcpEvent::Closed(flow)));
    assert!(tcp.connections.is_empty());
}

#[test]
fn a_session_that_ends_says_goodbye_first() {
    let mut tcp = bench(ROOMY);
    let (mut client, flow) = admitted(&mut tcp);
    tcp.finish(NOW, flow);
    assert!(!tcp.is_open(flow));
    tcp.send(NOW, flow, b"bye");
    tcp.flush();
    assert!(tcp.connections.is_empty());
    let mut got = Vec::new();
    client.set_nonblocking(false).unwrap();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, framed(b"bye"));
    assert_eq!(tcp.next_event(), None, "its session knows");
}

#[test]
fn refused_strangers_are_gone_at_once() {
    let mut tcp = bench(ROOMY);
    let mut client = connect(&tcp);
    client.write_all(&framed(b"GET / HTTP/1.1")).unwrap();
    let mut got = Vec::new();
    until(&mut tcp, NOW, "a frame", |tcp| {
        got.extend(frames(tcp));
        !got.is_empty()
    });
    assert!(tcp.is_fresh(got[0].0));
    tcp.refuse(got[0].0);
    tcp.refuse(got[0].0);
    assert!(tcp.connections.is_empty());
    assert_eq!(tcp.take_counts().refused, 1);
}
