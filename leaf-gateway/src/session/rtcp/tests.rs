//! Our RTCP against `rtc-rtcp`, an independent codec, and against noise.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::packet::Packet;
use rtc_rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport as TheirSr;
use rtc_rtcp::source_description::SourceDescription;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use rtc_shared::marshal::Marshal;

fn all(data: &[u8]) -> Vec<Feedback<'_>> {
    let mut items = vec![];
    read(data, |f| items.push(f));
    items
}

#[test]
fn reads_a_compound_of_another_codec() {
    let mut data = vec![];
    let rr = ReceiverReport {
        ssrc: 1,
        reports: vec![ReceptionReport {
            ssrc: 77,
            fraction_lost: 13,
            total_lost: 500,
            last_sequence_number: 9,
            jitter: 42,
            last_sender_report: 0xabcd,
            delay: 65_536,
        }],
        ..Default::default()
    };
    data.extend_from_slice(&rr.marshal().unwrap());
    let nack = TransportLayerNack {
        sender_ssrc: 1,
        media_ssrc: 77,
        nacks: vec![NackPair { packet_id: 65_530, lost_packets: 0b1000_0000_0000_0001 }],
    };
    data.extend_from_slice(&nack.marshal().unwrap());
    let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc: 78 };
    data.extend_from_slice(&pli.marshal().unwrap());
    let fir = FullIntraRequest {
        sender_ssrc: 1,
        media_ssrc: 0,
        fir: vec![FirEntry { ssrc: 79, sequence_number: 3 }],
    };
    data.extend_from_slice(&fir.marshal().unwrap());
    assert_eq!(
        all(&data),
        vec![
            Feedback::Report(ReportBlock {
                ssrc: 77,
                fraction_lost: 13,
                lost: 500,
                jitter: 42,
                last_sr: 0xabcd,
                delay: 65_536,
            }),
            Feedback::Nack { ssrc: 77, seq: 65_530, mask: 0x8001 },
            Feedback::KeyFrame { ssrc: 78 },
            Feedback::KeyFrame { ssrc: 79 },
        ]
    );
}

#[test]
fn lost_may_be_negative() {
    let mut data = vec![0x81, RR, 0, 7, 0, 0, 0, 1, 0, 0, 0, 77, 0, 0xff, 0xff, 0xfe];
    data.resize(32, 0);
    assert!(matches!(all(&data)[..], [Feedback::Report(ReportBlock { lost: -2, .. })]));
}

#[test]
fn nack_fields_unfold_and_wrap() {
    assert_eq!(nacked(65_530, 0x8001).collect::<Vec<_>>(), vec![65_530, 65_531, 10]);
    assert_eq!(nacked(5, 0).collect::<Vec<_>>(), vec![5]);
    assert_eq!(nacked(5, 0xffff).count(), 17);
}

#[test]
fn another_codec_reads_our_sender_report() {
    let report = SenderReport { ssrc: 77, ntp: 1 << 40, rtp: 5, packets: 6, octets: 7 };
    for cname in ["a", "abcdefgh", "0123456789abcdef0"] {
        let mut out = vec![];
        write_sender_report(&mut out, &report, cname);
        let packets = rtc_rtcp::packet::unmarshal(&mut Bytes::from(out)).unwrap();
        let sr = packets[0].as_any().downcast_ref::<TheirSr>().unwrap();
        assert_eq!((sr.ssrc, sr.ntp_time, sr.rtp_time), (77, 1 << 40, 5));
        assert_eq!((sr.packet_count, sr.octet_count), (6, 7));
        let sdes = packets[1].as_any().downcast_ref::<SourceDescription>().unwrap();
        assert_eq!(sdes.chunks[0].items[0].text, cname);
    }
}

#[test]
fn another_codec_reads_our_bye() {
    let mut out = vec![];
    write_bye(&mut out, &[7, 8], "name");
    let packets = rtc_rtcp::packet::unmarshal(&mut Bytes::from(out)).unwrap();
    let bye = packets[2].as_any().downcast_ref::<Goodbye>().unwrap();
    assert_eq!(bye.sources, vec![7, 8]);
    let mut out = vec![];
    write_bye(&mut out, &[], "name");
    assert!(out.is_empty());
}

#[test]
fn what_is_cut_off_is_ignored() {
    let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc: 78 };
    let data = pli.marshal().unwrap();
    for n in 0..data.len() {
        assert!(all(&data[..n]).is_empty());
    }
    let _ = pli.header();
}

proptest! {
    #[test]
    fn noise_is_harmless(mut data in proptest::collection::vec(any::<u8>(), 0..1500), pt in 199u8..208) {
        let mut n = 0usize;
        read(&data, |_| n += 1);
        if data.len() > 4 {
            data[0] = 0x80 | (data[0] & 0x1f);
            data[1] = pt;
            data[2] = 0;
            n = 0;
            read(&data, |_| n += 1);
        }
        prop_assert!(n <= 1500 / 4);
    }
}
