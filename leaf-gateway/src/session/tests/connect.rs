//! From the first check to media: what the handshake chooses, and how it fails.

use super::bench::*;
use super::client::{CM, GCM};
use crate::session::dtls::{DtlsError, MAX_HANDSHAKE_DATAGRAMS};
use crate::session::{EndCause, MAX_DTLS_LEN, MAX_LATE_DTLS, MAX_WAITING_DTLS};
use std::time::Duration;

#[test]
fn a_viewer_connects_and_opens_what_it_gets() {
    let mut b = Bench::connected(true);
    assert_eq!(b.viewer.profile, Some(GCM));
    assert_eq!(b.key_frames.len(), 1, "one is asked for at once");
    b.video(3, true);
    b.audio(2);
    assert_eq!((b.viewer.seen.len(), b.viewer.unopened), (5, 0));
    let first = &b.viewer.seen[0];
    assert_eq!((first.ssrc, first.payload_type), (VIDEO_OUT, 96));
    assert_eq!(first.payload[..8], 101u64.to_be_bytes());
    b.step(Duration::from_secs(1));
    assert!(b.viewer.rtcp.len() >= 2, "a Sender Report for each track");
    assert_eq!(b.viewer.unopened, 0);
}

#[test]
fn gcm_is_chosen_though_the_client_lists_counter_mode_first() {
    let mut b = Bench::new(&[CM, GCM]);
    b.connect();
    assert!(b.live);
    assert_eq!(b.viewer.profile, Some(GCM));
}

#[test]
fn a_client_without_gcm_is_told_by_an_alert_and_the_cause_is_counted() {
    let mut b = Bench::new(&[CM]);
    b.connect();
    assert_eq!(b.ended, Some(EndCause::Handshake(DtlsError::NoGcm)));
    assert_eq!(b.ended.unwrap().label(), "no_gcm");
    assert!(b.viewer.failed, "an alert: it need not wait for a time-out");
}

#[test]
fn a_client_without_any_srtp_is_refused_as_well() {
    let mut b = Bench::new(&[]);
    b.connect();
    assert_eq!(b.ended, Some(EndCause::Handshake(DtlsError::NoGcm)));
    assert!(!b.live && b.media_to.is_empty());
}

#[test]
fn a_certificate_that_is_not_the_offers_ends_it() {
    let mut setup = setup(true);
    setup.fingerprint[0] ^= 1;
    let mut b = Bench::with(setup, &[GCM], 1);
    b.connect();
    assert_eq!(b.ended, Some(EndCause::Fingerprint));
    b.video(1, true);
    assert!(b.media_to.is_empty());
}

#[test]
fn dtls_before_validation_waits_and_then_goes_on() {
    let mut b = Bench::new(&[GCM]);
    b.viewer.start_dtls(b.now);
    let hello = std::mem::take(&mut b.viewer.out);
    for data in &hello {
        b.input(b.at, data.clone());
    }
    assert_eq!(b.jobs, 0, "from a stranger nothing is looked at");
    b.deaf = true;
    b.check();
    for data in hello {
        b.input(b.at, data);
    }
    assert_eq!(b.jobs, 0, "known, but not validated");
    b.deaf = false;
    b.step(Duration::from_millis(500));
    assert!(b.live, "a flight from an address that has not answered repeats the request");
}

#[test]
fn lost_flights_are_sent_again() {
    let mut b = Bench::new(&[GCM]);
    b.check();
    b.viewer.start_dtls(b.now);
    b.deaf = true;
    b.step(Duration::from_millis(700));
    assert!(!b.live);
    b.deaf = false;
    b.step(Duration::from_secs(3));
    assert!(b.live, "{:?}", b.ended);
}

#[test]
fn a_handshake_that_stops_half_way_ends_in_the_connect_time() {
    for silent in [true, false] {
        let mut b = Bench::new(&[GCM]);
        b.check();
        b.deaf = true;
        if silent {
            b.viewer.start_dtls(b.now);
        }
        b.step(CONNECT - Duration::from_millis(1));
        b.step(Duration::from_millis(1));
        let ended = b.ended;
        assert!(
            matches!(ended, Some(EndCause::NeverConnected | EndCause::Handshake(_))),
            "{ended:?}"
        );
        assert!(b.jobs <= MAX_HANDSHAKE_DATAGRAMS as usize, "{} jobs", b.jobs);
    }
}

#[test]
fn datagrams_that_wait_are_bounded_in_number_and_size() {
    let mut b = Bench::new(&[GCM]);
    b.deaf = true;
    b.check();
    for i in 0..200u8 {
        b.input(b.at, vec![22; 100 + usize::from(i)]);
    }
    assert_eq!(b.session.dtls_input.len(), MAX_WAITING_DTLS);
    let mut b = Bench::new(&[GCM]);
    b.deaf = true;
    b.check();
    b.input(b.at, vec![22; MAX_DTLS_LEN + 1]);
    assert!(b.session.dtls_input.is_empty());
}

#[test]
fn garbage_ends_a_handshake_at_its_bound_at_the_latest() {
    let mut b = Bench::new(&[GCM]);
    b.check();
    // Records of an epoch to come: the library would keep them all.
    let record = |seq: u8| {
        let mut data = vec![22, 254, 253, 0, 1, 0, 0, 0, 0, 0, seq, 0, 40];
        data.resize(53, seq);
        data
    };
    let mut n = 0;
    while b.ended.is_none() {
        b.input(b.at, record(n));
        n += 1;
    }
    assert_eq!(b.ended, Some(EndCause::Handshake(DtlsError::TooMuch)));
    assert!(u32::from(n) <= MAX_HANDSHAKE_DATAGRAMS + 1);
}

#[test]
fn garbage_after_the_handshake_changes_nothing() {
    let mut b = Bench::connected(true);
    let jobs = b.jobs;
    for i in 0..500u32 {
        let kind = [20, 21, 22, 23, 24, 63][i as usize % 6];
        let mut data = vec![kind, 254, 253, 0, (i % 3) as u8, 0, 0, 0, 0, 1, i as u8, 0, 2, 2, 40];
        data.truncate(if i % 5 == 0 { 14 } else { 15 });
        b.input(b.at, data);
    }
    assert!(b.ended.is_none(), "{:?}", b.ended);
    b.video(1, true);
    assert_eq!((b.viewer.seen.len(), b.viewer.unopened), (1, 0));
    assert!(b.jobs - jobs <= MAX_LATE_DTLS as usize, "{} jobs", b.jobs - jobs);
}
