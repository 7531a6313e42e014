//! Who gets media: only an address that has answered the session's own request.

use super::bench::*;
use super::client::GCM;
use std::time::Duration;

#[test]
fn checks_with_wrong_credentials_get_nothing_at_all() {
    let mut b = Bench::connected(true);
    let mut wrong = b.viewer.credentials.clone();
    wrong.local_password = "not the password of the leaf".into();
    let mut stranger = super::client::Viewer::new(context().0, wrong, &[GCM]);
    for n in 2..60 {
        let check = stranger.check(true, u32::MAX);
        b.input(addr(n), check);
        b.input(addr(n), vec![22; 60]);
        b.input(addr(n), vec![0x80, 201, 0, 1, 0, 0, 0, 1]);
        assert_eq!(b.sent_to(addr(n)), 0);
    }
    b.video(2, true);
    assert_eq!(b.viewer.seen.len(), 2);
}

#[test]
fn a_forged_address_gets_checks_within_the_credit_and_never_media() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    // The viewer itself (it knows the secrets) names a victim as its address, with the highest
    // priority; the victim never answers.
    for i in 0..200 {
        let check = b.viewer.check(true, u32::MAX);
        b.checked += check.len();
        b.input(addr(77), check);
        b.video(2, false);
        b.audio(1);
        b.step(Duration::from_millis(50 + i % 7));
    }
    assert!(b.sent_to(addr(77)) > 0, "it was asked whether it is there");
    assert!(!b.media_to.contains_key(&addr(77)));
    assert_eq!(b.media_to.keys().copied().collect::<Vec<_>>(), [addr(1)]);
}

#[test]
fn datagrams_from_elsewhere_do_not_move_the_media() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    let report = super::client::report(VIDEO_OUT, 0, 0, 0);
    let sealed = b.viewer.seal(&report).unwrap();
    b.input(addr(5), sealed);
    assert!(!b.session.stats().reported, "RTCP from an unknown address is not even opened");
    b.video(1, false);
    assert_eq!(b.sent_to(addr(5)), 0);
    assert_eq!(b.media_to.len(), 1);
}

/// Sealed RTCP of the viewer, from another port of its host.
fn report_from(b: &mut Bench, from: std::net::SocketAddr) -> bool {
    let report = super::client::report(VIDEO_OUT, 0, 0, 0);
    let mut sealed = b.viewer.seal(&report).unwrap();
    b.checked += sealed.len();
    let authentic = b.session.handle_moved(b.now, from, &mut sealed);
    b.settle();
    authentic
}

#[test]
fn a_nat_that_changes_the_port_is_noticed_by_authentic_rtcp_and_followed_when_it_answers() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    b.checks = false;
    b.at = addr(2);
    for _ in 0..2 {
        assert!(report_from(&mut b, addr(2)));
        assert_eq!(b.media_to.get(&addr(2)), None);
    }
    b.exchange();
    b.video(5, false);
    assert_eq!(b.media_to[&addr(2)], 5);
    let seqs = b.seqs(VIDEO_OUT);
    assert_eq!(seqs.last().unwrap().wrapping_sub(seqs[0]), 5, "nothing is lost");
}

#[test]
fn a_copy_of_rtcp_from_elsewhere_moves_nothing() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    let sealed = b.viewer.seal(&super::client::report(VIDEO_OUT, 0, 0, 0)).unwrap();
    b.input(addr(1), sealed.clone());
    for _ in 0..50 {
        assert!(!b.session.handle_moved(b.now, addr(7), &mut sealed.clone()), "a replay");
        let mut forged = sealed.clone();
        forged[10] ^= 1;
        assert!(!b.session.handle_moved(b.now, addr(7), &mut forged));
    }
    // One that overtakes its original is authentic; the address gets a request, and no more.
    for _ in 0..50 {
        report_from(&mut b, addr(7));
        b.exchange();
        b.video(1, false);
        b.step(Duration::from_millis(40));
    }
    assert!(b.sent_to(addr(7)) > 0 && !b.media_to.contains_key(&addr(7)));
    assert_eq!(b.media_to.keys().copied().collect::<Vec<_>>(), [addr(1)]);
}

#[test]
fn a_path_that_does_not_drain_gets_nothing_and_begins_anew_with_a_key_frame() {
    let mut b = Bench::connected(true);
    b.video(3, true);
    let asked = b.key_frames.len();
    b.session.hold(addr(1));
    b.video(5, false);
    assert_eq!(b.media_to[&addr(1)], 3, "held");
    b.session.release(b.now, addr(1));
    b.settle();
    assert_eq!(b.key_frames.len(), asked + 1);
    b.video(2, true);
    assert!(b.media_to[&addr(1)] >= 5);
}

#[test]
fn a_viewer_that_moves_is_followed_when_it_has_proved_itself() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    b.at = addr(2);
    b.video(5, false);
    assert_eq!(b.media_to.get(&addr(2)), None, "not before the check");
    b.check();
    b.video(5, false);
    assert_eq!(b.media_to[&addr(2)], 5);
    // The numbers go on: what went to the old address is a gap that it can ask for.
    let seqs = b.seqs(VIDEO_OUT);
    assert_eq!(seqs.last().unwrap().wrapping_sub(seqs[0]), 10);
}

#[test]
fn an_address_that_no_longer_answers_gets_nothing_more() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    // Checks still come, but nobody there answers ours: validation runs out after 30 s.
    b.deaf = true;
    for _ in 0..60 {
        b.step(Duration::from_millis(500));
        b.video(1, false);
    }
    b.step(Duration::from_millis(500));
    let before = b.media_to[&addr(1)];
    for _ in 0..20 {
        b.video(1, false);
        b.step(Duration::from_millis(500));
    }
    assert_eq!(b.media_to[&addr(1)], before);
    assert!(b.ended.is_none());
    // Back again: a check and its answer are all it takes.
    b.deaf = false;
    b.check();
    b.step(Duration::from_millis(200));
    b.check();
    b.video(1, false);
    assert!(b.media_to[&addr(1)] > before);
}

#[test]
fn many_addresses_are_forgotten_but_the_one_with_media() {
    let mut b = Bench::connected(true);
    for n in 2..120 {
        let check = b.viewer.check(false, 1);
        b.checked += check.len();
        b.input(addr(n), check);
    }
    b.video(1, true);
    assert_eq!(b.viewer.seen.len(), 1);
}
