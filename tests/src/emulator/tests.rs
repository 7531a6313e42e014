//! What a link does on average, that a seed repeats it, and that the drivers move bytes.

use super::*;
use crate::wait::until;
use soleil_protocol::Mono;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Sends `count` packets of 1,000 bytes, one each millisecond; gives (packet, arrival in µs).
fn run(config: LinkConfig, seed: u64, count: u64) -> (Vec<(u64, u64)>, LinkStats) {
    let mut link = Link::new(config, seed);
    let mut out = Vec::new();
    let mut collect = |link: &mut Link<u64>, until: u64| {
        while let Some(due) = link.poll_timeout().filter(|due| due.0 <= until) {
            while let Some(packet) = link.poll(due) {
                out.push((packet, due.0));
            }
        }
    };
    for n in 0..count {
        collect(&mut link, n * 1000);
        link.handle(Mono(n * 1000), 1000, n);
    }
    collect(&mut link, u64::MAX);
    let stats = link.stats();
    (out, stats)
}

#[test]
fn default_link_changes_nothing() {
    let (out, stats) = run(LinkConfig::default(), 1, 100);
    assert_eq!(out, (0..100).map(|n| (n, n * 1000)).collect::<Vec<_>>());
    assert_eq!((stats.packets, stats.delivered, stats.lost), (100, 100, 0));
}

#[test]
fn same_seed_same_fate() {
    let config = LinkConfig { loss: 0.1, jitter_us: 5000, duplicate: 0.1, ..LinkConfig::default() };
    assert_eq!(run(config, 7, 1000), run(config, 7, 1000));
    assert_ne!(run(config, 7, 1000).0, run(config, 8, 1000).0);
}

#[test]
fn loss_is_what_was_asked_for() {
    let config = LinkConfig { loss: 0.05, ..LinkConfig::default() };
    let (out, stats) = run(config, 3, 100_000);
    let loss = stats.lost as f64 / 100_000.0;
    assert!((loss - 0.05).abs() < 0.003, "{loss}");
    assert_eq!(out.len() as u64, 100_000 - stats.lost);
}

#[test]
fn bursts_are_as_long_as_asked_for() {
    let bursts = GilbertElliott { enter: 0.01, leave: 0.2, loss: 1.0 };
    let config = LinkConfig { bursts: Some(bursts), ..LinkConfig::default() };
    let (out, stats) = run(config, 4, 200_000);
    // Bad for 1/(1 + leave/enter) of the time, five packets in a row on average.
    let loss = stats.lost as f64 / 200_000.0;
    assert!((loss - 0.0476).abs() < 0.006, "{loss}");
    let gaps: Vec<u64> =
        out.windows(2).map(|w| w[1].0 - w[0].0 - 1).filter(|gap| *gap > 0).collect();
    let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
    assert!((mean - 5.0).abs() < 0.4, "{mean}");
}

#[test]
fn jitter_spreads_and_keeps_order() {
    let config = LinkConfig { delay_us: 20_000, jitter_us: 5_000, ..LinkConfig::default() };
    let (out, _) = run(config, 5, 10_000);
    assert!(out.windows(2).all(|w| w[0].0 < w[1].0));
    let delays: Vec<u64> = out.iter().map(|(n, at)| at - n * 1000).collect();
    assert!(delays.iter().all(|d| (20_000..=25_000).contains(d)));
    let mean = delays.iter().sum::<u64>() as f64 / delays.len() as f64;
    // Order is kept by waiting, which lifts the mean above 22.5 ms.
    assert!((22_000.0..24_800.0).contains(&mean), "{mean}");
}

#[test]
fn reordered_packets_are_overtaken() {
    let config = LinkConfig { reorder: 0.1, reorder_by_us: 3_500, ..LinkConfig::default() };
    let (out, stats) = run(config, 6, 10_000);
    let late = out.windows(2).filter(|w| w[0].0 > w[1].0).count();
    assert!((900..1100).contains(&stats.reordered), "{stats:?}");
    assert!(late > 700, "{late}");
    assert_eq!(out.len(), 10_000);
}

#[test]
fn duplicates_come_twice() {
    let config = LinkConfig { duplicate: 0.2, ..LinkConfig::default() };
    let (out, stats) = run(config, 6, 10_000);
    assert!((1900..2100).contains(&stats.duplicated), "{stats:?}");
    assert_eq!(out.len() as u64, 10_000 + stats.duplicated);
}

#[test]
fn rate_delays_and_queue_overflows() {
    // 1,000 bytes a millisecond are 8 Mbit/s; the link has half.
    let config = LinkConfig { rate_bps: 4_000_000, queue_bytes: 10_000, ..LinkConfig::default() };
    let (out, stats) = run(config, 6, 10_000);
    assert!((4_900..5_100).contains(&stats.overflowed), "{stats:?}");
    let longest = out.iter().map(|(n, at)| at - n * 1000).max().unwrap();
    assert!((15_000..=20_000).contains(&longest), "{longest}");
}

#[test]
fn udp_passes_both_ways_and_is_recorded() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    let target = server.local_addr().unwrap();
    let config = LinkConfig { delay_us: 10_000, ..LinkConfig::default() };
    let emulator = UdpEmulator::start("127.0.0.1:0".parse().unwrap(), target, config, 1).unwrap();
    emulator.record();
    let clock = relay_node::clock::Clock::start();
    client.send_to(b"there", emulator.address()).unwrap();
    let mut buffer = [0; 100];
    let (size, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..size], b"there");
    server.send_to(b"back", from).unwrap();
    let (size, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..size], from), (&b"back"[..], emulator.address()));
    assert!(clock.now().mono.0 >= 20_000);
    assert_eq!(emulator.recorded().len(), 2);
    assert_eq!(emulator.stats(Dir::ToTarget).delivered, 1);

    emulator.set(Dir::ToTarget, LinkConfig { loss: 1.0, ..LinkConfig::default() });
    client.send_to(b"lost", emulator.address()).unwrap();
    until("the loss", Duration::from_secs(5), || emulator.stats(Dir::ToTarget).lost == 1);
}

#[test]
fn a_sender_comes_from_another_port_after_a_rebind() {
    let (server, client) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    let target = server.local_addr().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let emulator = UdpEmulator::start(listen, target, LinkConfig::default(), 1).unwrap();
    let mut buffer = [0; 100];
    client.send_to(b"before", emulator.address()).unwrap();
    let (_, before) = server.recv_from(&mut buffer).unwrap();
    emulator.rebind();
    let mut after = before;
    until("another port", Duration::from_secs(5), || {
        client.send_to(b"after", emulator.address()).unwrap();
        after = server.recv_from(&mut buffer).unwrap().1;
        after != before
    });
    server.send_to(b"back", after).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 4);
}

#[test]
fn a_cut_holds_for_later_senders_only_and_ends() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let target = server.local_addr().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let emulator = UdpEmulator::start(listen, target, LinkConfig::default(), 1).unwrap();
    let clients: Vec<_> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let mut buffer = [0; 100];
    let mut heard = |client: usize, word: &[u8]| {
        clients[client].send_to(word, emulator.address()).unwrap();
        let size = server.recv(&mut buffer).unwrap();
        buffer[..size].to_vec()
    };
    assert_eq!((heard(0, b"a"), emulator.flows()), (b"a".to_vec(), 1));
    assert_eq!(heard(1, b"b"), b"b");
    emulator.cut_all_but(Some(1));
    clients[1].send_to(b"cut", emulator.address()).unwrap();
    assert_eq!(heard(0, b"c"), b"c");
    emulator.cut_all_but(None);
    assert_eq!(heard(1, b"d"), b"d");
    let first = clients[0].local_addr().unwrap();
    emulator.cut(vec![first]);
    clients[0].send_to(b"cut", emulator.address()).unwrap();
    assert_eq!(heard(1, b"e"), b"e");
    emulator.cut(Vec::new());
    assert_eq!(heard(0, b"f"), b"f");
}

#[test]
fn tap_passes_and_records() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let tap = TcpTap::start("127.0.0.1:0".parse().unwrap(), target).unwrap();
    let mut client = TcpStream::connect(tap.address()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"question").unwrap();
    let mut buffer = [0; 8];
    server.read_exact(&mut buffer).unwrap();
    server.write_all(b"answer").unwrap();
    client.read_exact(&mut buffer[..6]).unwrap();
    assert_eq!(tap.recorded(), [b"question".to_vec(), b"answer".to_vec()]);
    drop(tap);
    assert_eq!(client.read(&mut buffer).unwrap_or(0), 0);
}

#[test]
fn a_tap_that_holds_passes_neither_bytes_nor_ends() {
    for hold in [Hold::All, Hold::Process(std::process::id())] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let tap = TcpTap::start("127.0.0.1:0".parse().unwrap(), target).unwrap();
        let mut early = TcpStream::connect(tap.address()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        early.write_all(b"a").unwrap();
        let mut buffer = [0; 8];
        server.read_exact(&mut buffer[..1]).unwrap();

        tap.hold(Some(hold));
        let mut late = TcpStream::connect(tap.address()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        early.write_all(b"b").unwrap();
        late.write_all(b"c").unwrap();
        drop(early);
        until("both to be at the tap", Duration::from_secs(5), || {
            tap.recorded().iter().filter(|r| !r.is_empty()).map(Vec::len).sum::<usize>() == 3
        });
        for server in [&server, &other] {
            server.set_nonblocking(true).unwrap();
            let nothing = (&*server).read(&mut buffer).unwrap_err();
            assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
            server.set_nonblocking(false).unwrap();
        }
        // Another process' connections would not have been held.
        tap.hold(Some(Hold::Process(1)));
        assert_eq!(server.read(&mut buffer).unwrap(), 1);
        assert_eq!(server.read(&mut buffer).unwrap(), 0);
        tap.hold(None);
        assert_eq!(other.read(&mut buffer).unwrap(), 1);
    }
}
