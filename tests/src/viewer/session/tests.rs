//! The side that answers: the server chooses the path, and the handshake begins on that one.

use super::*;
use crate::viewer::{Signalling, SrtpOffer};
use soleil_protocol::Wall;

const OFFER: &str = "v=0\r\na=fingerprint:sha-256 11:90\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
    a=ice-ufrag:server\r\na=ice-pwd:server-password\r\na=setup:actpass\r\na=rtpmap:96 VP8/90000\r\n\
    a=candidate:1 1 udp 1 127.0.0.1 8000 typ host\r\na=candidate:2 1 udp 1 fd00::2 8000 typ host\r\n";

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000), wall: Wall(ms * 1_000) }
}

fn server() -> SocketAddr {
    "127.0.0.1:8000".parse().unwrap()
}

fn session() -> Session {
    let signalling = Signalling::Janus { mountpoint: 1 };
    let options = Arc::new(Options { signalling, ..Options::default() });
    let identity = Arc::new(Identity::new(SrtpOffer::Both, signalling).unwrap());
    let local = "127.0.0.1:4000".parse().unwrap();
    Session::new(0, Clock::start(), options, identity, local, 1)
}

/// A check of the server.
fn check(session: &Session, role: Role) -> Vec<u8> {
    let server = Secrets {
        local_ufrag: "server".into(),
        local_pwd: "server-password".into(),
        remote_ufrag: session.secrets.local_ufrag.clone(),
        remote_pwd: session.secrets.local_pwd.clone(),
    };
    server.request(session.identity.provider.crypto(), [9; 12], role, 2).unwrap()
}

/// Where datagrams go and what they are: STUN requests and answers, DTLS.
fn sent(session: &mut Session) -> Vec<(SocketAddr, &'static str)> {
    let mut sent = Vec::new();
    while let Some((to, data)) = session.poll_transmit() {
        let what = match data[..2] {
            [0, 1] => "check",
            [1, 1] => "answer",
            [22, _] => "hello",
            _ => "?",
        };
        sent.push((to, what));
    }
    sent
}

#[test]
fn the_handshake_begins_on_the_path_that_the_server_names() {
    let mut session = session();
    let hello = session.hello();
    assert!(hello.answering.to_sdp(OFFER).unwrap().contains("a=setup:active"));
    session.handle_description(at(5), Mono(0), &Description::Offer(OFFER.into()));
    // The address of the other family is left alone.
    assert_eq!(sent(&mut session), [(server(), "check")]);
    assert_eq!(session.report(at(5)).post_ms, Some(5.0));
    // A check that names no path is answered, and no more.
    let plain = check(&session, Role::Controlled);
    session.handle_datagram(at(10), server(), &plain);
    assert_eq!(sent(&mut session), [(server(), "answer")]);
    let naming = check(&session, Role::Controlling);
    session.handle_datagram(at(20), server(), &naming);
    assert_eq!(sent(&mut session), [(server(), "answer"), (server(), "hello")]);
    // Named again: nothing begins anew.
    session.handle_datagram(at(30), server(), &naming);
    assert_eq!(sent(&mut session), [(server(), "answer")]);
}

#[test]
fn a_beginning_that_the_server_has_missed_comes_again() {
    let mut session = session();
    session.handle_description(at(0), Mono(0), &Description::Offer(OFFER.into()));
    let naming = check(&session, Role::Controlling);
    session.handle_datagram(at(0), server(), &naming);
    let (mut hellos, mut times) = (sent(&mut session).len(), Vec::new());
    assert_eq!(hellos, 3);
    for ms in 1..400 {
        session.handle_timeout(at(ms));
        hellos = sent(&mut session).iter().filter(|(_, what)| *what == "hello").count();
        times.extend((hellos > 0).then_some(ms));
    }
    assert_eq!(times, [50, 150, 350]);
    // Whatever comes from its end shows that it has heard.
    session.handle_datagram(at(400), server(), &[22, 0]);
    assert_eq!(session.timers.hello, None);
}

#[test]
fn a_path_that_is_named_before_the_offer_is_here_counts() {
    let mut session = session();
    let naming = check(&session, Role::Controlling);
    session.handle_datagram(at(1), server(), &naming);
    assert_eq!(sent(&mut session), [(server(), "answer")]);
    session.handle_description(at(2), Mono(0), &Description::Offer(OFFER.into()));
    assert_eq!(sent(&mut session), [(server(), "hello")]);
}

#[test]
fn who_offers_chooses_the_path_itself() {
    let mut session = session();
    session.handle_description(at(5), Mono(0), &Description::Answer(OFFER.into()));
    assert_eq!(sent(&mut session), [(server(), "check")]);
    let naming = check(&session, Role::Controlling);
    session.handle_datagram(at(6), server(), &naming);
    assert_eq!(sent(&mut session), [(server(), "answer")]);
}
