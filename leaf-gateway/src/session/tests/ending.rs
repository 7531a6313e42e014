//! How a session ends, and that nothing leaves it afterwards.

use super::bench::*;
use super::client::{nack, pli};
use crate::session::EndCause;
use std::time::Duration;

/// Nothing wakes, speaks or forwards any more.
fn is_over(b: &mut Bench) {
    let sent: usize = b.sent.values().sum();
    assert!(b.session.poll_timeout().is_none() && !b.session.is_live());
    b.video(3, true);
    for plain in [nack(VIDEO_OUT, &[(1, 0xffff)]), pli(VIDEO_OUT)] {
        b.rtcp(&plain);
    }
    b.check();
    b.checks = false;
    b.step(Duration::from_secs(60));
    assert_eq!(b.sent.values().sum::<usize>(), sent);
}

#[test]
fn consent_that_runs_out_ends_it_in_time_and_in_silence() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    b.check();
    b.checks = false;
    b.step(CONSENT - Duration::from_millis(1));
    assert!(b.ended.is_none());
    b.wire.clear();
    b.deaf = true;
    let sent: usize = b.sent.values().sum();
    let rtcp = b.media_to[&b.at];
    b.step(Duration::from_millis(1));
    assert_eq!(b.ended, Some(EndCause::ConsentLost));
    // RFC 7675 section 5.1: then nothing may be sent there, not even a goodbye.
    assert_eq!(b.sent.values().sum::<usize>(), sent);
    assert_eq!(b.media_to[&b.at], rtcp);
    is_over(&mut b);
}

#[test]
fn checks_keep_it_for_hours() {
    let mut b = Bench::connected(true);
    for _ in 0..60 {
        b.step(Duration::from_secs(60));
        b.video(1, true);
    }
    assert!(b.ended.is_none());
    assert_eq!(b.viewer.seen.len(), 60);
    assert!(b.jobs < 20, "a session that has connected needs no handshake threads: {}", b.jobs);
}

#[test]
fn a_delete_says_goodbye_in_rtcp_and_dtls() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    b.viewer.rtcp.clear();
    b.session.close(b.now, EndCause::Deleted);
    b.settle();
    b.exchange();
    assert_eq!(b.ended, Some(EndCause::Deleted));
    assert!(b.viewer.closed, "close_notify");
    let bye = b.viewer.rtcp.first().unwrap();
    assert!(bye.windows(2).any(|w| w == [0x82, 203]), "BYE for both streams: {bye:?}");
    b.session.close(b.now, EndCause::Drained);
    b.settle();
    is_over(&mut b);
}

#[test]
fn a_delete_before_media_is_quiet() {
    let mut b = Bench::new(&[super::client::GCM]);
    b.check();
    let sent = b.sent_to(b.at);
    b.session.close(b.now, EndCause::Deleted);
    b.settle();
    assert_eq!(b.ended, Some(EndCause::Deleted));
    assert_eq!(b.sent_to(b.at), sent);
}

#[test]
fn the_viewers_goodbye_ends_it() {
    let mut b = Bench::connected(true);
    b.viewer.close(b.now);
    b.exchange();
    assert_eq!(b.ended, Some(EndCause::Closed));
    is_over(&mut b);
}

#[test]
fn a_goodbye_that_is_not_authentic_does_not() {
    let mut b = Bench::connected(true);
    for epoch in 0..2u8 {
        for level in 1..3u8 {
            for description in [0, 40, 80] {
                let record =
                    vec![21, 254, 253, 0, epoch, 0, 0, 0, 0, 9, 9, 0, 2, level, description];
                b.input(b.at, record);
            }
        }
    }
    assert!(b.ended.is_none());
}
