//! Writing and reading agree with each other and with another implementation.

use super::*;
use proptest::prelude::*;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc_shared::marshal::Unmarshal;

const ME: Ssrc = Ssrc(0x0a0b_0c0d);
const MEDIA: Ssrc = Ssrc(77);

fn items(packet: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut items = Vec::new();
    parse(packet, |item| items.push(item)).then_some(items)
}

fn block() -> ReportBlock {
    ReportBlock {
        ssrc: MEDIA,
        fraction_lost: 12,
        lost: -5,
        highest: 0x0001_0203,
        jitter: 90,
        last_sr: 0x1234_5678,
        delay: 65_536,
    }
}

#[test]
fn a_compound_packet_is_read_back() {
    let mut out = Vec::new();
    sender_report(&mut out, ME, 0x0102_0304_0506_0708, 9, 10);
    receiver_report(&mut out, ME, &[block(), block()]);
    pli(&mut out, ME, MEDIA);
    heartbeat(&mut out, ME, &[(MEDIA, PacketIndex::MAX), (Ssrc(78), PacketIndex(3))]);
    heartbeat(&mut out, ME, &[]);
    congestion(&mut out, ME, MEDIA, 65_535, [Some(5), None, Some(9000)].into_iter(), 42);
    nack(&mut out, ME, MEDIA, &[PacketIndex(0x1_ffff), PacketIndex(0x2_0001)]);
    assert_eq!(out.len() % 4, 0);
    let got = items(&out).unwrap();
    assert_eq!(got.len(), 8);
    assert_eq!(got[0], Item::SenderReport { ntp: 0x0102_0304_0506_0708, packets: 9, octets: 10 });
    assert_eq!((got[1], got[2]), (Item::Report(block()), Item::Report(block())));
    assert_eq!(got[3], Item::Pli { media: MEDIA });
    let Item::Heartbeat(entries) = got[4] else { panic!("{:?}", got[4]) };
    let entries: Vec<_> = heartbeat_entries(entries).collect();
    assert_eq!(entries, [(MEDIA, PacketIndex::MAX), (Ssrc(78), PacketIndex(3))]);
    assert_eq!(got[5], Item::Heartbeat(&[]));
    let Item::Congestion { media: MEDIA, begin: 65_535, metrics: m } = got[6] else {
        panic!("{:?}", got[6])
    };
    assert_eq!(metrics(m).collect::<Vec<_>>(), [Some(5), None, Some(0x1ffe)]);
    let Item::Nack { media: MEDIA, entries } = got[7] else { panic!("{:?}", got[7]) };
    assert_eq!(nack_seqs(entries).collect::<Vec<_>>(), [0xffff, 1]);
}

#[test]
fn rtc_rtcp_reads_ours() {
    let mut out = Vec::new();
    sender_report(&mut out, ME, 0x0102_0304_0506_0708, 9, 10);
    let sr = SenderReport::unmarshal(&mut &out[..]).unwrap();
    assert_eq!((sr.ssrc, sr.ntp_time, sr.packet_count), (ME.0, 0x0102_0304_0506_0708, 9));
    out.clear();
    receiver_report(&mut out, ME, &[block()]);
    let rr = ReceiverReport::unmarshal(&mut &out[..]).unwrap();
    assert_eq!((rr.reports[0].fraction_lost, rr.reports[0].jitter), (12, 90));
    out.clear();
    pli(&mut out, ME, MEDIA);
    let theirs = PictureLossIndication::unmarshal(&mut &out[..]).unwrap();
    assert_eq!((theirs.sender_ssrc, theirs.media_ssrc), (ME.0, MEDIA.0));
    out.clear();
    let indexes = [5, 6, 21, 22, 40].map(PacketIndex);
    assert_eq!(nack(&mut out, ME, MEDIA, &indexes), 5);
    let theirs = TransportLayerNack::unmarshal(&mut &out[..]).unwrap();
    let seqs: Vec<u16> = theirs.nacks.iter().flat_map(|n| n.packet_list()).collect();
    assert_eq!(seqs, [5, 6, 21, 22, 40]);
}

#[test]
fn sequence_numbers_resolve_to_the_nearest_index() {
    let near = PacketIndex::new(3, 10);
    assert_eq!(resolve(9, near), PacketIndex::new(3, 9));
    assert_eq!(resolve(65_530, near), PacketIndex::new(2, 65_530));
    assert_eq!(resolve(20, near), PacketIndex::new(3, 20));
    assert_eq!(resolve(5, PacketIndex::new(3, 65_500)), PacketIndex::new(4, 5));
    assert_eq!(resolve(65_530, PacketIndex(10)), PacketIndex(65_530));
}

#[test]
fn malformed_packets_are_refused() {
    let mut whole = Vec::new();
    receiver_report(&mut whole, ME, &[block()]);
    for cut in 1..whole.len() {
        assert!(items(&whole[..cut]).is_none(), "{cut}");
    }
    let mut padded = whole.clone();
    padded[0] |= 0x20;
    assert!(items(&padded).is_none());
    // More blocks than there are bytes.
    whole[0] = 0x82;
    assert!(items(&whole).is_none());
    // A heartbeat with half an entry; a NACK without entries; RFC 8888 beyond its end.
    assert!(items(&[0x80, 204, 0, 3, 0, 0, 0, 0, b'S', b'O', b'L', b'H', 0, 0, 0, 0]).is_none());
    assert!(items(&[0x81, 205, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
    let short = [0x8b, 205, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 0];
    assert!(items(&short).is_none());
    // Unknown kinds are skipped.
    assert_eq!(items(&[0x80, 207, 0, 1, 0, 0, 0, 0]), Some(vec![]));
}

#[test]
fn items_are_bounded() {
    let mut out = Vec::new();
    (0..=MAX_ITEMS).for_each(|_| pli(&mut out, ME, MEDIA));
    let mut seen = 0;
    assert!(!parse(&out, |_| seen += 1));
    assert_eq!(seen, MAX_ITEMS);
}

proptest! {
    #[test]
    fn garbage_does_not_panic(
        mut data in prop::collection::vec(any::<u8>(), 0..300), kind in 199u8..208, count in 0u8..32,
        shaped: bool,
    ) {
        if shaped && data.len() >= 8 {
            data.truncate(data.len() / 4 * 4);
            let words = (data.len() / 4 - 1) as u16;
            data[..2].copy_from_slice(&[0x80 | count, kind]);
            data[2..4].copy_from_slice(&words.to_be_bytes());
        }
        let _ = is_rtcp(&data);
        parse(&data, |item| match item {
            Item::Nack { entries, .. } => { nack_seqs(entries).count(); }
            Item::Congestion { metrics: m, .. } => { metrics(m).count(); }
            Item::Heartbeat(entries) => { heartbeat_entries(entries).count(); }
            _ => {}
        });
    }

    #[test]
    fn nacks_cover_what_is_missing(
        steps in prop::collection::vec(1u64..40, 1..500), start in 0u64..1 << 20,
    ) {
        let indexes: Vec<PacketIndex> = steps
            .iter()
            .scan(start, |at, step| { *at += step; Some(PacketIndex(*at)) })
            .collect();
        let (mut left, mut got) = (&indexes[..], Vec::new());
        while !left.is_empty() {
            let mut out = Vec::new();
            let near = left[0];
            let covered = nack(&mut out, ME, MEDIA, left);
            prop_assert!(covered > 0 && out.len() <= 1000);
            left = &left[covered..];
            let items = items(&out).unwrap();
            let [Item::Nack { entries, .. }] = items[..] else { panic!("{items:?}") };
            got.extend(nack_seqs(entries).map(|seq| resolve(seq, near)));
        }
        prop_assert_eq!(got, indexes);
    }

    #[test]
    fn resolving_is_exact_within_half_a_circle(near in 40_000u64..1 << 47, off in -32_000i64..32_000) {
        let index = PacketIndex(near.saturating_add_signed(off));
        prop_assert_eq!(resolve(index.seq(), PacketIndex(near)), index);
    }
}
