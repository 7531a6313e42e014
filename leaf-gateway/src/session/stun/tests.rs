//! Our STUN against `rtc-stun`, an independent codec, and against noise.

use super::*;
use proptest::prelude::*;
use rtc_dtls::crypto_provider::default_provider;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc_stun::fingerprint::FINGERPRINT as THEIR_FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST as THEIR_REQUEST, Getter, Message as Theirs, Setter};
use rtc_stun::xoraddr::XorMappedAddress;

const PASSWORD: &str = "a password of some length";

fn theirs(attributes: &[(AttrType, &[u8])], password: Option<&str>, fingerprint: bool) -> Vec<u8> {
    let mut m = Theirs::new();
    m.set_type(THEIR_REQUEST);
    m.transaction_id.0 = *b"transaction!";
    m.write_header();
    for (kind, value) in attributes {
        m.add(*kind, value);
    }
    if let Some(p) = password {
        let provider = default_provider().unwrap();
        MessageIntegrity::new_short_term_integrity_with_provider(p.to_owned(), provider.crypto())
            .add_to(&mut m)
            .unwrap();
    }
    if fingerprint {
        THEIR_FINGERPRINT.add_to(&mut m).unwrap();
    }
    m.raw
}

fn integrity(m: &mut Theirs) {
    let provider = default_provider().unwrap();
    MessageIntegrity::check(m, PASSWORD.as_bytes(), provider.crypto()).unwrap();
}

#[test]
fn reads_what_another_codec_writes() {
    let raw = theirs(
        &[(ATTR_USERNAME, b"ours:theirs"), (ATTR_USE_CANDIDATE, b""), (AttrType(0xc057), b"1234")],
        Some(PASSWORD),
        true,
    );
    let m = parse(&raw).unwrap();
    assert_eq!(m.kind, Kind::Request);
    assert_eq!(&m.transaction, b"transaction!");
    assert_eq!(m.username, Some("ours:theirs"));
    assert!(m.use_candidate && !m.controlled);
    assert!(m.verify(PASSWORD));
    assert!(!m.verify("another"));
    assert!(!m.verify(""));
}

#[test]
fn refuses_what_lacks_integrity_or_fingerprint() {
    let raw = theirs(&[(ATTR_USERNAME, b"ours:theirs")], None, true);
    assert!(!parse(&raw).unwrap().verify(PASSWORD));
    assert!(parse(&theirs(&[(ATTR_USERNAME, b"a:b")], Some(PASSWORD), false)).is_none());
}

#[test]
fn refuses_unknown_required_attributes_and_other_methods() {
    let raw = theirs(&[(AttrType(0x7777), b"1234")], Some(PASSWORD), true);
    assert!(parse(&raw).is_none());
    let mut raw = theirs(&[], Some(PASSWORD), true);
    raw[1] = 3;
    assert!(parse(&raw).is_none());
}

#[test]
fn any_changed_byte_is_noticed() {
    let raw = theirs(&[(ATTR_USERNAME, b"ours:theirs")], Some(PASSWORD), true);
    for i in 0..raw.len() {
        let mut bad = raw.clone();
        bad[i] ^= 0x10;
        assert!(parse(&bad).is_none_or(|m| !m.verify(PASSWORD)), "byte {i}");
    }
}

#[test]
fn another_codec_reads_what_we_write() {
    for address in ["192.0.2.7:4711", "[2001:db8::5]:65535"] {
        let address: SocketAddr = address.parse().unwrap();
        let mut out = vec![];
        success(&mut out, b"transaction!", address, PASSWORD);
        let mut m = Theirs::new();
        m.unmarshal_binary(&out).unwrap();
        THEIR_FINGERPRINT.check(&m).unwrap();
        integrity(&mut m);
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&m).unwrap();
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), address);
    }
    let mut out = vec![];
    request(&mut out, b"transaction!", "theirs:ours", 7, PASSWORD);
    let mut m = Theirs::new();
    m.unmarshal_binary(&out).unwrap();
    THEIR_FINGERPRINT.check(&m).unwrap();
    integrity(&mut m);
    assert_eq!(m.get(ATTR_USERNAME).unwrap(), b"theirs:ours");
    let ours = parse(&out).unwrap();
    assert!(ours.controlled && ours.verify(PASSWORD));
    role_conflict(&mut out, b"transaction!", PASSWORD);
    assert_eq!(parse(&out).unwrap().kind, Kind::Error);
}

#[test]
fn tells_stun_from_dtls_and_rtp() {
    assert!(is_stun(&theirs(&[], None, false)));
    assert!(!is_stun(&[22; 40]));
    assert!(!is_stun(&[0x80; 40]));
    assert!(!is_stun(&[0, 1, 0, 0]));
}

proptest! {
    #[test]
    fn noise_is_harmless(data in proptest::collection::vec(any::<u8>(), 0..700)) {
        if let Some(m) = parse(&data) { m.verify(PASSWORD); }
    }

    #[test]
    fn noise_behind_a_right_header_is_harmless(
        mut data in proptest::collection::vec(any::<u8>(), 20..200), kind in 0u16..0x120,
    ) {
        data.truncate(data.len() / 4 * 4);
        data[..2].copy_from_slice(&kind.to_be_bytes());
        let length = (data.len() - 20) as u16;
        data[2..4].copy_from_slice(&length.to_be_bytes());
        data[4..8].copy_from_slice(&COOKIE.to_be_bytes());
        if let Some(m) = parse(&data) { prop_assert!(!m.verify(PASSWORD)); }
    }
}
