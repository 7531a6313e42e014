//! No number of an epoch is ever used twice: whatever streams do, wherever the clock stands, and over
//! starts of the root.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Op {
    Define(u32),
    Remove(u32),
    Rotate(u32),
    /// Milliseconds.
    Wait(u64),
    /// The time of day is set to this second.
    Clock(u64),
    /// The root starts anew, with what the store has.
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..4u32).prop_map(Op::Define),
        4 => (1..4u32).prop_map(Op::Remove),
        3 => (1..4u32).prop_map(Op::Rotate),
        4 => (0..2_500u64).prop_map(Op::Wait),
        1 => (990..1_020u64).prop_map(Op::Clock),
        1 => Just(Op::Restart),
    ]
}

/// The number that the store gives to the next start (`Store::first_epoch`).
fn first_epoch(now: Now, kept: &[Memory], before: u32) -> u32 {
    let used = kept.iter().filter_map(|memory| match memory {
        Memory::Epoch(epoch) => Some(epoch.0),
        _ => None,
    });
    let last = used.max().unwrap_or(0).max(before);
    ((now.wall.0 / SEC) as u32).max(last + 1)
}

proptest! {
    #[test]
    fn no_epoch_is_used_twice(ops in proptest::collection::vec(op(), 1..60)) {
        let mut rig = Rig::new(4);
        let (mut first, mut used) = (0, BTreeSet::new());
        for op in ops {
            let pipeline = |n| PipelineDef { id: PipelineId(n), ..def("any") };
            let said = match op {
                Op::Define(n) => rig.command(RootCommand::DefinePipeline(pipeline(n))),
                Op::Remove(n) => rig.command(RootCommand::RemovePipeline(PipelineId(n), String::new())),
                Op::Rotate(n) => rig.command(RootCommand::Rotate(PipelineId(n))),
                Op::Wait(millis) => rig.wait(millis * 1_000),
                Op::Clock(seconds) => {
                    rig.now.wall = Wall(seconds * SEC);
                    Vec::new()
                }
                Op::Restart => {
                    first = first_epoch(rig.now, &rig.kept, first);
                    let mut next = Rig::new(4);
                    next.now = rig.now;
                    next.core.restore(rig.now.mono, Vec::new(), Epoch(first));
                    rig = next;
                    Vec::new()
                }
            };
            for line in said.iter().filter(|line| line.starts_with("key ")) {
                let epoch: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
                prop_assert!(used.insert(epoch), "{epoch} again, {used:?}");
            }
        }
    }
}

#[test]
fn a_stream_that_is_stopped_and_started_within_a_second_has_another_epoch() {
    let mut rig = Rig::new(4);
    let key = |rig: &mut Rig| {
        let said = rig.command(RootCommand::DefinePipeline(def("demo")));
        said.into_iter().rfind(|s| s.starts_with("key")).unwrap()
    };
    assert_eq!(key(&mut rig), "key 1 1000");
    rig.command(RootCommand::RemovePipeline(PipelineId(1), "stopped".into()));
    assert_eq!(key(&mut rig), "key 1 1001");
}
