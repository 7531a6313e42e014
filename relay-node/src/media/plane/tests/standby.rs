//! A link to a backup: open, but nothing is routed over it. What the parent is late with comes
//! from there, and when the parent is gone it becomes the parent.

use super::*;

const PARENT: usize = 1;
const BACKUP: usize = 2;
const LEAF: usize = 3;
const STANDBY: LinkId = LinkId(9);

/// Root 0, two relays that both carry the picture, and a leaf below the first one with the second
/// as its backup.
fn diamond(seed: u64, delay_ms: u64) -> Net {
    let mut net = Net::new(4, seed);
    net.weather.delay = delay_ms * MS;
    net.link(1, 0, PARENT);
    net.link(2, 0, BACKUP);
    net.link(3, PARENT, LEAF);
    net.route(0, VIDEO, NextHop::Link(LinkId(1)), None);
    net.route(0, VIDEO, NextHop::Link(LinkId(2)), None);
    net.route(PARENT, VIDEO, NextHop::Link(LinkId(3)), None);
    // Somebody else's; the leaf's backup carries the picture for its own children.
    net.route(BACKUP, VIDEO, NextHop::Local, None);
    net.route(LEAF, VIDEO, NextHop::Local, None);
    net.run(20 * delay_ms);
    net
}

fn with_backup(net: &mut Net) {
    for (node, peer) in [(BACKUP, PeerSide::Child), (LEAF, PeerSide::Parent)] {
        let link = HopLink { standby: true, ..hop(9, peer, BACKUP) };
        net.command(node, PlaneCommand::AddLink(link));
    }
    net.run(20 * net.weather.delay / MS);
}

#[test]
fn nothing_is_sent_over_it_but_signs_of_life() {
    let mut net = diamond(1, 5);
    with_backup(&mut net);
    let opened = |e: &PlaneEvent| matches!(e, PlaneEvent::LinkOpen(STANDBY, _));
    assert!(
        net.nodes[LEAF].events.iter().any(opened) && net.nodes[BACKUP].events.iter().any(opened)
    );
    for i in 0..50 {
        net.send(VIDEO, i);
        net.run(10);
    }
    net.run(100);
    assert_eq!(net.got(LEAF, VIDEO), (0..50).collect::<Vec<_>>());
    assert_eq!(net.sent(BACKUP, LEAF), Vec::<u64>::new());
    // Key frames are asked for at the parent.
    let plis = |net: &Net, link| net.link_stats(LEAF, link).plis_sent;
    net.command(LEAF, PlaneCommand::RequestKeyFrame(PIPE, VIDEO));
    net.run(100);
    assert_eq!((plis(&net, 3), plis(&net, 9)), (1, 0));
    // When it dies that is noticed, like a parent's death.
    net.filter = Box::new(|from, to, _| (from, to) != (BACKUP, LEAF));
    net.run(400);
    assert!(net.nodes[LEAF].events.contains(&PlaneEvent::LinkSilent(STANDBY)));
    assert!(!net.nodes[LEAF].events.contains(&PlaneEvent::LinkSilent(LinkId(3))));
}

#[test]
fn what_the_parent_is_late_with_comes_from_the_backup() {
    let mut net = diamond(2, 5);
    with_backup(&mut net);
    net.filter = Box::new(|from, to, what| {
        (from, to) != (PARENT, LEAF) || !matches!(what, Kind::Media(_, 7 | 8 | 20))
    });
    for i in 0..30 {
        net.send(VIDEO, i);
        net.run(10);
    }
    net.run(300);
    let mut got = net.got(LEAF, VIDEO);
    got.sort_unstable();
    assert_eq!(got, (0..30).collect::<Vec<_>>());
    let mut sent = net.sent(BACKUP, LEAF);
    sent.dedup();
    assert_eq!(sent, [7, 8, 20], "only what was late, each once");
    // A repair from the backup does not make it the one to ask for key frames.
    net.command(LEAF, PlaneCommand::RequestKeyFrame(PIPE, VIDEO));
    net.run(50);
    assert_eq!(net.link_stats(LEAF, 3).plis_sent, 1);
}

#[test]
fn it_becomes_the_parent_and_fills_the_hole() {
    let mut net = diamond(3, 5);
    with_backup(&mut net);
    for i in 0..20 {
        net.send(VIDEO, i);
        net.run(10);
    }
    // The parent dies; it had been sending for a while without being heard.
    net.filter = Box::new(|from, _, _| from != PARENT);
    for i in 20..40 {
        net.send(VIDEO, i);
        net.run(10);
    }
    net.command(LEAF, PlaneCommand::TellPositions);
    let positions = net.nodes[LEAF].events.iter().rev().find_map(|event| match event {
        PlaneEvent::Positions(positions) => Some(positions.clone()),
        _ => None,
    });
    let next = net.got(LEAF, VIDEO).len() as u64;
    assert_eq!(positions, Some(vec![(VIDEO, PacketIndex(next))]));
    for node in [BACKUP, LEAF] {
        net.command(node, PlaneCommand::Promote(STANDBY));
    }
    net.command(LEAF, PlaneCommand::RemoveLink(LinkId(3)));
    net.route(BACKUP, VIDEO, NextHop::Link(STANDBY), Some(next));
    net.run(20);
    assert_eq!(net.got(LEAF, VIDEO), (0..40).collect::<Vec<_>>());
    assert_eq!(net.sent(BACKUP, LEAF), (next..40).collect::<Vec<_>>(), "nothing twice");
    net.send(VIDEO, 40);
    net.run(20);
    assert_eq!(net.got(LEAF, VIDEO).last(), Some(&40));
}

/// Share of the packets that are at the leaf within 200 ms of when they would be there if nothing
/// were lost. The parent's link loses 10 % both ways, every link takes 50 ms.
fn in_time(seed: u64, backup: bool) -> f64 {
    const PACKETS: u64 = 5000;
    const DELAY: u64 = 50;
    let mut net = diamond(seed, DELAY);
    if backup {
        with_backup(&mut net);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    net.filter = Box::new(move |from, to, _| {
        let bad = matches!((from, to), (PARENT, LEAF) | (LEAF, PARENT));
        !bad || !rng.random_bool(0.1)
    });
    // The first five seconds are not counted: that the hop is a lossy one is not known yet.
    let first = 1250;
    let mut nominal = BTreeMap::new();
    for i in 0..PACKETS {
        nominal.insert(i, net.now + 2 * DELAY * MS);
        net.send(VIDEO, i);
        net.run(4);
    }
    net.run(2000);
    let good = nominal.range(first..).filter(|(i, at)| {
        net.arrivals.get(&(LEAF, VIDEO, **i)).is_some_and(|came| *came <= **at + 200 * MS)
    });
    good.count() as f64 / (PACKETS - first) as f64
}

#[test]
fn a_link_that_loses_a_tenth_is_repaired_in_time() {
    for seed in 0..4 {
        let (alone, both) = (in_time(seed, false), in_time(seed, true));
        println!("seed {seed}: {alone} alone, {both} with a backup");
        assert!(alone >= 0.985, "seed {seed}: {alone} from the parent alone");
        assert!(both >= 0.999, "seed {seed}: {both} with a backup");
    }
}

#[test]
fn whether_there_is_a_way_to_the_root_is_heard_with_each_heartbeat() {
    let mut net = diamond(1, 5);
    with_backup(&mut net);
    // What is said anew; each report repeats it.
    let heard = |net: &Net| -> Vec<PlaneEvent> {
        let mut known = BTreeMap::new();
        let events = net.nodes[LEAF].events.iter().filter(|e| match e {
            PlaneEvent::CutOff(link, cut_off) => {
                known.insert(*link, *cut_off).unwrap_or(false) != *cut_off
            }
            _ => false,
        });
        events.cloned().collect()
    };
    assert_eq!(heard(&net), []);
    net.command(PARENT, PlaneCommand::SayCutOff(true));
    net.run(6);
    assert_eq!(heard(&net), [PlaneEvent::CutOff(LinkId(3), true)], "at once");
    // Over a link that nothing is routed over, too.
    net.command(BACKUP, PlaneCommand::SayCutOff(true));
    net.run(200);
    assert_eq!(heard(&net)[1..], [PlaneEvent::CutOff(STANDBY, true)], "and once");
    // One that was lost on the way is made up for by the next.
    net.filter = Box::new(|from, to, _| (from, to) != (PARENT, LEAF));
    net.command(PARENT, PlaneCommand::SayCutOff(false));
    net.run(20);
    net.filter = Box::new(|_, _, _| true);
    net.run(60);
    assert_eq!(heard(&net)[2..], [PlaneEvent::CutOff(LinkId(3), false)]);
    // An event that nobody has taken in time is made up for by the next report.
    net.nodes[LEAF].events.clear();
    net.run(2_500);
    assert_eq!(heard(&net), [PlaneEvent::CutOff(STANDBY, true)]);
}

#[test]
fn a_backup_that_is_behind_the_parent_asks_for_nothing_that_comes_by_itself() {
    let mut net = diamond(3, 5);
    with_backup(&mut net);
    // Two packets in a hundred are lost between parent and leaf, and the backup is 40 ms behind.
    net.longer.push((0, BACKUP, 40 * MS));
    net.filter = Box::new(|from, to, what| {
        let lost = matches!(what, Kind::Media(VIDEO, index) if index % 50 == 7);
        (from, to) != (PARENT, LEAF) || !lost
    });
    for i in 0..1_000 {
        net.send(VIDEO, i);
        net.run(4);
    }
    net.run(2_000);
    assert_eq!(net.nodes[BACKUP].plane.stats().layers[0].lost, 0);
    let asked = net.link_stats(BACKUP, 2).nacks_sent;
    assert!(asked <= 2, "{asked} packets were asked for that came by themselves");
}
