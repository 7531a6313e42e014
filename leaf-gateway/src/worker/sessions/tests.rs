//! Every way to a session, and whose address it is.

use super::*;
use crate::demand::Demand;
use crate::occupancy::{Limits, Occupancy};
use crate::session::tests::bench::{context, setup};
use crate::session::tests::client::{GCM, Viewer};
use crate::session::{Action, SessionSetup};
use proptest::prelude::*;

const NOW: Mono = Mono(1_000_000);

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 5_000))
}

fn named(n: u32) -> SessionSetup {
    let mut setup = setup(true);
    setup.credentials.local_ufrag = format!("0leaf{n}");
    setup.pipeline = PipelineId(1 + n % 2);
    setup
}

fn entry(n: u32) -> Entry {
    let (_, dtls) = context();
    let limits = Limits { viewers: 9, per_address: 9, connecting: 9 };
    Entry {
        session: Session::new(NOW, named(n), Box::new(dtls.server()), [1; 32]),
        id: SessionId(format!("{n:034x}")),
        permit: Occupancy::new(limits).enter([192, 0, 2, 1].into()).unwrap(),
        _seat: crate::worker::seats::Seats::new(1).take(),
        _wanted: std::sync::Arc::<Demand>::default().want(PipelineId(1 + n % 2)),
        scheduled: Mono(u64::MAX),
        counted: SessionStats::default(),
        addresses: Vec::new(),
        ufrags: Vec::new(),
    }
}

/// The session sees a check from there, and its answer, if `real`.
fn check(turn: u64, sessions: &mut Sessions, key: Key, n: u32, from: SocketAddr, real: bool) {
    // Each time later than the session's patience with its last request.
    let now = NOW.after(std::time::Duration::from_millis(200 * turn));
    let mut viewer = Viewer::new(context().0, named(n).credentials, &[GCM]);
    let mut check = viewer.check(true, 1);
    let mut claims = Vec::new();
    let session = &mut sessions.get_mut(key).unwrap().session;
    session.handle_datagram(now, from, &mut check);
    while let Some(action) = session.poll_action() {
        match action {
            Action::Send(_, data) if real => {
                if let Some(mut answer) = viewer.answer(&data) {
                    session.handle_datagram(now, from, &mut answer);
                }
            }
            Action::Address { addr, validated } => claims.push((addr, validated)),
            _ => {}
        }
    }
    for (addr, validated) in claims {
        sessions.claim(now, key, addr, validated);
    }
}

#[test]
fn a_session_is_found_every_way_until_it_is_removed() {
    let mut s = Sessions::default();
    let key = s.insert(entry(1));
    check(1, &mut s, key, 1, address(1), true);
    let id = SessionId(format!("{:034x}", 1));
    assert_eq!(s.by_id(&id), Some(key));
    assert_eq!(s.by_ufrag("0leaf1"), Some(key));
    assert_eq!(s.by_address(address(1)), Some(key));
    assert_eq!(s.of_pipeline(PipelineId(2)), [key]);
    assert_eq!(s.keys(), [key]);
    assert_eq!(s.entries_mut().count(), 1);
    assert!(s.remove(key).is_some());
    assert!(s.remove(key).is_none());
    assert_eq!((s.by_id(&id), s.by_ufrag("0leaf1")), (None, None));
    assert_eq!(s.by_address(address(1)), None);
    assert!(s.of_pipeline(PipelineId(2)).is_empty() && s.get_mut(key).is_none());
    assert!(s.by_pipeline.is_empty() && s.by_address.is_empty());
}

#[test]
fn a_place_that_is_used_again_is_another_session() {
    let mut s = Sessions::default();
    let first = s.insert(entry(1));
    s.remove(first);
    let second = s.insert(entry(2));
    assert_eq!(first.slot, second.slot);
    assert!(s.get_mut(first).is_none() && s.get_mut(second).is_some());
    assert!(s.remove(first).is_none(), "an old key harms nobody");
    assert_eq!(s.by_ufrag("0leaf2"), Some(second));
}

#[test]
fn an_address_belongs_to_who_has_validated_it() {
    let mut s = Sessions::default();
    let (a, b) = (s.insert(entry(1)), s.insert(entry(2)));
    check(2, &mut s, a, 1, address(1), false);
    assert_eq!(s.by_address(address(1)), Some(a));
    check(3, &mut s, b, 2, address(1), false);
    assert_eq!(s.by_address(address(1)), Some(b), "nobody has proved anything yet");
    check(4, &mut s, a, 1, address(1), true);
    assert_eq!(s.by_address(address(1)), Some(a));
    check(5, &mut s, b, 2, address(1), false);
    assert_eq!(s.by_address(address(1)), Some(a), "a claim alone takes nothing away");
}

#[test]
fn a_page_that_was_reloaded_gets_its_address_back_by_its_answer() {
    let mut s = Sessions::default();
    let (old, new) = (s.insert(entry(1)), s.insert(entry(2)));
    check(6, &mut s, old, 1, address(1), true);
    check(50, &mut s, new, 2, address(1), false);
    assert_eq!((s.by_address(address(1)), s.rival(address(1))), (Some(old), Some(new)));
    check(51, &mut s, new, 2, address(1), true);
    assert_eq!((s.by_address(address(1)), s.rival(address(1))), (Some(new), None));
    // The old session's end takes nothing from the new one.
    s.remove(old);
    assert_eq!(s.by_address(address(1)), Some(new));
    check(52, &mut s, new, 2, address(2), false);
    s.remove(new);
    assert!(s.rivals.is_empty() && s.by_address.is_empty());
}

#[test]
fn addresses_that_a_session_forgets_lead_to_it_no_more() {
    let mut s = Sessions::default();
    let key = s.insert(entry(1));
    for n in 1..100 {
        check(7, &mut s, key, 1, address(n), false);
    }
    let most = crate::session::ice::MAX_ADDRESSES;
    assert!(s.by_address.len() <= most, "{}", s.by_address.len());
    assert!(s.get_mut(key).unwrap().addresses.len() <= most);
}

#[derive(Debug, Clone)]
enum Op {
    Insert,
    Remove(usize),
    Check(usize, u8, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Insert),
        1 => any::<usize>().prop_map(Op::Remove),
        6 => (any::<usize>(), 1u8..12, any::<bool>()).prop_map(|(i, n, r)| Op::Check(i, n, r)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_way_leads_to_a_session_that_is_there(ops in prop::collection::vec(op(), 1..60)) {
        let mut s = Sessions::default();
        let mut alive: Vec<(Key, u32)> = Vec::new();
        let mut made = 0;
        for (turn, op) in ops.into_iter().enumerate() {
            match op {
                Op::Insert => {
                    made += 1;
                    alive.push((s.insert(entry(made)), made));
                }
                Op::Remove(i) if !alive.is_empty() => {
                    let (key, _) = alive.swap_remove(i % alive.len());
                    prop_assert!(s.remove(key).is_some());
                }
                Op::Check(i, n, real) if !alive.is_empty() => {
                    let (key, name) = alive[i % alive.len()];
                    check(turn as u64, &mut s, key, name, address(n), real);
                }
                _ => {}
            }
            let there: Vec<Key> = alive.iter().map(|(key, _)| *key).collect();
            prop_assert!(s.by_address.values().chain(s.rivals.values()).all(|k| there.contains(k)));
            prop_assert_eq!(s.by_id.len(), there.len());
            prop_assert_eq!(s.by_ufrag.len(), there.len());
            prop_assert_eq!(s.by_pipeline.values().map(Vec::len).sum::<usize>(), there.len());
            prop_assert!(s.slots.len() <= made as usize);
            for (address, key) in s.by_address.clone() {
                let entry = s.get_mut(key).unwrap();
                prop_assert!(entry.addresses.contains(&address), "it will be cleared away");
            }
        }
        for (key, _) in alive {
            s.remove(key);
        }
        prop_assert!(s.by_address.is_empty() && s.rivals.is_empty());
    }
}
