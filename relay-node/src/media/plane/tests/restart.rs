//! The root has started again: another key, indexes far above those of before.

use super::*;
use crate::media::sizes::INDEX_LEAP;

fn other_key() -> PipelineKey {
    PipelineKey { key: [9; 16], salt: [2; 12] }
}

/// A chain in which all have had 50 packets, and the root now seals with another key that it alone
/// has.
fn after_restart(epoch: u32) -> Net {
    let mut net = Net::chain(3, 1);
    for i in 0..50 {
        net.send(VIDEO, i);
        net.run(10);
    }
    assert_eq!(net.got(2, VIDEO).len(), 50);
    net.command(0, PlaneCommand::AddKey(PIPE, Epoch(epoch), other_key()));
    net.sealer = Sealer::new(&other_key(), Epoch(epoch));
    net
}

/// The key comes to both nodes a moment after the media, to the nearer one first.
fn key_comes_late(epoch: u32) {
    let mut net = after_restart(epoch);
    let first = 50 + INDEX_LEAP;
    for i in 0..100 {
        net.send(VIDEO, first + i);
        net.run(5);
        if i == 20 || i == 60 {
            let node = 1 + usize::from(i == 60);
            net.command(node, PlaneCommand::AddKey(PIPE, Epoch(epoch), other_key()));
        }
    }
    net.run(1_000);
    let mut got = net.got(2, VIDEO).split_off(50);
    got.sort_unstable();
    assert_eq!(got, (first..first + 100).collect::<Vec<_>>(), "from the very first one on");
    for node in [1, 2] {
        let stats = net.layer(node);
        assert_eq!((stats.lost, stats.missing), (0, 0), "the leap is no loss");
        assert!(stats.missed <= 65, "and nothing else is asked for: {}", stats.missed);
    }
}

#[test]
fn what_came_before_its_key_is_repaired() {
    key_comes_late(2);
}

#[test]
fn even_if_the_old_key_has_the_same_name() {
    key_comes_late(1 + 256);
}

#[test]
fn an_old_stray_is_not_asked_for() {
    let mut net = after_restart(2);
    let first = 50 + INDEX_LEAP;
    net.send(VIDEO, first);
    net.run(3_000);
    for node in [1, 2] {
        net.command(node, PlaneCommand::AddKey(PIPE, Epoch(2), other_key()));
    }
    for i in 1_000..1_010 {
        net.send(VIDEO, first + i);
        net.run(10);
    }
    net.run(500);
    let got = net.got(2, VIDEO).split_off(50);
    assert_eq!(got, (first + 1_000..first + 1_010).collect::<Vec<_>>());
    assert_eq!(net.layer(2).missed, 0);
}
