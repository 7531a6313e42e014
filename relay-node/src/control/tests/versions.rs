//! Neighbours of another version: what is said to them, what is made of what they say.

use super::rig::*;
use crate::control::api::*;
use soleil_protocol::message::*;
use soleil_protocol::*;

/// A REDIRECT that names `p`, where the node is, and backups with the versions that they speak.
fn backups(parents: &[(&str, u64, u32)]) -> Message {
    let parents = parents.iter().map(|(name, link, version)| {
        let version = *version;
        ParentOffer { version, ..offer(name, *link) }
    });
    let (rank, mode) = (Rank(9), MoveMode::Overlap);
    let body = Redirect { rank, mode, identity: None, parents: parents.collect() };
    from_root(Some("me"), Body::Redirect(Box::new(body)))
}

fn said_by(rig: &mut Rig, event: Event<NodeCommand>) -> Vec<Message> {
    rig.core.handle(rig.now, event);
    let actions = std::iter::from_fn(|| rig.core.poll_action());
    actions
        .filter_map(|action| match action {
            Action::Send(_, message) => Some(message),
            _ => None,
        })
        .collect()
}

/// A relay that speaks version 1, attached to `p`.
fn old() -> Rig {
    let mut rig = Rig::speaking(1, Role::Relay, 2);
    rig.step(Event::Timeout);
    rig.dialed(1, ROOT_CONN);
    rig.message(ROOT_CONN, from_root(None, redirect(3_600 * SEC, vec![offer("p", 5)])));
    rig.dialed(2, PARENT);
    rig.message(PARENT, greeting("p", "me"));
    rig.open(5);
    rig
}

#[test]
fn every_hello_says_the_version() {
    for (mut rig, version) in [(Rig::attached(), VERSION), (old(), 1)] {
        assert_eq!(rig.core.speaks(), version);
        rig.step(Event::Closed(PARENT));
        rig.wait(300 * MS);
        let local = "192.0.2.9:9".parse().unwrap();
        let dialed = Event::Dialed { dial: DialId(3), conn: ConnId(4), local };
        let said = said_by(&mut rig, dialed);
        let Some(Body::Hello(hello)) = said.first().map(|m| &m.body) else { panic!("{said:?}") };
        assert_eq!(hello.version, version);
    }
}

/// One of version 1 would take the node for its child: it is dialed when it is needed.
#[test]
fn only_backups_that_know_warm_links_are_kept_warm() {
    let mut rig = Rig::attached();
    let plan = [("p", 15, 2), ("q", 6, 1), ("r", 7, 2)];
    assert_eq!(rig.message(PARENT, backups(&plan)), ["dial 3 r"]);
    let mut rig = Rig::attached();
    let plan = [("p", 15, 2), ("q", 6, 1), ("r", 7, 1)];
    assert_eq!(rig.message(PARENT, backups(&plan)), [""; 0]);
    assert_eq!(
        rig.step(Event::Closed(PARENT)),
        ["remove link 5", "attached false", "dial 3 q"],
        "but it is a backup all the same"
    );
    assert_eq!(rig.dialed(3, ConnId(3)), ["3 hello me>q"], "as a child");
}

#[test]
fn a_node_of_version_1_keeps_no_warm_link_and_does_not_know_the_word() {
    let mut rig = old();
    assert_eq!(rig.message(PARENT, backups(&[("p", 15, 1), ("q", 6, 1)])), [""; 0]);
    // `warm` is an element that it does not know: whoever says it is a child.
    rig.accept(CHILD, "c");
    let Message { body: Body::Hello(mut hello), .. } = child_hello("c", "me c 1 20 9", "me") else {
        panic!("a HELLO");
    };
    hello.warm = true;
    let said = rig.message(CHILD, message(Some("c"), Some("me"), Body::Hello(hello)));
    assert_eq!(said, ["add link 20 child", "10 hello me>c"]);
}

/// An element that the spoken version does not have is passed over.
#[test]
fn a_child_of_version_1_is_a_child_whatever_else_it_says() {
    let mut rig = Rig::attached();
    rig.accept(CHILD, "c");
    let Message { body: Body::Hello(mut hello), .. } = child_hello("c", "me c 1 20 9", "me") else {
        panic!("a HELLO");
    };
    (hello.version, hello.warm) = (1, true);
    let said = rig.message(CHILD, message(Some("c"), Some("me"), Body::Hello(hello)));
    assert_eq!(said, ["add link 20 child", "10 hello me>c"]);
    assert_eq!(rig.open(20), ["2 childsupdate me>- +c"]);
}

#[test]
fn versions_that_are_too_far_apart_are_refused_by_both() {
    let mut rig = old();
    for (version, good) in [(0, true), (1, true), (2, true), (3, false)] {
        rig.accept(CHILD, "c");
        let Message { body: Body::Hello(mut hello), .. } =
            child_hello("c", &format!("me c 1 {} 9", 20 + version), "me")
        else {
            panic!("a HELLO");
        };
        hello.version = version;
        let said = rig.message(CHILD, message(Some("c"), Some("me"), Body::Hello(hello)));
        let refused = said == ["10 error me>- version hello", "close 10"];
        assert_eq!(refused, !good, "{version}: {said:?}");
        rig.step(Event::Closed(CHILD));
    }
    assert_eq!(rig.refused, ["version"]);
    // And a parent of such a version is left for the next one.
    let mut rig = Rig::new(Role::Relay, 2);
    rig.step(Event::Timeout);
    rig.dialed(1, ROOT_CONN);
    let offers = vec![offer("p", 5), offer("q", 6)];
    rig.message(ROOT_CONN, from_root(None, redirect(3_600 * SEC, offers)));
    rig.dialed(2, PARENT);
    let Message { body: Body::Hello(mut hello), .. } = greeting("p", "me") else {
        panic!("a HELLO");
    };
    hello.version = VERSION + 2;
    let said = rig.message(PARENT, message(Some("p"), Some("me"), Body::Hello(hello)));
    assert_eq!(said, ["2 error me>- version hello", "close 2", "dial 3 q"]);
}
