//! Layout, strictness, and that every bit is authenticated.

use super::*;
use proptest::prelude::*;
use rtc_shared::marshal::Unmarshal;

fn key(n: u8) -> PipelineKey {
    PipelineKey { key: [n; 16], salt: [n; 12] }
}

fn header() -> HopHeader {
    HopHeader {
        ssrc: Ssrc(0x0102_0304),
        payload_type: 96,
        marker: true,
        index: PacketIndex::new(0xa0b0_c0d0, 0x1234),
        timestamp: 0x5566_7788,
        capture: 0x1122_3344_5566_7788,
        marks: FrameMarks(FrameMarks::KEY_START | 2),
    }
}

#[test]
fn the_layout_is_as_documented() {
    let mut packet = Vec::new();
    Sealer::new(&key(1), Epoch(0x1ff)).seal(&header(), b"hello", &mut packet).unwrap();
    assert_eq!(packet.len(), 12 + 4 + 16 + 5 + 16 + 1);
    assert_eq!(
        packet[..32],
        [
            0x90, 0xe0, 0x12, 0x34, 0x55, 0x66, 0x77, 0x88, 1, 2, 3, 4, 0xbe, 0xde, 0, 4, 0x13,
            0xa0, 0xb0, 0xc0, 0xd0, 0x27, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x30,
            0x82
        ]
    );
    assert_eq!(packet.last(), Some(&0xff));
    let parsed = HopPacket::parse(&packet).unwrap();
    assert_eq!(parsed, HopPacket { header: header(), mki: 0xff });
    let opener = Opener::new(&key(1), Epoch(0x1ff));
    assert_eq!(opener.open(&mut packet, &parsed.header).unwrap(), b"hello");
}

#[test]
fn it_is_real_rtp() {
    let mut packet = Vec::new();
    Sealer::new(&key(1), Epoch(1)).seal(&header(), b"hello", &mut packet).unwrap();
    let theirs = rtc_rtp::Packet::unmarshal(&mut &packet[..]).unwrap().header;
    assert_eq!((theirs.ssrc, theirs.sequence_number, theirs.marker), (0x0102_0304, 0x1234, true));
    assert_eq!(theirs.get_extension(1).unwrap()[..], [0xa0, 0xb0, 0xc0, 0xd0]);
    assert_eq!(theirs.get_extension(2).unwrap().len(), 8);
    assert_eq!(theirs.get_extension(3).unwrap()[..], [0x82]);
}

#[test]
fn payloads_have_a_limit() {
    let sealer = Sealer::new(&key(1), Epoch(1));
    let mut out = Vec::new();
    sealer.seal(&header(), &[0; MAX_PAYLOAD], &mut out).unwrap();
    assert_eq!(out.len(), MAX_HOP_PACKET);
    assert!(HopPacket::parse(&out).is_ok());
    assert!(sealer.seal(&header(), &[0; MAX_PAYLOAD + 1], &mut out).is_err());
    assert_eq!(out.len(), MAX_HOP_PACKET);
}

proptest! {
    #[test]
    fn garbage_is_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..1400), shaped: bool,
    ) {
        if shaped && bytes.len() >= HOP_HEADER {
            bytes[..HOP_HEADER].copy_from_slice(&header().to_bytes());
        }
        if let Ok(packet) = HopPacket::parse(&bytes) {
            let opener = Opener::new(&key(1), Epoch(1));
            prop_assert!(opener.open(&mut bytes, &packet.header).is_err());
        }
    }

    #[test]
    fn what_is_parsed_is_what_was_written(
        ssrc: u32, payload_type in 0u8..128, marker: bool, index in 0u64..1 << 48, timestamp: u32,
        capture: u64, marks: u8, payload in prop::collection::vec(any::<u8>(), 0..MAX_PAYLOAD),
        flip: prop::sample::Index, bit in 0u8..8,
    ) {
        let header = HopHeader {
            ssrc: Ssrc(ssrc), payload_type, marker, index: PacketIndex(index), timestamp, capture,
            marks: FrameMarks(marks),
        };
        let mut packet = Vec::new();
        Sealer::new(&key(7), Epoch(3)).seal(&header, &payload, &mut packet).unwrap();
        let mut damaged = packet.clone();
        // Everything but the MKI is authenticated; a wrong MKI names another key or none.
        let at = flip.index(damaged.len() - 1);
        damaged[at] ^= 1 << bit;
        let opener = Opener::new(&key(7), Epoch(3));
        if let Ok(parsed) = HopPacket::parse(&damaged) {
            prop_assert!(opener.open(&mut damaged, &parsed.header).is_err());
        }
        let parsed = HopPacket::parse(&packet).unwrap();
        prop_assert_eq!(parsed, HopPacket { header, mki: 3 });
        prop_assert!(Opener::new(&key(8), Epoch(3)).open(&mut packet.clone(), &header).is_err());
        prop_assert_eq!(&*opener.open(&mut packet, &header).unwrap(), &payload[..]);
    }
}
