//! The parsers of what comes in on a node's UDP port.

use relay_node::media::api::PipelineKey;
use relay_node::media::packet::{HopPacket, Opener};
use relay_node::media::sizes::HOP_HEADER;
use relay_node::media::{rtcp, stun};
use soleil_protocol::Epoch;

/// A hop packet that is read is written back the same, and nobody without the key makes one that
/// opens.
pub fn hop_packet(data: &[u8]) {
    let Ok(packet) = HopPacket::parse(data) else { return };
    assert_eq!(packet.header.to_bytes(), data[..HOP_HEADER]);
    let opener = Opener::new(&PipelineKey { key: [0x5a; 16], salt: [0xa5; 12] }, Epoch(1));
    assert!(opener.open(&mut data.to_vec(), &packet.header).is_err());
}

/// RTCP has a bounded number of items, each with a bounded number of entries.
pub fn hop_rtcp(data: &[u8]) {
    if !rtcp::is_rtcp(data) {
        return;
    }
    let (mut items, mut entries) = (0, 0);
    rtcp::parse(data, |item| {
        items += 1;
        entries += match item {
            rtcp::Item::Nack { entries, .. } => rtcp::nack_seqs(entries).count(),
            rtcp::Item::Congestion { metrics, .. } => rtcp::metrics(metrics).count(),
            rtcp::Item::Heartbeat(entries) => rtcp::heartbeat_entries(entries).count(),
            _ => 1,
        };
    });
    assert!(items <= rtcp::MAX_ITEMS);
    // At best a NACK's four bytes name 17 packets.
    assert!(entries <= 5 * data.len());
}

/// STUN that is read can be checked; an answer to it can be written and read.
pub fn hop_stun(data: &[u8]) {
    let Some(message) = stun::Message::parse(data) else { return };
    assert!(stun::is_stun(data) && data.len() <= stun::MAX_STUN);
    let key = stun::password_key("0123456789abcdef");
    let _ = message.verify(&key);
    let mapped = message.mapped.unwrap_or_else(|| ([192, 0, 2, 1], 7000).into());
    let mut answer = Vec::new();
    stun::write_success(&mut answer, &message.transaction, mapped, &key);
    let read = stun::Message::parse(&answer).expect("our own answer");
    assert!(read.verify(&key) && read.mapped == Some(mapped));
    assert_eq!(read.transaction, message.transaction);
}
