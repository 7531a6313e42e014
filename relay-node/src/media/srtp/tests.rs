//! RFC 7714 vectors, and agreement with another implementation in both directions.

use super::*;
use proptest::prelude::*;
use rtc_srtp::crypto::default_provider;
use rtc_srtp::{context::Context, option, protection_profile::ProtectionProfile};
use soleil_protocol::{PacketIndex, Ssrc};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

fn vector_key() -> ([u8; 16], [u8; 12]) {
    (
        hex("000102030405060708090a0b0c0d0e0f").try_into().unwrap(),
        hex("517569642070726f2071756f").try_into().unwrap(),
    )
}

// RFC 7714 sections 16.1 (RTP) and 17.1, 17.3 (RTCP), byte for byte as the RFC prints them.
// The key is 00 01 .. 0f, the salt "Quid pro quo"; both are session keys, nothing is derived.
const RTP_HEADER: &str = "8040f17b 8041f8d3 5501a0b2";
const RTP_PLAIN: &str = "47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465
    73207472 6573";
const RTP_SEALED: &str = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
    0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
const RTCP_PLAIN: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
    deadbeef deadbeef deadbeef deadbeef deadbeef";
const RTCP_SEALED: &str = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
    c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
/// Tag and index word of the same packet where nothing is encrypted.
const RTCP_TAGGED_END: &str = "841dd968 3dd78ec9 2ae58790 125f62b3 000005d4";

#[test]
fn rfc_7714_section_16_1_1_srtp() {
    let (key, salt) = vector_key();
    let mut packet = [hex(RTP_HEADER), hex(RTP_PLAIN)].concat();
    SrtpSealer::from_session(key, salt).seal_vec(&mut packet, 12, 0).unwrap();
    assert_eq!(packet, hex(RTP_SEALED));
}

#[test]
fn rfc_7714_section_16_1_2_srtp() {
    let (key, salt) = vector_key();
    let mut packet = hex(RTP_SEALED);
    let mut opener = SrtpOpener::from_session(key, salt);
    let opened = opener.open(&mut packet).unwrap();
    assert_eq!(&opened.packet[opened.header_len..], hex(RTP_PLAIN));
    assert_eq!((opened.ssrc, opened.index), (Ssrc(0x5501_a0b2), PacketIndex(0xf17b)));
}

#[test]
fn rfc_7714_section_17_1_srtcp() {
    let (key, salt) = vector_key();
    let mut packet = hex(RTCP_PLAIN);
    SrtcpSealer::from_session(key, salt, 0x5d4).seal(&mut packet, 0).unwrap();
    assert_eq!(packet, hex(RTCP_SEALED));
    let mut opener = SrtcpOpener::from_session(key, salt);
    assert_eq!(opener.open(&mut packet).unwrap(), hex(RTCP_PLAIN));
    assert_eq!(opener.open(&mut hex(RTCP_SEALED)), Err(SrtpError::Replay));
}

#[test]
fn rfc_7714_section_17_3_srtcp_that_is_only_authenticated() {
    let (key, salt) = vector_key();
    let tagged = [hex(RTCP_PLAIN), hex(RTCP_TAGGED_END)].concat();
    let mut opener = SrtcpOpener::from_session(key, salt);
    for damaged in [1, 12, RTCP_PLAIN.len() / 4, tagged.len() - 1] {
        let mut packet = tagged.clone();
        packet[damaged] ^= 1;
        assert_eq!(opener.open(&mut packet), Err(SrtpError::NotAuthentic));
    }
    assert_eq!(opener.open(&mut tagged.clone()).unwrap(), hex(RTCP_PLAIN));
    assert_eq!(opener.open(&mut tagged.clone()), Err(SrtpError::Replay));
}

#[test]
fn the_srtcp_index_ends() {
    let (key, salt) = vector_key();
    let mut sealer = SrtcpSealer::from_session(key, salt, (1 << 31) - 1);
    sealer.seal(&mut hex(RTCP_PLAIN), 0).unwrap();
    assert_eq!(sealer.seal(&mut hex(RTCP_PLAIN), 0), Err(SrtpError::Exhausted));
}

#[test]
fn dtls_material_is_split_as_rfc_5764_says() {
    let mut material = [0; DTLS_EXPORTER_LEN];
    for (i, b) in material.iter_mut().enumerate() {
        *b = i as u8;
    }
    let (client, server) = SrtpKeys::from_dtls_exporter(&material);
    assert_eq!((client.key[0], client.salt[0]), (0, 32));
    assert_eq!((server.key[0], server.salt[0]), (16, 44));
    assert_eq!(server.salt[11], 55);
}

#[test]
fn the_roll_over_counter_is_followed() {
    let keys = SrtpKeys::new([1; 16], [2; 12]);
    let (sealer, mut opener) = (SrtpSealer::new(&keys), SrtpOpener::new(&keys));
    let packet = |index: u64| {
        let index = PacketIndex(index);
        let mut p = vec![0x80, 96];
        p.extend_from_slice(&index.seq().to_be_bytes());
        p.extend_from_slice(&[0; 8]);
        p.extend_from_slice(b"payload");
        sealer.seal_vec(&mut p, 12, index.roc()).unwrap();
        p
    };
    for index in [65_530, 65_537, 65_535, 65_536, 98_000, 130_000, 140_000, 139_000] {
        let opened = opener.open(&mut packet(index)).map(|o| o.index);
        assert_eq!(opened.unwrap(), PacketIndex(index));
    }
    assert_eq!(opener.open(&mut packet(140_000)).map(|o| o.index), Err(SrtpError::Replay));
    // A forgery moves nothing.
    let mut forged = packet(170_000);
    forged[20] ^= 1;
    assert_eq!(opener.open(&mut forged).map(|o| o.index), Err(SrtpError::NotAuthentic));
    assert_eq!(opener.open(&mut packet(140_001)).unwrap().index, PacketIndex(140_001));
}

#[test]
fn sources_are_bounded() {
    let keys = SrtpKeys::new([1; 16], [2; 12]);
    let (sealer, mut opener) = (SrtpSealer::new(&keys), SrtpOpener::new(&keys));
    let (mut rtcp_sealer, mut rtcp_opener) = (SrtcpSealer::new(&keys), SrtcpOpener::new(&keys));
    for i in 0..=MAX_SOURCES as u8 {
        let mut p = vec![0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, i, 1, 2, 3];
        sealer.seal_vec(&mut p, 12, 0).unwrap();
        let mut r = vec![0x80, 201, 0, 1, 0, 0, 0, i];
        rtcp_sealer.seal(&mut r, 0).unwrap();
        let (rtp, rtcp) = (opener.open(&mut p).map(drop), rtcp_opener.open(&mut r).map(drop));
        let full = usize::from(i) == MAX_SOURCES;
        let expected = if full { Err(SrtpError::TooManySources) } else { Ok(()) };
        assert_eq!((rtp, rtcp), (expected, expected));
    }
}

fn theirs(keys: &SrtpKeys) -> Context {
    let none = || Some(option::srtp_no_replay_protection());
    let none_rtcp = || Some(option::srtcp_no_replay_protection());
    let profile = ProtectionProfile::AeadAes128Gcm;
    let provider = default_provider().unwrap();
    Context::new(&keys.key, &keys.salt, profile, none(), none_rtcp(), provider.crypto()).unwrap()
}

proptest! {
    #[test]
    fn it_agrees_with_rtc_srtp(
        key: [u8; 16], salt: [u8; 12], ssrc: [u8; 4], seq: u16, marker: bool,
        csrcs in 0u8..3, extension in prop::option::of(1usize..4),
        payload in prop::collection::vec(any::<u8>(), 1..1200),
        rtcp in prop::collection::vec(any::<u8>(), 0..25),
    ) {
        let keys = SrtpKeys::new(key, salt);
        let mut plain = vec![0x80 | csrcs | if extension.is_some() { 0x10 } else { 0 }];
        plain.push(96 | if marker { 0x80 } else { 0 });
        plain.extend_from_slice(&seq.to_be_bytes());
        plain.extend_from_slice(&[9; 4]);
        plain.extend_from_slice(&ssrc);
        plain.extend(std::iter::repeat_n(7, 4 * usize::from(csrcs)));
        if let Some(words) = extension {
            plain.extend_from_slice(&[0xbe, 0xde, 0, words as u8]);
            plain.extend_from_slice(&[0x12, 1, 2, 3]);
            plain.extend(std::iter::repeat_n(0, 4 * (words - 1)));
        }
        let header = plain.len();
        prop_assert_eq!(header_len(&plain), Some(header));
        plain.extend_from_slice(&payload);

        let mut ours = plain.clone();
        SrtpSealer::new(&keys).seal_vec(&mut ours, header, 0).unwrap();
        prop_assert_eq!(&theirs(&keys).decrypt_rtp(&ours).unwrap()[..], &plain[..]);
        let mut sealed = theirs(&keys).encrypt_rtp(&plain).unwrap().to_vec();
        prop_assert_eq!(&sealed, &ours);
        let mut opener = SrtpOpener::new(&keys);
        prop_assert_eq!(&*opener.open(&mut sealed).unwrap().packet, &plain[..]);

        let mut compound = vec![0x80, 201, 0, (1 + rtcp.len()) as u8];
        compound.extend_from_slice(&ssrc);
        rtcp.iter().for_each(|b| compound.extend_from_slice(&[*b; 4]));
        let mut ours = compound.clone();
        SrtcpSealer::new(&keys).seal(&mut ours, 0).unwrap();
        prop_assert_eq!(&theirs(&keys).decrypt_rtcp(&ours).unwrap()[..], &compound[..]);
        let mut sealed = theirs(&keys).encrypt_rtcp(&compound).unwrap().to_vec();
        prop_assert_eq!(&*SrtcpOpener::new(&keys).open(&mut sealed).unwrap(), &compound[..]);
    }

    #[test]
    fn damaged_packets_and_garbage_never_open(
        mut garbage in prop::collection::vec(any::<u8>(), 0..200), at: usize, bit in 0u8..8,
    ) {
        let keys = SrtpKeys::new([3; 16], [4; 12]);
        let _ = header_len(&garbage);
        prop_assert!(SrtpOpener::new(&keys).open(&mut garbage.clone()).is_err());
        prop_assert!(SrtcpOpener::new(&keys).open(&mut garbage.clone()).is_err());
        let _ = SrtpSealer::new(&keys).seal(&mut garbage, at, 0);
        let mut packet = hex(RTP_HEADER);
        packet.extend_from_slice(&[5; 50]);
        SrtpSealer::new(&keys).seal_vec(&mut packet, 12, 0).unwrap();
        let at = at % packet.len();
        packet[at] ^= 1 << bit;
        prop_assert!(SrtpOpener::new(&keys).open(&mut packet).is_err());
    }
}
