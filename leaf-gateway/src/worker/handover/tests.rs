//! What goes to which worker, on bundles that the test reads itself.

use super::*;
use crate::session::tests::client::report;
use std::sync::mpsc::channel;

const NOW: Mono = Mono(1_000_000);

struct Bench {
    all: Vec<Neighbours>,
    metrics: Arc<Metrics>,
}

fn bench(workers: usize) -> Bench {
    let metrics = Arc::<Metrics>::default();
    let ends: Vec<_> = (0..workers).map(|_| (Waker::new().unwrap(), channel().0)).collect();
    Bench { all: connect(&ends, &metrics), metrics }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn check(username: &str) -> Vec<u8> {
    let mut out = Vec::new();
    stun::request(&mut out, &[1; 12], username, 7, "a password");
    out
}

fn answer() -> Vec<u8> {
    let mut out = Vec::new();
    stun::success(&mut out, &[1; 12], at(1), "a password");
    out
}

impl Bench {
    /// What has come to a worker, with who it is from.
    fn taken(&mut self, worker: usize) -> Vec<(usize, What, SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(mut bundle) = self.all[worker].next() {
            let via = bundle.via;
            all.extend(bundle.entries().map(|(what, from, data)| (via, what, from, data.to_vec())));
            self.all[worker].recycle(bundle);
        }
        all
    }
}

#[test]
fn a_check_goes_to_the_worker_that_it_names_and_forged_names_go_nowhere() {
    let mut b = bench(3);
    let own = &mut b.all[1];
    for (name, way) in [
        ("0leaf:page", Way::There(0)),
        ("1leaf:page", Way::Here),
        ("2leaf:page", Way::There(2)),
        // There is no such worker, and no such letter.
        ("3leaf:page", Way::Here),
        ("zleaf:page", Way::Here),
        ("+leaf:page", Way::Here),
        (":page", Way::Here),
        ("2leaf", Way::Here),
    ] {
        for claimed in [false, true] {
            assert_eq!(own.way(at(1), &check(name), claimed), way, "{name}");
        }
    }
    let mut broken = check("2leaf:page");
    broken[30] ^= 1;
    assert_eq!(own.way(at(1), &broken, false), Way::Here, "the fingerprint is wrong");
    // Nothing of all this says anything about the address.
    assert_eq!(own.way(at(1), &[22; 40], false), Way::Here);
    assert_eq!(own.way(at(1), &answer(), false), Way::Here);
}

#[test]
fn the_rest_follows_to_the_worker_that_claims_the_address() {
    let mut b = bench(3);
    let own = &mut b.all[1];
    own.take_claim(2, at(1), false);
    let data = [0x80, 201, 0, 1, 0, 0, 0, 0];
    assert_eq!(own.way(at(1), &data, false), Way::There(2));
    assert_eq!(own.way(at(2), &data, false), Way::Here, "another port");
    // A session here claims it, too, and neither has validated it: answers go to both.
    assert_eq!(own.way(at(1), &data, true), Way::Here);
    let lead = Lead { owner: 2, validated: false, rival: None };
    assert_eq!(own.way(at(1), &answer(), true), Way::Everywhere(lead));
    own.take_claim(2, at(1), true);
    assert_eq!(own.way(at(1), &data, true), Way::There(2));
    // Another worker's session that only claims it takes nothing away.
    own.take_claim(0, at(1), false);
    assert_eq!(own.way(at(1), &data, false), Way::There(2));
    let lead = Lead { owner: 2, validated: true, rival: Some(0) };
    assert_eq!(own.way(at(1), &answer(), false), Way::Everywhere(lead));
    own.take_nobody(0, at(1));
    assert_eq!(own.way(at(1), &data, false), Way::There(2));
    own.take_nobody(2, at(1));
    assert_eq!(own.way(at(1), &data, false), Way::Here);
    own.take_claim(2, at(1), true);
    own.own(at(1));
    assert_eq!(own.way(at(1), &data, true), Way::Here);
}

#[test]
fn what_is_handed_over_arrives_in_order_with_who_it_is_from() {
    let mut b = bench(3);
    b.all[1].push(2, What::Datagram, at(1), b"one");
    b.all[1].push(2, What::Claim { validated: true }, at(2), &[]);
    b.all[1].push(2, What::Datagram, at(3), b"three");
    b.all[1].push(1, What::Datagram, at(1), b"to itself");
    assert!(b.taken(2).is_empty(), "not before the flush");
    b.all[1].flush();
    b.all[1].flush();
    let three = vec![
        (1, What::Datagram, at(1), b"one".to_vec()),
        (1, What::Claim { validated: true }, at(2), vec![]),
        (1, What::Datagram, at(3), b"three".to_vec()),
    ];
    assert_eq!(b.taken(2), three);
    assert!(b.taken(0).is_empty() && b.taken(1).is_empty());
    assert_eq!((b.metrics.handed.get(), b.metrics.handed_lost.get()), (2, 0));
    // Buffers are used again, empty.
    b.all[2].push(1, What::Nobody, at(4), &[]);
    b.all[2].flush();
    assert_eq!(b.taken(1), vec![(2, What::Nobody, at(4), vec![])]);
}

#[test]
fn an_inbox_is_bounded_and_one_that_nobody_reads_holds_nobody_up() {
    let mut b = bench(2);
    let flood = 3 * MAX_BUNDLES * bundle::MAX_ENTRIES;
    for i in 0..flood {
        b.all[0].push(1, What::Datagram, at(i as u16), b"a datagram");
    }
    b.all[0].flush();
    let taken = b.taken(1).len();
    assert_eq!(taken, MAX_BUNDLES * bundle::MAX_ENTRIES);
    assert_eq!(b.metrics.handed.get(), taken as u64);
    assert_eq!(b.metrics.handed_lost.get(), (flood - taken) as u64);
    // Long ones take as much room.
    for i in 0..flood {
        b.all[0].push(1, What::Datagram, at(i as u16), &[7; MAX_HANDED]);
    }
    b.all[0].flush();
    let bytes: usize = b.taken(1).iter().map(|(.., data)| data.len()).sum();
    assert!(bytes <= MAX_BUNDLES * (bundle::MAX_BYTES + MAX_HANDED), "{bytes}");
    let lost = b.metrics.handed_lost.get();
    b.all[0].push(1, What::Datagram, at(1), &[7; MAX_HANDED + 1]);
    b.all[0].flush();
    assert!(b.taken(1).is_empty());
    assert_eq!(b.metrics.handed_lost.get(), lost + 1);
}

#[test]
fn a_worker_that_has_failed_is_handed_nothing() {
    let mut b = bench(2);
    b.all.pop();
    b.all[0].push(1, What::Datagram, at(1), b"x");
    b.all[0].flush();
    assert_eq!((b.metrics.handed.get(), b.metrics.handed_lost.get()), (0, 1));
}

#[test]
fn all_are_asked_whose_rtcp_it_is_but_not_without_end() {
    let mut b = bench(3);
    let rtcp = report(7, 0, 0, 0);
    for i in 0..3 * ASKS_PER_SECOND {
        assert_eq!(b.all[0].ask(NOW, at(i as u16), &rtcp), i < ASKS_PER_SECOND);
    }
    assert!(b.all[0].ask(NOW.after(Duration::from_secs(1)), at(1), &rtcp));
    b.all[0].flush();
    for worker in [1, 2] {
        let taken = b.taken(worker);
        assert_eq!(taken.len(), ASKS_PER_SECOND as usize + 1);
        assert_eq!(taken[0], (0, What::Moved, at(0), rtcp.clone()));
    }
}
