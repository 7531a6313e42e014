//! What strangers can do to the viewer port, beside a viewer that must not notice.

use super::*;
use crate::session::tests::client::report;

/// Datagrams that are sent before the worker has to have caught up: they fit its socket's buffer.
const WAVE: usize = 200;

impl Rig {
    /// Sends so many datagrams, as fast as the worker takes them, while the viewer watches.
    fn flood(
        &mut self,
        client: &mut Client,
        count: usize,
        mut send: impl FnMut(usize, SocketAddr),
    ) {
        let to = self.worker.local_addr();
        for wave in 0..count / WAVE {
            let before = self.metrics.received.get();
            for i in 0..WAVE {
                send(wave * WAVE + i, to);
            }
            let seen = client.viewer.seen.len();
            self.media(2, wave == 0);
            client.until("media in spite of it", |c| c.viewer.seen.len() == seen + 2);
            let metrics = self.metrics.clone();
            client.until("all is taken", |_| metrics.received.get() >= before + WAVE as u64);
        }
    }
}

fn silent(stranger: &UdpSocket) {
    assert!(stranger.recv_from(&mut [0; 64]).is_err(), "a stranger gets no answer");
}

/// A real first flight of DTLS.
fn client_hello(clock: Clock) -> Vec<u8> {
    let mut viewer = Viewer::new(clock, setup(true).credentials, &[GCM]);
    viewer.start_dtls(clock.now().mono);
    viewer.out.remove(0)
}

#[test]
fn ten_thousand_client_hellos_without_ice_start_no_handshake() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    let hello = client_hello(rig.clock);
    let strangers: Vec<UdpSocket> = (0..20).map(|_| socket()).collect();
    let (steps, unknown) = (rig.metrics.handshakes.get(), rig.metrics.unknown.get());
    rig.flood(&mut client, 10_000, |i, to| {
        strangers[i % strangers.len()].send_to(&hello, to).unwrap();
    });
    assert_eq!(rig.metrics.handshakes.get(), steps);
    assert_eq!(rig.metrics.unknown.get(), unknown + 10_000);
    strangers.iter().for_each(silent);
    assert_eq!(rig.occupancy.counts(), (1, 0));
}

#[test]
fn ten_thousand_checks_with_a_wrong_password_get_no_answer() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    let mut wrong = client.viewer.credentials.clone();
    wrong.local_password = "not the password of the leaf".into();
    let mut forger = Viewer::new(rig.clock, wrong, &[GCM]);
    let stranger = socket();
    rig.flood(&mut client, 10_000, |_, to| {
        let check = forger.check(true, u32::MAX);
        stranger.send_to(&check, to).unwrap();
    });
    silent(&stranger);
}

#[test]
fn a_flood_of_valid_checks_from_many_ports_costs_the_others_nothing() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    let mut flooder = rig.viewer(2);
    let ports: Vec<UdpSocket> = (0..50).map(|_| socket()).collect();
    let (mut sent, mut buffer) = (vec![0usize; 50], [0; 2_048]);
    rig.flood(&mut client, 4_000, |i, to| {
        // Not nominating: its media stay where they are.
        let check = flooder.viewer.check(false, 0);
        ports[i % 50].send_to(&check, to).unwrap();
        sent[i % 50] += check.len();
    });
    // What was never validated got no more than it sent, the offer's bytes aside, which count for
    // the whole session.
    let mut excess = 0;
    for (port, sent) in ports.iter().zip(sent) {
        let mut got = 0;
        while let Ok((len, _)) = port.recv_from(&mut buffer) {
            got += len;
        }
        excess += got.saturating_sub(sent);
    }
    assert!(excess <= crate::session::ice::MAX_OFFER_CREDIT, "{excess}");
}

#[test]
fn replayed_rtcp_is_counted_and_does_nothing() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    rig.media(3, true);
    client.until("media", |c| c.viewer.seen.len() == 3);
    let seq = client.viewer.seen[1].seq;
    let sealed = client.viewer.seal(&nack(VIDEO_OUT, &[(seq, 0)])).unwrap();
    client.socket.send_to(&sealed, client.to).unwrap();
    client.until("the packet again", |c| c.viewer.seen.len() == 4);
    let (own, stranger) = (client.socket.try_clone().unwrap(), socket());
    rig.flood(&mut client, 2_000, |i, to| {
        let from = if i % 2 == 0 { &own } else { &stranger };
        from.send_to(&sealed, to).unwrap();
    });
    silent(&stranger);
    let forged = rig.metrics.clone();
    client.until("they are counted", |_| forged.forged.get() == 1_000);
    assert_eq!((rig.metrics.resends.get(), rig.metrics.moves.get()), (1, 0));
}

#[test]
fn rtcp_of_nobody_is_tried_a_few_times_a_second_only() {
    let mut rig = rig();
    let mut client = rig.viewer(1);
    let stranger = socket();
    let mut noise = report(VIDEO_OUT, 0, 0, 0);
    noise.resize(80, 7);
    rig.flood(&mut client, 10_000, |_, to| {
        stranger.send_to(&noise, to).unwrap();
    });
    silent(&stranger);
    assert_eq!(rig.metrics.moves.get(), 0);
    // A viewer that really moves meanwhile is found by its check at the latest.
    client.socket = socket();
    let mut turns = 0;
    let seen = client.viewer.seen.len();
    client.until("media at the new port", |c| {
        turns += 1;
        rig.media(1, turns % 20 == 0);
        c.viewer.seen.len() > seen + 5
    });
}
