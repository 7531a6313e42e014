//! What nodes are told of the plan: backups and ranks with a join, news of them later, moves.

use super::*;

/// A leaf that is attached below a relay and says so through it.
pub(super) fn below(rig: &mut Rig, relay: ConnId, parent: &str, name: &str, incarnation: u64) {
    let incarnation = Incarnation(incarnation);
    let child = Child { id: id(name), incarnation, parent: id(parent), weight: 1 };
    let update = ChildsUpdate { added: vec![child], removed: vec![] };
    rig.message(relay, parent, None, Body::ChildsUpdate(update));
}

/// Waits, while relays answer.
pub(super) fn pass(rig: &mut Rig, relays: &[(ConnId, &str)], micros: u64) -> Vec<String> {
    let said = Rig::quiet(rig.wait(micros));
    for (conn, name) in relays {
        let of = |ping: &(ConnId, Echo)| ping.0 == *conn;
        let pings: Vec<Echo> = rig.pings.iter().filter(|p| of(p)).map(|p| p.1.clone()).collect();
        rig.pings.retain(|ping| !of(ping));
        for ping in pings {
            rig.message(*conn, name, None, Body::Pong(ping));
        }
        rig.message(*conn, name, None, Body::ChildsUpdate(ChildsUpdate::default()));
    }
    said
}

/// Numbers in the tickets of the last REDIRECT: incarnation, and the rank behind a backup's.
fn tickets(rig: &Rig) -> Vec<(u64, Option<u32>)> {
    let (_, redirect) = rig.redirects.last().unwrap();
    let read = |ticket: &[u8]| {
        let text = String::from_utf8(ticket.to_vec()).unwrap();
        let parts: Vec<&str> = text.split(' ').collect();
        let rank = (parts[4] != "-").then(|| parts[4].parse().unwrap());
        (parts[2].parse().unwrap(), rank)
    };
    redirect.parents.iter().map(|p| read(&p.ticket)).collect()
}

#[test]
fn a_joiner_gets_a_parent_and_backups_in_order() {
    let mut rig = Rig::new(4);
    rig.attach(Role::Relay, "a", 1);
    let (_, said) = rig.attach(Role::Relay, "b", 2);
    assert_eq!(rig.redirects.last().unwrap().1.parents[1].id, id("a"), "{said:?}");
    let said = rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    assert_eq!(said, ["redirect >- leaf/1 below a,b,root"]);
    let (_, redirect) = rig.redirects.last().cloned().unwrap();
    assert_eq!(redirect.rank, Rank((2 << 24) | 3));
    let rank = Some(redirect.rank.0);
    assert_eq!(tickets(&rig), [(1, None), (2, rank), (3, rank)], "forward in incarnations");
    let view = rig.core.view();
    assert_eq!(view.nodes[3].backups, [id("b"), id("root")]);
    assert_eq!(rig.core.view().nodes[1].rank, Rank((1 << 24) | 1));
}

#[test]
fn who_has_better_backups_than_before_is_told_once() {
    let mut rig = Rig::new(4);
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    let said = rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    assert_eq!(said, ["redirect >- leaf/1 below a,root"]);
    below(&mut rig, a, "a", "leaf", 1);
    assert_eq!(pass(&mut rig, &[(a, "a")], SEC / 2), [""; 0], "it was told with the join");
    let (b, _) = rig.attach(Role::Relay, "b", 2);
    let relays = [(a, "a"), (b, "b")];
    let news = format!("{} redirect >leaf - below a,b,root", a.0);
    assert_eq!(pass(&mut rig, &relays, SEC / 4), [news]);
    let rank = Some((2 << 24) | 2);
    assert_eq!(tickets(&rig), [(3, None), (4, rank), (5, rank)], "after those that it has");
    assert_eq!(pass(&mut rig, &relays, SEC / 2), [""; 0]);
    // It has gone to b by itself.
    below(&mut rig, b, "b", "leaf", 4);
    let removed = vec![(id("leaf"), Incarnation(1))];
    let update = ChildsUpdate { added: vec![], removed };
    rig.message(a, "a", None, Body::ChildsUpdate(update));
    let news = format!("{} redirect >leaf - below b,a,root", b.0);
    assert_eq!(pass(&mut rig, &relays, SEC / 2), [news]);
    // b dies, and the leaf with it as far as the root knows: nobody is told anything.
    rig.step(Event::Closed(b));
    assert_eq!(pass(&mut rig, &relays[..1], SEC / 2), [""; 0]);
}

#[test]
fn a_measured_delay_moves_a_node_if_that_pays() {
    let mut rig = Rig::new(4);
    let (a, _) = rig.attach(Role::Relay, "a", 1);
    let (b, _) = rig.attach(Role::Relay, "b", 2);
    rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    below(&mut rig, a, "a", "leaf", 1);
    let stats = |rtts: &[(&str, f64)]| {
        let stat = |(name, value): &(&str, f64)| Stat {
            name: (*name).to_owned(),
            value: *value,
            weight: None,
        };
        let stats = rtts.iter().map(stat).collect();
        let container = StatsContainer { start: 1, end: 2, children: 0, id: None, stats };
        Body::FullStats(FullStats { containers: vec![container], end: None })
    };
    let relays = [(a, "a"), (b, "b")];
    let report = |rig: &mut Rig, rtts: &[(&str, f64)]| {
        rig.message(a, "leaf", Some("^"), stats(rtts));
        (0..10).flat_map(|_| pass(rig, &relays, SEC / 4)).collect::<Vec<_>>()
    };
    assert_eq!(report(&mut rig, &[("rtt.a", 60.0), ("rtt.b", 30.0)]), [""; 0], "15 ms one way");
    let nonsense = [("rtt.a", f64::NAN), ("rtt.", 1.0), ("rtt.nobody", 1.0), ("rtt.leaf", 1.0)];
    assert_eq!(report(&mut rig, &nonsense), [""; 0]);
    let moved = format!("{} redirect >leaf - below b,root", a.0);
    assert_eq!(report(&mut rig, &[("rtt.a", 90.0), ("rtt.b", 30.0)]), [moved]);
}
