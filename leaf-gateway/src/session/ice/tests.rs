//! The agent step by step: what it answers, whom it believes, where it sends.

use super::*;
use crate::session::stun::{self, Kind};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::HashMap;

const OURS: &str = "a password of ours";
const THEIRS: &str = "a password of theirs";

struct Bench {
    agent: IceAgent,
    rng: StdRng,
    now: Mono,
    tx: u8,
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 1_000 + u16::from(n)))
}

fn bench(offer: usize) -> Bench {
    let mut rng = StdRng::seed_from_u64(1);
    let credentials = Credentials {
        local_ufrag: "ours".into(),
        local_password: OURS.into(),
        remote_ufrag: "theirs".into(),
        remote_password: THEIRS.into(),
    };
    let mut agent = IceAgent::new(Mono(0), credentials, offer, &mut rng);
    agent.trust(addr(1).ip());
    Bench { agent, rng, now: Mono(0), tx: 0 }
}

/// A check as the controlling side writes it.
fn check(tx: u8, user: &str, password: &str, nominate: bool, priority: u32) -> Vec<u8> {
    use rtc_stun::attributes::{ATTR_USERNAME, AttrType};
    use rtc_stun::fingerprint::FINGERPRINT;
    use rtc_stun::integrity::MessageIntegrity;
    use rtc_stun::message::{BINDING_REQUEST, Message, Setter};
    let provider = rtc_dtls::crypto_provider::default_provider().unwrap();
    let mut m = Message::new();
    m.set_type(BINDING_REQUEST);
    m.transaction_id.0 = [tx; 12];
    m.write_header();
    m.add(ATTR_USERNAME, user.as_bytes());
    m.add(AttrType(0x24), &priority.to_be_bytes());
    m.add(AttrType(0x802a), &[1; 8]);
    if nominate {
        m.add(AttrType(0x25), &[]);
    }
    MessageIntegrity::new_short_term_integrity_with_provider(
        password.to_owned(),
        provider.crypto(),
    )
    .add_to(&mut m)
    .unwrap();
    FINGERPRINT.add_to(&mut m).unwrap();
    m.raw
}

impl Bench {
    fn feed(&mut self, from: SocketAddr, data: &[u8]) -> Outcome {
        self.agent.handle(self.now, from, data, &mut self.rng)
    }

    fn check(&mut self, from: SocketAddr, nominate: bool, priority: u32) -> Outcome {
        self.tx += 1;
        self.feed(from, &check(self.tx, "ours:theirs", OURS, nominate, priority))
    }

    fn drain(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::iter::from_fn(|| self.agent.poll_transmit()).collect()
    }

    /// Answers every request of the agent to `from`.
    fn respond(&mut self, from: SocketAddr) -> usize {
        let mut n = 0;
        for (to, data) in self.drain() {
            let m = stun::parse(&data).unwrap();
            if to == from && m.kind == Kind::Request {
                assert!(m.verify(THEIRS) && m.controlled);
                assert_eq!(m.username, Some("theirs:ours"));
                let mut out = vec![];
                stun::success(&mut out, &m.transaction, addr(200), THEIRS);
                assert_eq!(self.feed(from, &out), Outcome::Validated);
                n += 1;
            }
        }
        n
    }

    fn later(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }
}

#[test]
fn a_check_is_answered_and_the_address_validated_before_it_is_selected() {
    let mut b = bench(1_000);
    assert_eq!(b.check(addr(1), true, 5), Outcome::Checked);
    assert_eq!(b.agent.selected(), None, "not before it has answered us");
    assert!(b.agent.knows(addr(1)) && !b.agent.is_validated(b.now, addr(1)));
    assert_eq!(b.respond(addr(1)), 1);
    assert_eq!(b.agent.selected(), Some(addr(1)));
}

#[test]
fn nothing_is_selected_without_nomination() {
    let mut b = bench(1_000);
    b.check(addr(1), false, 5);
    b.respond(addr(1));
    assert_eq!(b.agent.selected(), None);
    b.check(addr(1), true, 5);
    assert_eq!(b.agent.selected(), Some(addr(1)));
}

#[test]
fn wrong_password_or_name_gets_no_answer() {
    let mut b = bench(1_000);
    for data in [
        check(1, "ours:theirs", "wrong", true, 5),
        check(1, "ours:other", OURS, true, 5),
        check(1, "other:theirs", OURS, true, 5),
        check(1, "ours", OURS, true, 5),
    ] {
        assert_eq!(b.feed(addr(1), &data), Outcome::Ignored);
    }
    assert!(b.drain().is_empty());
    assert!(!b.agent.knows(addr(1)));
    b.later(500);
    assert_eq!(b.agent.last_check(), Mono(0), "no consent from it either");
}

#[test]
fn answers_must_fit_the_request_and_come_from_its_address() {
    let mut b = bench(1_000);
    b.check(addr(1), true, 5);
    let sent = b.drain();
    let request = stun::parse(&sent[1].1).unwrap();
    let mut out = vec![];
    stun::success(&mut out, &request.transaction, addr(200), "wrong");
    assert_eq!(b.feed(addr(1), &out), Outcome::Ignored);
    stun::success(&mut out, &[9; 12], addr(200), THEIRS);
    assert_eq!(b.feed(addr(1), &out), Outcome::Ignored);
    stun::success(&mut out, &request.transaction, addr(200), THEIRS);
    assert_eq!(b.feed(addr(2), &out), Outcome::Ignored);
    assert_eq!(b.feed(addr(1), &out), Outcome::Validated);
    assert_eq!(b.feed(addr(1), &out), Outcome::Ignored, "once");
}

#[test]
fn a_viewer_that_claims_our_role_is_told() {
    let mut b = bench(1_000);
    let mut out = vec![];
    stun::request(&mut out, &[1; 12], "ours:theirs", 1, OURS);
    assert_eq!(b.feed(addr(1), &out), Outcome::Ignored);
    assert_eq!(stun::parse(&b.drain()[0].1).unwrap().kind, Kind::Error);
    // It is no check: consent does not come by it, nor is the address known.
    b.later(500);
    assert_eq!(b.feed(addr(1), &out), Outcome::Ignored);
    assert_eq!((b.agent.last_check(), b.agent.knows(addr(1))), (Mono(0), false));
}

#[test]
fn a_spoofed_address_never_gets_more_than_the_viewer_sent() {
    let mut b = bench(300);
    let mut account = HashMap::from([(addr(1), 300i64)]);
    for i in 0..600u32 {
        let from = addr(1 + (i * i % 23) as u8);
        let mut data = check(i as u8, "ours:theirs", OURS, true, i);
        if i % 7 == 0 {
            // Our own role, which is answered with an error.
            stun::request(&mut data, &[i as u8; 12], "ours:theirs", 1, OURS);
        }
        *account.entry(from).or_default() += data.len() as i64;
        b.feed(from, &data);
        for (to, data) in b.drain() {
            *account.entry(to).or_default() -= data.len() as i64;
        }
        assert!(account.values().all(|left| *left >= 0), "{account:?}");
        b.later(u64::from(i % 5) * 60);
    }
    assert_eq!(b.agent.selected(), None);
    assert!(b.agent.addresses().count() <= MAX_ADDRESSES);
}

#[test]
fn an_address_without_credit_is_asked_first_and_answered_when_it_has_answered() {
    let mut b = bench(0);
    assert_eq!(b.check(addr(2), true, 5), Outcome::Checked);
    let sent = b.drain();
    assert_eq!(sent.len(), 1, "one check does not pay for both");
    let request = stun::parse(&sent[0].1).unwrap();
    assert_eq!(request.kind, Kind::Request);
    let mut out = vec![];
    stun::success(&mut out, &request.transaction, addr(200), THEIRS);
    assert_eq!(b.feed(addr(2), &out), Outcome::Validated);
    let sent = b.drain();
    let response = stun::parse(&sent[0].1).unwrap();
    assert_eq!((response.kind, response.transaction), (Kind::Success, [b.tx; 12]));
    assert!(response.verify(OURS));
    assert_eq!(b.agent.selected(), Some(addr(2)));
    assert_eq!(b.feed(addr(2), &out), Outcome::Ignored);
    assert!(b.drain().is_empty(), "answered once");
}

#[test]
fn repeated_checks_are_answered_as_their_bytes_allow() {
    let mut b = bench(0);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        b.check(addr(2), true, 5);
        kinds.extend(b.drain().iter().map(|(_, d)| stun::parse(d).unwrap().kind));
        b.later(50);
    }
    // A viewer whose answer to us was lost still gets answers to its own checks.
    assert_eq!(kinds[..2], [Kind::Request, Kind::Success]);
}

/// Selected at `addr(1)`; the length and index of RTCP from elsewhere.
fn playing() -> Bench {
    let mut b = bench(1_000);
    b.check(addr(1), true, 50);
    b.respond(addr(1));
    b.later(1_000);
    b
}

#[test]
fn newer_rtcp_from_a_new_address_leads_there_when_it_answers() {
    let mut b = playing();
    assert!(!b.agent.heard(b.now, addr(1), 4, 60, &mut b.rng));
    assert!(b.agent.heard(b.now, addr(2), 5, 60, &mut b.rng), "a new address");
    assert!(b.drain().is_empty(), "60 bytes do not pay for a request");
    b.later(50);
    assert!(!b.agent.heard(b.now, addr(2), 6, 60, &mut b.rng));
    assert_eq!(b.agent.selected(), Some(addr(1)), "not before it has answered");
    assert_eq!(b.respond(addr(2)), 1);
    assert_eq!(b.agent.selected(), Some(addr(2)));
    b.later(10);
    // What was under way from the old address is older, and moves nothing.
    b.agent.heard(b.now, addr(1), 3, 60, &mut b.rng);
    assert_eq!(b.agent.selected(), Some(addr(2)));
    b.agent.heard(b.now, addr(1), 7, 60, &mut b.rng);
    assert_eq!(b.agent.selected(), Some(addr(1)), "back to a port that still holds");
}

#[test]
fn rtcp_from_a_spoofed_address_moves_nothing_and_pays_for_what_it_causes() {
    let mut b = playing();
    let (mut sent, mut got) = (0, 0);
    for index in 0..300 {
        b.agent.heard(b.now, addr(9), index, 48, &mut b.rng);
        sent += 48;
        got += b.drain().iter().map(|(_, d)| d.len()).sum::<usize>();
        assert!(got <= sent, "{got} bytes for {sent}");
        b.later(30);
    }
    assert!(got > 0);
    assert_eq!(b.agent.selected(), Some(addr(1)));
    for n in 10..90 {
        b.agent.heard(b.now, addr(n), 1_000 + u32::from(n), 48, &mut b.rng);
    }
    assert!(b.agent.addresses().count() <= MAX_ADDRESSES && b.agent.knows(addr(1)));
}

#[test]
fn a_held_address_gets_nothing_and_one_that_is_gone_is_forgotten() {
    let mut b = playing();
    b.agent.hold(addr(1));
    assert_eq!(b.agent.selected(), None);
    assert!(b.agent.is_selected(addr(1)));
    b.agent.release(addr(2));
    assert_eq!(b.agent.selected(), None);
    b.agent.release(addr(1));
    assert_eq!(b.agent.selected(), Some(addr(1)));
    b.check(addr(2), true, 5);
    b.respond(addr(2));
    b.agent.forget(b.now, addr(1));
    assert!(!b.agent.knows(addr(1)));
    assert_eq!(b.agent.selected(), Some(addr(2)), "the next best");
    b.agent.forget(b.now, addr(2));
    assert_eq!(b.agent.selected(), None);
}

#[test]
fn a_move_is_followed_at_once_when_the_new_address_ranks_as_high() {
    let mut b = bench(1_000);
    b.check(addr(1), true, 5);
    b.respond(addr(1));
    b.later(1_000);
    b.check(addr(2), true, 5);
    b.respond(addr(2));
    assert_eq!(b.agent.selected(), Some(addr(2)));
}

#[test]
fn a_lower_address_has_to_wait_until_the_higher_is_silent() {
    let mut b = bench(1_000);
    b.check(addr(1), true, 50);
    b.respond(addr(1));
    b.later(1_000);
    b.check(addr(2), true, 5);
    b.respond(addr(2));
    assert_eq!(b.agent.selected(), Some(addr(1)));
    b.later(2_100);
    b.check(addr(2), true, 5);
    assert_eq!(b.agent.selected(), Some(addr(2)));
}

#[test]
fn validation_is_renewed_and_runs_out() {
    let mut b = bench(1_000);
    b.check(addr(1), true, 5);
    assert_eq!(b.respond(addr(1)), 1);
    b.later(2_000);
    b.check(addr(1), true, 5);
    assert_eq!(b.respond(addr(1)), 0, "still fresh");
    b.later(14_000);
    b.check(addr(1), true, 5);
    assert_eq!(b.respond(addr(1)), 1, "renewed");
    b.later(29_000);
    assert!(b.agent.is_validated(b.now, addr(1)));
    b.later(1_000);
    assert!(!b.agent.is_validated(b.now, addr(1)));
}

#[test]
fn a_lost_validation_is_tried_again_under_the_same_transaction() {
    let mut b = bench(1_000);
    b.check(addr(1), true, 5);
    let first = stun::parse(&b.drain()[1].1).unwrap().transaction;
    b.later(50);
    b.check(addr(1), true, 5);
    assert_eq!(b.drain().len(), 1, "only the response: too early");
    b.later(60);
    b.check(addr(1), true, 5);
    let sent = b.drain();
    assert_eq!(stun::parse(&sent[1].1).unwrap().transaction, first);
}

#[test]
fn the_media_address_is_never_forgotten_for_others() {
    let mut b = bench(1_000);
    b.check(addr(1), true, 50);
    b.respond(addr(1));
    for n in 2..60 {
        b.later(10);
        b.check(addr(n), false, 1);
        b.drain();
    }
    assert!(b.agent.knows(addr(1)));
    assert_eq!(b.agent.addresses().count(), MAX_ADDRESSES);
}

/// A restart to `ours2` and `theirs2`.
fn restarted() -> Bench {
    let mut b = bench(1_000);
    b.check(addr(1), true, 50);
    b.respond(addr(1));
    b.agent.restart(renewed("2"), 200);
    b
}

fn renewed(n: &str) -> Credentials {
    Credentials {
        local_ufrag: format!("ours{n}"),
        local_password: format!("{OURS}{n}"),
        remote_ufrag: format!("theirs{n}"),
        remote_password: format!("{THEIRS}{n}"),
    }
}

impl Bench {
    fn check_anew(&mut self, n: &str, from: SocketAddr, nominate: bool, answers: bool) {
        self.tx += 1;
        let user = format!("ours{n}:theirs{n}");
        let data = check(self.tx, &user, &format!("{OURS}{n}"), nominate, 5);
        assert_eq!(self.feed(from, &data), Outcome::Checked);
        for (to, data) in self.drain() {
            let m = stun::parse(&data).unwrap();
            if answers && to == from && m.kind == Kind::Request {
                assert_eq!(m.username, Some(format!("theirs{n}:ours{n}").as_str()));
                let mut out = vec![];
                stun::success(&mut out, &m.transaction, addr(200), &format!("{THEIRS}{n}"));
                assert_eq!(self.feed(from, &out), Outcome::Validated);
            }
        }
    }
}

#[test]
fn a_restart_leaves_the_media_until_the_new_agent_has_nominated() {
    let mut b = restarted();
    assert_eq!(b.agent.selected(), Some(addr(1)));
    b.later(16_000);
    assert_eq!(b.check(addr(1), false, 50), Outcome::Checked, "the old name holds");
    assert_eq!(b.respond(addr(1)), 1, "and is validated by the old password");
    b.check_anew("2", addr(2), false, true);
    assert_eq!(b.agent.selected(), Some(addr(1)));
    b.check_anew("2", addr(2), true, true);
    assert_eq!(b.agent.selected(), Some(addr(2)), "whatever the priorities");
    assert_eq!(b.check(addr(1), true, 50), Outcome::Ignored, "the old name is over");
    assert!(!b.agent.knows(addr(1)));
    assert_eq!(b.agent.local_ufrags().collect::<Vec<_>>(), ["ours2"]);
}

#[test]
fn a_restart_at_the_same_address_goes_on_there() {
    let mut b = restarted();
    b.check_anew("2", addr(1), false, true);
    assert_eq!(b.agent.selected(), Some(addr(1)));
    assert_eq!(b.agent.local_ufrags().count(), 2);
    b.later(100);
    b.check_anew("2", addr(1), true, true);
    assert_eq!(b.agent.selected(), Some(addr(1)));
    assert_eq!(b.agent.local_ufrags().count(), 1);
}

#[test]
fn a_restart_that_fails_can_be_repeated_and_never_moves_media_to_who_does_not_answer() {
    let mut b = restarted();
    b.check_anew("2", addr(2), true, false);
    assert_eq!(b.agent.selected(), Some(addr(1)), "not validated");
    for n in 3..40 {
        b.agent.restart(renewed(&n.to_string()), 200);
        assert_eq!(b.agent.local_ufrags().count(), 2);
        assert!(b.agent.addresses().count() <= MAX_ADDRESSES);
    }
    assert_eq!(b.agent.selected(), Some(addr(1)));
    b.tx += 1;
    let late = check(b.tx, "ours2:theirs2", &format!("{OURS}2"), true, 5);
    assert_eq!(b.feed(addr(2), &late), Outcome::Ignored, "that one is over");
    assert_eq!(b.check(addr(1), true, 50), Outcome::Checked);
    b.check_anew("39", addr(3), true, true);
    assert_eq!(b.agent.selected(), Some(addr(3)));
}
