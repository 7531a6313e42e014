//! Nodes of another version than the root: which tickets they get, and what they are told of others.

use super::*;

fn old(role: Role, name: &str, key: u8) -> Hello {
    Hello { version: 1, ..hello(role, name, key) }
}

/// Parents of the last REDIRECT: id, version, and the version that the ticket is for.
fn offers(rig: &Rig) -> Vec<(String, u32, String)> {
    let (_, redirect) = rig.redirects.last().unwrap();
    let of = |p: &soleil_protocol::message::ParentOffer| {
        let text = String::from_utf8(p.ticket.clone()).unwrap();
        (p.id.to_string(), p.version, text.split(' ').nth(5).unwrap().to_owned())
    };
    redirect.parents.iter().map(of).collect()
}

fn offer(name: &str, version: u32, ticket: &str) -> (String, u32, String) {
    (name.to_owned(), version, ticket.to_owned())
}

/// Attaches the relay `a` of version 1, then `b` of ours, below the root.
fn mixed() -> Rig {
    let mut rig = Rig::new(6);
    rig.attach_as(Role::Relay, old(Role::Relay, "a", 1), 1);
    rig.attach(Role::Relay, "b", 2);
    rig
}

#[test]
fn a_ticket_is_one_that_the_parent_understands() {
    let mut rig = mixed();
    rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    assert_eq!(offers(&rig), [offer("a", 1, "1"), offer("b", 2, "2"), offer("root", 2, "2")]);
    // Who does not know what versions of parents are is not told of them.
    rig.join(Role::Leaf, old(Role::Leaf, "late", 4));
    assert_eq!(offers(&rig), [offer("a", 1, "1"), offer("b", 1, "2"), offer("root", 1, "2")]);
}

#[test]
fn a_root_of_version_1_makes_tickets_of_version_1() {
    let config = RootConfig {
        id: id("root"),
        server: HostPort { host: "root.example".into(), port: 7443 },
        media: Vec::new(),
        capacity: Capacity { children: 4, viewers: 0, egress: 0 },
        region: String::new(),
        avoid_unsteady: true,
    };
    let mut rig = Rig::new(4);
    rig.core = RootCore::new(config, Box::new(Plain), Box::new(Plain), [1; 32]).speaking(1);
    rig.step(Event::Timeout);
    rig.attach(Role::Relay, "a", 1);
    rig.join(Role::Leaf, hello(Role::Leaf, "leaf", 3));
    assert_eq!(offers(&rig), [offer("a", 1, "1"), offer("root", 1, "1")]);
}

/// A node may know more than the root wrote down when it joined: it says so when it is asked.
#[test]
fn others_are_told_when_a_node_turns_out_to_be_newer() {
    let mut rig = Rig::new(6);
    let (a, _) = rig.attach_as(Role::Relay, old(Role::Relay, "a", 1), 1);
    rig.attach(Role::Relay, "b", 2);
    let (leaf, _) = rig.attach(Role::Leaf, "leaf", 3);
    rig.wait(4 * SEC);
    rig.wait(4 * SEC);
    let before = rig.redirects.len();
    let stat = Stat { name: "version".into(), value: 2.0, weight: None };
    let stats = vec![stat];
    let container = StatsContainer { start: 1, end: 2, children: 0, id: None, stats };
    let body = FullStats { containers: vec![container], end: None };
    rig.message(a, "a", Some("^"), Body::FullStats(body));
    for _ in 0..4 {
        rig.wait(SEC);
        for (conn, name) in [(a, "a"), (leaf, "leaf")] {
            rig.message(conn, name, None, Body::ChildsUpdate(ChildsUpdate::default()));
        }
    }
    let told = &rig.redirects[before..];
    let versions = told.iter().flat_map(|(_, r)| &r.parents).filter(|p| p.id == id("a"));
    let versions: Vec<u32> = versions.map(|p| p.version).collect();
    assert!(versions.contains(&2) && !versions.contains(&1), "{versions:?}");
    assert_eq!(
        rig.kept.iter().rev().find_map(|memory| match memory {
            Memory::Node(node) if node.id == id("a") => Some(node.version),
            _ => None,
        }),
        Some(2),
        "and the store knows"
    );
}
