//! What a root that starts again finds: nodes, layers, epochs, on a real database.

use super::*;
use crate::core::adopt::{Memory, Remembered};
use crate::ingest::LayerStart;
use crate::store::layers::LayerName;
use crate::store::writer::{Batch, Writer};
use relay_node::media::sizes::INDEX_LEAP;
use relay_node::ops::MetricsSource;
use soleil_protocol::message::{Capacity, HostPort};
use soleil_protocol::pipeline::Codec;
use soleil_protocol::{Epoch, Incarnation, NodeId, PacketIndex, Ssrc};
use std::sync::Arc;

fn node(name: &str, role: Role) -> Remembered {
    let relay = role == Role::Relay;
    Remembered {
        id: NodeId::new(name).unwrap(),
        role,
        key: [7; 32],
        wrap_key: vec![8; 32],
        issued: Incarnation(66),
        server: relay.then(|| HostPort { host: "2001:db8::1".into(), port: 7_443 }),
        media: vec!["192.0.2.1:1".parse().unwrap(), "[2001:db8::1]:65535".parse().unwrap()],
        http: (!relay).then(|| "https://leaf.example/?a=\"b\"".into()),
        region: "é, \"n\"".into(),
        labels: vec![("rack".into(), "4;'".into()), (String::new(), "=".into())],
        capacity: Capacity { children: u32::MAX, viewers: 0, egress: 10_000_000_000 },
        token: "t1".into(),
        killed: relay,
        serial: if relay { 16_777_215 } else { 0 },
        version: if relay { 2 } else { 1 },
    }
}

fn batch(memories: impl IntoIterator<Item = Memory>) -> Batch {
    let mut batch = Batch::default();
    memories.into_iter().for_each(|memory| batch.add(memory));
    batch
}

fn put(node: &Remembered) -> Memory {
    Memory::Node(Box::new(node.clone()))
}

#[test]
fn nodes_are_there_after_reopening() {
    let (dir, store) = store();
    let (mut a, b) = (node("a", Role::Relay), node("b", Role::Leaf));
    store.write(&batch([put(&a), put(&b), put(&node("c", Role::Leaf))])).unwrap();
    a.issued = Incarnation(130);
    a.killed = false;
    a.server = None;
    store.write(&batch([put(&a), Memory::Gone(NodeId::new("c").unwrap())])).unwrap();
    drop(store);
    let again = Store::open(&dir.path().join("data")).unwrap();
    assert_eq!(again.nodes().unwrap(), [a, b]);
}

#[test]
fn a_damaged_row_is_named() {
    let rows = [
        ("media = 'nonsense'", "media"),
        ("media = '[\"nowhere\"]'", "media"),
        ("labels = '{}'", "labels"),
        ("server_port = NULL", "without a port"),
        ("key_sha256 = x'00'", "32 bytes"),
        ("role = 'root'", "no role"),
        ("issued = -1", "out of range"),
        ("id = 'a b'", "a b"),
    ];
    for (damage, named) in rows {
        let (_dir, store) = store();
        store.write(&batch([put(&node("a", Role::Relay))])).unwrap();
        store.lock().pragma_update(None, "ignore_check_constraints", true).unwrap();
        store.lock().execute(&format!("UPDATE nodes SET {damage}"), []).unwrap();
        let error = store.nodes().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{damage}: {error}");
        let error = error.to_string();
        let all = ["root.db", "table nodes", named, "joins again"];
        assert!(all.iter().all(|word| error.contains(word)), "{damage}: {error}");
    }
}

fn layer(store: &Store, now: Wall, codec: Codec, random: &[u32]) -> Result<LayerStart, StoreError> {
    let mut random = random.iter().copied();
    let name = LayerName { stream: PipelineId(1), track: "video", layer: 0, codec };
    store.layer(now, name, &mut || random.next().unwrap())
}

#[test]
fn a_layer_keeps_its_ssrc_and_goes_on_above_what_it_used() {
    let (dir, store) = store();
    let first = layer(&store, at(0), Codec::H264, &[0, 9]).unwrap();
    assert_eq!(first.ssrc, Ssrc(9));
    // It has used a good part of what it reserved, and reserved more.
    let mut used = Batch::default();
    let high = PacketIndex(first.reserved.0 + 5 * INDEX_LEAP);
    used.indexes.insert(Ssrc(9), high);
    store.write(&used).unwrap();
    used.indexes.insert(Ssrc(9), first.index);
    store.write(&used).unwrap();
    drop(store);
    let store = Store::open(&dir.path().join("data")).unwrap();
    // Whether the clock stands, goes on or was set back.
    let mut last = high;
    for secs in [0, 1, 0, 3_600, 7] {
        let next = layer(&store, at(secs), Codec::H264, &[]).unwrap();
        assert_eq!(next.ssrc, Ssrc(9));
        assert!(next.index.0 >= last.0 + INDEX_LEAP, "{next:?} after {last:?}");
        last = next.reserved;
    }
    // Another layer, and another codec, is another source.
    let other = LayerName { stream: PipelineId(1), track: "video", layer: 1, codec: Codec::H264 };
    let mut ssrcs = [9, 10].into_iter();
    let other = store.layer(at(0), other, &mut || ssrcs.next().unwrap()).unwrap();
    assert_eq!(other.ssrc, Ssrc(10));
    assert_eq!(layer(&store, at(0), Codec::Vp8, &[10, 11]).unwrap().ssrc, Ssrc(11));
}

#[test]
fn an_old_backup_is_outrun_by_the_clock() {
    let (_dir, store) = store();
    let first = layer(&store, at(0), Codec::H264, &[9]).unwrap();
    // A day of 5,000 packets a second was sent, and the store knows nothing of it.
    let sent = first.index.0 + 86_400 * 5_000;
    let next = layer(&store, at(86_400), Codec::H264, &[]).unwrap();
    assert!(next.index.0 >= sent + INDEX_LEAP);
}

#[test]
fn a_layer_that_makes_no_sense_is_named() {
    let (_dir, store) = store();
    layer(&store, at(0), Codec::H264, &[9]).unwrap();
    store.lock().execute("UPDATE layers SET reserved = 1 << 48", []).unwrap();
    let error = layer(&store, at(0), Codec::H264, &[]).unwrap_err().to_string();
    assert!(error.contains("table layers") && error.contains("\"video\""), "{error}");
}

#[test]
fn epochs_only_rise() {
    let (dir, store) = store();
    let secs = |wall: Wall| (wall.0 / 1_000_000) as u32;
    assert_eq!(store.first_epoch(at(100)).unwrap(), Epoch(secs(at(100))));
    store.write(&batch([Memory::Epoch(Epoch(secs(at(150))))])).unwrap();
    store.write(&batch([Memory::Epoch(Epoch(3))])).unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap();
    assert_eq!(store.first_epoch(at(0)).unwrap(), Epoch(secs(at(151))));
    assert_eq!(store.first_epoch(at(0)).unwrap(), Epoch(secs(at(152))));
    assert_eq!(store.first_epoch(at(900)).unwrap(), Epoch(secs(at(900))));
    store.write(&batch([Memory::Epoch(Epoch(u32::MAX))])).unwrap();
    let error = store.first_epoch(at(0)).unwrap_err().to_string();
    assert!(error.contains("table marks"), "{error}");
}

#[test]
fn the_writer_writes_all_before_it_ends() {
    let (_dir, store) = store();
    let store = Arc::new(store);
    let first = layer(&store, at(0), Codec::H264, &[9]).unwrap();
    let writer = Writer::start(store.clone()).unwrap();
    let notes = writer.notes();
    for n in 0..500 {
        notes.memory(put(&node(&format!("n{n}"), Role::Leaf)));
    }
    notes.memory(Memory::Gone(NodeId::new("n3").unwrap()));
    notes.index(Ssrc(9), PacketIndex(first.reserved.0 + 1));
    drop(writer);
    assert_eq!(store.nodes().unwrap().len(), 499);
    let next = layer(&store, at(0), Codec::H264, &[]).unwrap();
    assert_eq!(next.index.0, first.reserved.0 + 1 + INDEX_LEAP);
}

#[test]
fn what_cannot_be_written_is_counted_and_tried_again() {
    let (_dir, store) = store();
    let store = Arc::new(store);
    store.lock().execute("ALTER TABLE nodes RENAME TO elsewhere", []).unwrap();
    let writer = Writer::start(store.clone()).unwrap();
    let notes = writer.notes();
    notes.memory(put(&node("a", Role::Relay)));
    let counted = |name: &str| {
        let mut text = String::new();
        notes.write_metrics(&mut text);
        let line = text.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    while counted("soleil_root_store_write_failures_total") == 0 {
        std::thread::yield_now();
    }
    notes.memory(put(&node("b", Role::Leaf)));
    store.lock().execute("ALTER TABLE elsewhere RENAME TO nodes", []).unwrap();
    drop(writer);
    let ids: Vec<_> = store.nodes().unwrap().into_iter().map(|n| n.id.to_string()).collect();
    assert_eq!(ids, ["a", "b"], "the first one was not lost");
    assert_eq!(counted("soleil_root_store_writes_total"), 1);
}
