//! Real sockets on loopback.

use super::*;
use std::time::Duration;

fn pair(options: &UdpOptions, addr: &str) -> (UdpBatch, UdpBatch) {
    let addr = addr.parse().unwrap();
    (UdpBatch::bind(addr, options).unwrap(), UdpBatch::bind(addr, options).unwrap())
}

/// Receives until `n` datagrams are there.
fn receive(socket: &UdpBatch, n: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let waker = Waker::new().unwrap();
    let mut batch = RecvBatch::new(8);
    let mut got = Vec::new();
    while got.len() < n {
        let ready = socket.wait(Duration::from_secs(5), &waker, false).unwrap();
        assert!(ready.readable, "only {} of {n} datagrams came", got.len());
        socket.recv(&mut batch).unwrap();
        got.extend(batch.segments().map(|(from, data)| (from, data.to_vec())));
    }
    got
}

fn round_trip(options: &UdpOptions, bind: &str) {
    let (a, b) = pair(options, bind);
    let to = b.local_addr();
    let datagrams: Vec<Vec<u8>> = (0..150u8)
        .map(|i| vec![i; if i % 40 == 39 { 500 } else { 1200 }])
        .chain([vec![200], vec![201; 1400], vec![202; 1400], vec![203; 30]])
        .collect();
    let mut batch = SendBatch::new();
    for d in &datagrams {
        let (head, tail) = d.split_at(d.len() / 2);
        batch.push_parts(to, &[head, tail]);
    }
    assert_eq!(batch.len(), datagrams.len());
    let report = a.send(&mut batch);
    assert_eq!(report, SendReport { sent: datagrams.len(), refused: 0, left: 0 });
    assert!(batch.is_empty());
    let got = receive(&b, datagrams.len());
    for ((from, data), sent) in got.iter().zip(&datagrams) {
        assert_eq!(*from, a.local_addr());
        assert_eq!(data, sent);
    }
    assert_eq!(got.len(), datagrams.len());
}

#[test]
fn datagrams_arrive_whole_and_in_order_with_offload() {
    round_trip(&UdpOptions::default(), "127.0.0.1:0");
}

#[test]
fn datagrams_arrive_whole_and_in_order_without_offload() {
    round_trip(&UdpOptions { gro: false, gso: false, ..UdpOptions::default() }, "127.0.0.1:0");
}

#[test]
fn offload_works_with_a_receiver_that_does_not_merge() {
    round_trip(&UdpOptions { gro: false, ..UdpOptions::default() }, "127.0.0.1:0");
}

#[test]
fn ipv6_works() {
    if UdpBatch::bind("[::1]:0".parse().unwrap(), &UdpOptions::default()).is_ok() {
        round_trip(&UdpOptions::default(), "[::1]:0");
    }
}

#[test]
fn a_dual_stack_socket_speaks_ipv4() {
    let Ok(dual) = UdpBatch::bind("[::]:0".parse().unwrap(), &UdpOptions::default()) else {
        return;
    };
    let v4 = UdpBatch::bind("127.0.0.1:0".parse().unwrap(), &UdpOptions::default()).unwrap();
    let data = [7u8; 100];
    let mut batch = SendBatch::new();
    batch.push(v4.local_addr(), &data);
    assert_eq!(dual.send(&mut batch).sent, 1);
    let from = receive(&v4, 1)[0].0;
    let mut batch = batch.reset();
    batch.push(from, &data);
    assert_eq!(v4.send(&mut batch).sent, 1);
    assert_eq!(receive(&dual, 1)[0], (v4.local_addr(), data.to_vec()));
}

#[test]
fn runs_group_by_address_and_size() {
    let (to, other): (SocketAddr, SocketAddr) =
        ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
    let (large, small) = ([0u8; 1200], [0u8; 100]);
    let mut batch = SendBatch::new();
    for _ in 0..70 {
        batch.push(to, &large);
    }
    assert_eq!(batch.runs.iter().map(|r| r.segments).collect::<Vec<_>>(), [54, 16]);
    batch.push(to, &small);
    batch.push(to, &small);
    batch.push(other, &small);
    batch.push(other, &large);
    batch.push(other, &[]);
    let segments: Vec<_> = batch.runs.iter().map(|r| r.segments).collect();
    assert_eq!(segments, [54, 17, 1, 1, 1]);
    let mut batch = batch.reset();
    for _ in 0..70 {
        batch.push(to, &small);
    }
    assert_eq!(batch.runs.iter().map(|r| r.segments).collect::<Vec<_>>(), [64, 6]);
}

#[test]
fn a_refused_datagram_does_not_stop_the_others() {
    let (a, b) = pair(&UdpOptions::default(), "127.0.0.1:0");
    let data = [1u8; 50];
    let mut batch = SendBatch::new();
    batch.push(b.local_addr(), &data);
    // Port 0 is no destination.
    batch.push("127.0.0.1:0".parse().unwrap(), &data);
    batch.push(b.local_addr(), &data);
    assert_eq!(a.send(&mut batch), SendReport { sent: 2, refused: 1, left: 0 });
    assert_eq!(receive(&b, 2).len(), 2);
}

#[test]
fn runs_that_the_kernel_refuses_as_one_are_sent_singly() {
    let (a, b) = pair(&UdpOptions::default(), "127.0.0.1:0");
    let data = [1u8; 1200];
    let mut batch = SendBatch::new();
    for _ in 0..10 {
        batch.push(b.local_addr(), &data);
    }
    batch.runs[0].split = true;
    assert_eq!(a.send(&mut batch).sent, 10);
    assert_eq!(receive(&b, 10).len(), 10);
}

#[test]
fn several_sockets_share_a_port() {
    let options = UdpOptions { reuse_port: true, ..UdpOptions::default() };
    let a = UdpBatch::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    assert_eq!(UdpBatch::bind(a.local_addr(), &options).unwrap().local_addr(), a.local_addr());
}

#[test]
fn a_wake_up_ends_the_wait_once() {
    let (a, _b) = pair(&UdpOptions::default(), "127.0.0.1:0");
    let waker = Waker::new().unwrap();
    let other = waker.clone();
    let thread = std::thread::spawn(move || {
        other.wake();
        other.wake();
    });
    assert!(a.wait(Duration::from_secs(5), &waker, false).unwrap().woken);
    thread.join().unwrap();
    let _ = a.wait(Duration::ZERO, &waker, false).unwrap();
    assert_eq!(a.wait(Duration::from_millis(1), &waker, false).unwrap(), Ready::default());
    assert!(a.wait(Duration::from_secs(5), &waker, true).unwrap().writable);
}
