//! The DTLS server by itself: bounds, timers, damaged and endless input.

use super::bench::{context, credentials};
use super::client::{GCM, Viewer};
use crate::session::dtls::{
    Dtls, DtlsError, DtlsEvent, DtlsJob, MAX_ALERTS, MAX_HANDSHAKE_RECORDS, MAX_REPEATS, RtcDtls,
    is_dtls, sha256,
};
use proptest::prelude::*;
use soleil_protocol::Mono;
use std::time::Duration;

struct Pair {
    now: Mono,
    server: RtcDtls,
    viewer: Viewer,
    /// What the viewer has sent, flight by flight.
    flights: Vec<Vec<Vec<u8>>>,
    complete: bool,
}

fn pair() -> Pair {
    let (clock, dtls) = context();
    let mut viewer = Viewer::new(clock, credentials(), &[GCM]);
    let now = Mono(5_000_000);
    viewer.start_dtls(now);
    Pair { now, server: dtls.server(), viewer, flights: Vec::new(), complete: false }
}

impl Pair {
    /// One flight of the viewer and what the server says to it.
    fn turn(&mut self) -> bool {
        let flight = std::mem::take(&mut self.viewer.out);
        for data in &flight {
            self.server.handle(self.now, data).unwrap();
        }
        while let Some(event) = self.server.poll_event() {
            self.complete |= matches!(event, DtlsEvent::Complete(_));
        }
        let more = !flight.is_empty();
        self.flights.push(flight);
        while let Some(data) = self.server.poll_transmit() {
            self.viewer.receive(self.now, &data);
        }
        more
    }

    fn complete(mut self) -> Self {
        while self.turn() {}
        assert!(self.complete && self.viewer.profile == Some(GCM));
        self
    }

    fn sent(&mut self) -> usize {
        std::iter::from_fn(|| self.server.poll_transmit()).map(|d| d.len()).sum()
    }
}

/// A handshake record with one fragment of a message.
fn fragment(seq: u16, length: u32, offset: u32, len: u32) -> Vec<u8> {
    let mut out = vec![22, 254, 253, 0, 0, 0, 0, 0, 0];
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&12u16.to_be_bytes());
    out.push(1);
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&offset.to_be_bytes()[1..]);
    out.extend_from_slice(&len.to_be_bytes()[1..]);
    out
}

#[test]
fn a_message_in_thousands_of_fragments_is_too_much() {
    let (_, dtls) = context();
    let mut server = dtls.server();
    let mut taken = 0;
    let mut offset = 0;
    let result = loop {
        // In a chain from the beginning, so that the library goes over all of it each time.
        let datagram: Vec<u8> = (0..40)
            .flat_map(|_| {
                offset += 1;
                fragment(offset as u16, 10_000, offset - 1, 1)
            })
            .collect();
        if let Err(error) = server.handle(Mono(0), &datagram) {
            break error;
        }
        taken += 40;
    };
    assert_eq!(result, DtlsError::TooMuch);
    assert!(taken <= MAX_HANDSHAKE_RECORDS);
}

#[test]
fn the_last_flight_is_repeated_for_a_viewer_that_lost_it_but_not_for_ever() {
    let mut p = pair().complete();
    let last = p.flights.iter().rev().find(|f| !f.is_empty()).unwrap().clone();
    let mut answers = 0;
    for i in 0..200 {
        p.now = p.now.after(Duration::from_millis(i * 10));
        for data in &last {
            p.server.handle(p.now, data).unwrap();
        }
        answers += usize::from(p.sent() > 0);
    }
    assert!(answers <= MAX_REPEATS as usize, "{answers}");
}

#[test]
fn alerts_after_the_handshake_are_bounded_and_application_data_is_ignored() {
    let mut p = pair().complete();
    for i in 0..MAX_ALERTS as u8 * 4 {
        p.server.handle(p.now, &[21, 254, 253, 0, 1, 0, 0, 0, 0, 1, i, 0, 2, 2, 40]).unwrap();
        p.server.handle(p.now, &[23, 254, 253, 0, 1, 0, 0, 0, 0, 2, i, 0, 2, 1, 2]).unwrap();
    }
    assert!(p.server.poll_event().is_none());
    assert_eq!(p.sent(), 0);
}

#[test]
fn a_flight_without_answer_is_sent_again_until_it_is_given_up() {
    let mut p = pair();
    p.turn();
    // The second ClientHello: our long flight goes out, and is lost.
    for data in std::mem::take(&mut p.viewer.out) {
        p.server.handle(p.now, &data).unwrap();
    }
    let first = p.sent();
    assert!(first > 0);
    let (mut again, mut error) = (0, None);
    for _ in 0..50 {
        let Some(at) = p.server.poll_timeout() else { break };
        assert!(at > p.now, "a timer in the past");
        p.now = at;
        error = p.server.handle_timeout(p.now).err();
        again += usize::from(p.sent() >= first / 2);
        if error.is_some() {
            break;
        }
    }
    assert!((2..20).contains(&again), "{again}");
    assert!(matches!(error, None | Some(DtlsError::TimedOut)), "{error:?}");
}

#[test]
fn a_finished_association_has_no_timer_and_says_goodbye_once() {
    let mut p = pair().complete();
    assert_eq!(p.server.poll_timeout(), None);
    p.server.close(p.now);
    assert!(p.sent() > 0);
    p.server.close(p.now);
    assert_eq!(p.sent(), 0);
    let hello = p.flights[0][0].clone();
    let _ = p.server.handle(p.now, &hello);
}

#[test]
fn every_cut_of_every_datagram_is_survived() {
    let flights = pair().complete().flights;
    for cut in 0..flights.iter().flatten().map(Vec::len).max().unwrap() {
        let (_, dtls) = context();
        let mut server = dtls.server();
        for data in flights.iter().flatten() {
            if server.handle(Mono(1), &data[..cut.min(data.len())]).is_err() {
                break;
            }
        }
        assert!(
            !std::iter::from_fn(|| server.poll_event())
                .any(|e| matches!(e, DtlsEvent::Complete(_)))
        );
    }
}

#[test]
fn a_job_stops_at_the_first_error_and_keeps_what_is_left_to_say() {
    let (clock, dtls) = context();
    let mut viewer = Viewer::new(clock, credentials(), &[super::client::CM]);
    viewer.start_dtls(Mono(0));
    let mut server: Option<Box<dyn Dtls>> = Some(Box::new(dtls.server()));
    let mut last = None;
    for _ in 0..4 {
        let input = std::mem::take(&mut viewer.out);
        let job = DtlsJob { dtls: server.take().unwrap(), input, timeout: true };
        let done = job.run(Mono(0));
        server = done.dtls;
        for data in done.output {
            viewer.receive(Mono(0), &data);
        }
        last = done.result.err();
        if last.is_some() {
            break;
        }
    }
    assert_eq!(last, Some(DtlsError::NoGcm));
    assert!(viewer.failed, "the alert arrived");
}

struct Breaks;

impl Dtls for Breaks {
    fn handle(&mut self, _: Mono, _: &[u8]) -> Result<(), DtlsError> {
        panic!("as a library may")
    }
    fn handle_timeout(&mut self, _: Mono) -> Result<(), DtlsError> {
        Ok(())
    }
    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }
    fn poll_event(&mut self) -> Option<DtlsEvent> {
        None
    }
    fn poll_timeout(&self) -> Option<Mono> {
        None
    }
    fn close(&mut self, _: Mono) {}
}

#[test]
fn a_library_that_panics_costs_one_association() {
    let job = DtlsJob { dtls: Box::new(Breaks), input: vec![vec![22; 20]], timeout: false };
    let done = job.run(Mono(0));
    assert_eq!(done.result, Err(DtlsError::Failed));
    assert!(done.dtls.is_none());
}

#[test]
fn what_is_dtls_shows_in_the_first_byte() {
    assert!(is_dtls(&[20; 13]) && is_dtls(&[63; 13]));
    assert!(!is_dtls(&[19; 13]) && !is_dtls(&[64; 13]) && !is_dtls(&[22; 12]) && !is_dtls(&[]));
}

#[test]
fn fingerprints_are_sha_256() {
    // FIPS 180-2, appendix B.1.
    assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
}

proptest! {
    #![proptest_config(super::cases(48))]

    #[test]
    fn records_of_noise_are_survived(
        noise in prop::collection::vec(
            (20u8..26, 0u8..3, any::<u16>(), prop::collection::vec(any::<u8>(), 0..300)), 1..64),
        at in 0usize..4,
    ) {
        let mut p = pair();
        for _ in 0..at {
            p.turn();
        }
        for (kind, epoch, seq, body) in noise {
            let mut data = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0];
            data.extend_from_slice(&seq.to_be_bytes());
            data.extend_from_slice(&(body.len() as u16).to_be_bytes());
            data.extend_from_slice(&body);
            if p.server.handle(p.now, &data).is_err() {
                break;
            }
        }
        prop_assert!(p.sent() < 40_000);
    }

    #[test]
    fn a_changed_byte_is_survived(at in any::<usize>(), to in any::<u8>(), which in 0usize..8) {
        let flights = pair().complete().flights;
        let mut p = pair();
        for (i, data) in flights.iter().flatten().enumerate() {
            let mut data = data.clone();
            if i == which {
                let at = at % data.len();
                data[at] = to;
            }
            if p.server.handle(p.now, &data).is_err() {
                break;
            }
            p.sent();
        }
    }
}
