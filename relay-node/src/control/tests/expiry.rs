//! Certificates that run out, identities that are none, and nodes that the root removes.

use super::rig::*;
use crate::control::api::*;
use crate::control::limits::*;
use soleil_protocol::message::*;
use soleil_protocol::*;

/// Lets time pass in steps of a second; neighbours answer every PING, and the root speaks now and then.
/// What was said, without the clockwork.
fn pass(rig: &mut Rig, seconds: u64) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..seconds {
        for conn in [PARENT, CHILD] {
            if let Some(link) = rig.core.links.get_mut(conn) {
                link.forgive();
            }
        }
        if rig.core.parent().is_some() {
            rig.core.heard_root();
        }
        said.extend(Rig::quiet(rig.wait(SEC)));
    }
    said
}

fn accept_until(rig: &mut Rig, conn: ConnId, name: &str, until: u64) {
    let peer = Peer::Node { id: id(name), key: [9; 32], until: Wall(until), token: None };
    rig.step(Event::Accepted { conn, peer, remote: "192.0.2.1:1".parse().unwrap() });
    rig.message(conn, child_hello(name, &format!("me {name} 1 20 9"), "me"));
    rig.open(20);
    assert_eq!(rig.core.child_conn(&id(name)), Some(conn));
}

fn identity_for(name: &str, until: u64) -> Identity {
    Identity {
        id: id(name),
        incarnation: Incarnation(1),
        certificate: until.to_string().into_bytes(),
        authority: Vec::new(),
        ticket_key: b"ticket key".to_vec(),
    }
}

fn renewal(identity: Identity) -> Message {
    let to = identity.id.to_string();
    let body = Redirect {
        rank: Rank(2),
        mode: MoveMode::Overlap,
        identity: Some(identity),
        parents: Vec::new(),
    };
    from_root(Some(&to), Body::Redirect(Box::new(body)))
}

fn kill(to: &str, grace_secs: u32) -> Message {
    from_root(Some(to), Body::Kill(Kill { grace_secs, reason: "x".into() }))
}

#[test]
fn a_childs_link_ends_with_its_certificate() {
    let mut rig = Rig::attached();
    // It is 1,000 s; the child's certificate is good to the end of 1,100 s.
    accept_until(&mut rig, CHILD, "c", 1_100 * SEC);
    assert_eq!(pass(&mut rig, 100), [""; 0]);
    assert_eq!(
        pass(&mut rig, 1),
        ["close 10", "remove link 20", "2 childsupdate me>- -c/1"].map(String::from)
    );
}

#[test]
fn a_renewed_certificate_that_passes_by_keeps_the_link() {
    let mut rig = Rig::attached();
    accept_until(&mut rig, CHILD, "c", 1_100 * SEC);
    // Another's, and one that is none, change nothing.
    rig.message(
        CHILD,
        message(
            Some("c"),
            None,
            Body::ChildsUpdate(ChildsUpdate {
                added: vec![Child {
                    id: id("d"),
                    incarnation: Incarnation(1),
                    parent: id("c"),
                    weight: 1,
                }],
                removed: Vec::new(),
            }),
        ),
    );
    assert_eq!(rig.message(PARENT, renewal(identity_for("d", 9_000 * SEC))), ["10 redirect ^>d"]);
    let mut none = identity_for("c", 0);
    none.certificate = b"none".to_vec();
    assert_eq!(rig.message(PARENT, renewal(none)), ["10 redirect ^>c"]);
    // An older one does not shorten it; the new one counts.
    rig.message(PARENT, renewal(identity_for("c", 1_050 * SEC)));
    assert_eq!(pass(&mut rig, 90), [""; 0]);
    rig.message(PARENT, renewal(identity_for("c", 1_200 * SEC)));
    assert_eq!(pass(&mut rig, 110), [""; 0]);
    assert_eq!(pass(&mut rig, 1)[0], "close 10");
    // A child does not extend its own link.
    let mut rig = Rig::attached();
    accept_until(&mut rig, CHILD, "c", 1_100 * SEC);
    let forged = renewal(identity_for("c", 9_000 * SEC));
    assert_eq!(rig.message(CHILD, forged)[0], "10 error me>- forged redirect");
    assert!(pass(&mut rig, 101).contains(&"close 10".to_owned()));
}

#[test]
fn the_root_watches_its_own_children_too() {
    let mut rig = Rig::new(Role::Root, 4);
    rig.step(Event::Timeout);
    accept_until(&mut rig, CHILD, "c", 1_010 * SEC);
    let body = renewal(identity_for("c", 1_020 * SEC)).body;
    assert!(rig.core.send_to(&id("c"), body));
    assert_eq!(rig.step(Event::Timeout), ["10 redirect ^>c"]);
    assert_eq!(pass(&mut rig, 20), [""; 0]);
    assert_eq!(pass(&mut rig, 1), ["close 10", "remove link 20"].map(String::from));
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_end_a_link() {
    let mut rig = Rig::attached();
    accept_until(&mut rig, CHILD, "c", 1_100 * SEC);
    rig.now.wall.0 -= 50 * SEC;
    assert_eq!(pass(&mut rig, 149), [""; 0]);
    assert!(pass(&mut rig, 2).contains(&"close 10".to_owned()));
}

#[test]
fn a_node_whose_certificate_is_not_renewed_goes_to_the_root() {
    let mut rig = Rig::with_child();
    // Its own is good until 3,600 s, and renewal is asked for from 2,400 s on.
    let said = pass(&mut rig, 2_599);
    let asked = said.iter().filter(|s| *s == "2 hello me>^").count();
    assert_eq!((asked, said.len()), (40, 40), "twice a minute: {said:?}");
    assert_eq!(
        pass(&mut rig, 1),
        ["2 bye me>-", "close 2", "remove link 5", "attached false"].map(String::from)
    );
    assert_eq!(pass(&mut rig, 1), ["dial 3 root"]);
    assert!(rig.core.child_conn(&id("c")).is_some(), "children stay");
}

#[test]
fn the_renewal_of_a_short_lived_certificate_is_tried_again_in_time() {
    let mut rig = Rig::attached();
    // From 3,500 s to 3,612 s: asked for from 3,575 s on, each twelfth of it.
    let mut short = identity_for("me", 0);
    short.certificate = format!("{}-{}", 3_500 * SEC, 3_612 * SEC).into_bytes();
    assert_eq!(rig.message(PARENT, renewal(short)), ["identity me"]);
    assert_eq!(pass(&mut rig, 2_611), ["2 hello me>^"; 4]);
    assert_eq!(pass(&mut rig, 1)[0], "2 bye me>-");
}

#[test]
fn a_node_that_is_refused_a_new_certificate_goes_to_the_root() {
    let mut rig = Rig::attached();
    let refused = |code, kind: &str| {
        let report =
            ErrorReport { code, text: "x".into(), failed_time: None, failed_type: kind.into() };
        from_root(Some("me"), Body::Error(report))
    };
    assert_eq!(rig.message(PARENT, refused(ErrorCode::Malformed, "hello")), [""; 0]);
    assert_eq!(
        rig.message(PARENT, refused(ErrorCode::Unauthorized, "hello")),
        ["2 bye me>-", "close 2", "remove link 5", "attached false"]
    );
}

#[test]
fn along_the_tree_only_the_certificate_is_renewed() {
    let good = || identity_for("me", 7_200 * SEC);
    let with = |change: fn(&mut Identity)| {
        let mut identity = good();
        change(&mut identity);
        // Addressed to us whatever name is in it.
        Message { to: Some(Address::Node(id("me"))), ..renewal(identity) }
    };
    let bad = [
        ("another ticket key", with(|i| i.ticket_key = b"my key".to_vec())),
        ("another authority", with(|i| i.authority = b"my CA".to_vec())),
        ("another name", with(|i| i.id = id("you"))),
        ("no certificate of ours", with(|i| i.certificate = b"x".to_vec())),
        ("an old one again", with(|i| i.certificate = (2_000 * SEC).to_string().into_bytes())),
    ];
    for (what, message) in bad {
        let mut rig = Rig::with_child();
        let before = rig.core.identity().cloned();
        let said = rig.message(PARENT, message);
        assert_eq!(said, ["2 error me>^ unauthorized redirect"], "{what}");
        assert_eq!(rig.core.identity(), before.as_ref(), "{what}");
        // Tickets are checked as before.
        assert_eq!(rig.add_child(ConnId(11), "d", 21).len(), 3, "{what}");
    }
    let mut rig = Rig::attached();
    assert_eq!(rig.message(PARENT, renewal(good())), ["identity me"]);
    // At the root itself, it may be another.
    let mut rig = Rig::attached();
    rig.step(Event::Closed(PARENT));
    rig.wait(300 * MS);
    rig.dialed(3, ConnId(3));
    let mut fresh = good();
    fresh.ticket_key = b"new key".to_vec();
    let said = rig.message(ConnId(3), Message { to: None, ..renewal(fresh) });
    assert_eq!(said, ["identity me", "close 3"], "no parent offered");
}

#[test]
fn an_identity_that_cannot_be_used_is_not_taken_from_the_root_either() {
    let mut rig = Rig::new(Role::Relay, 2);
    rig.step(Event::Timeout);
    rig.dialed(1, ROOT_CONN);
    // It has run out already.
    let said = rig.message(ROOT_CONN, from_root(None, redirect(SEC, vec![offer("p", 5)])));
    assert_eq!(said, ["1 error ->- unauthorized redirect", "close 1"]);
    assert!(rig.core.identity().is_none());
    assert_eq!(Rig::quiet(rig.wait(13 * SEC)), ["dial 2 root"], "it tries again, later");
}

#[test]
fn a_killed_child_that_stays_is_put_out() {
    let mut rig = Rig::with_child();
    assert_eq!(rig.message(PARENT, kill("c", 5)), ["10 kill ^>c"]);
    assert_eq!(pass(&mut rig, 5), [""; 0]);
    assert_eq!(
        pass(&mut rig, 1),
        ["close 10", "remove link 20", "2 childsupdate me>- -c/1"].map(String::from)
    );
    // Its ticket is good for a while yet: not here.
    let said = rig.add_child(ConnId(11), "c", 20);
    assert_eq!(said, ["11 error me>- unauthorized hello", "close 11"]);
    // A newer one is the root's word that it may.
    rig.accept(ConnId(12), "c");
    let said = rig.message(ConnId(12), child_hello("c", "me c 2 21 9", "me"));
    assert_eq!(said[0], "add link 21 child");
    // One that goes by itself leaves no timer behind.
    let mut rig = Rig::with_child();
    rig.message(PARENT, kill("c", 5));
    rig.step(Event::Closed(CHILD));
    assert_eq!(pass(&mut rig, 10), [""; 0]);
}

#[test]
fn removed_children_are_remembered_within_bounds() {
    let mut rig = Rig::new(Role::Root, 4);
    rig.step(Event::Timeout);
    for n in 0..MAX_REMOVED as u64 + 1 {
        let name = format!("c{n}");
        rig.add_child(ConnId(100 + n), &name, 100 + n);
        rig.core.send_to(&id(&name), kill(&name, 0).body);
        rig.step(Event::Closed(ConnId(100 + n)));
    }
    let back =
        |rig: &mut Rig, n: u64| rig.add_child(ConnId(9_000 + n), &format!("c{n}"), 9_000 + n);
    assert_eq!(back(&mut rig, 1)[0], "9001 error ^>- unauthorized hello");
    assert_eq!(back(&mut rig, 0)[0], "add link 9000 child", "the oldest is forgotten");
}

/// The message with the key of the epoch that these nodes don't get.
fn pipe_def_without(removed: &[(&str, u64)]) -> Message {
    let mut message = pipe_def_message(1);
    if let Body::PipeDef(body) = &mut message.body {
        body.removed = removed.iter().map(|(name, last)| (id(name), Incarnation(*last))).collect();
    }
    message
}

fn warm(rig: &mut Rig, conn: ConnId, name: &str, incarnation: u64, link: u64) -> Vec<String> {
    rig.accept(conn, name);
    let mut hello = child_hello(name, &format!("me {name} {incarnation} {link} 9 8"), "me");
    if let Body::Hello(hello) = &mut hello.body {
        hello.warm = true;
    }
    rig.message(conn, hello)
}

#[test]
fn a_removed_node_keeps_no_warm_link_and_no_place_that_it_took_meanwhile() {
    const WARM: ConnId = ConnId(11);
    let key = ["define 1 2", "pipelines 1", "add key 1 1"].map(String::from);
    let mut rig = Rig::with_child();
    assert_eq!(warm(&mut rig, WARM, "w", 3, 21).len(), 2);
    assert_eq!(warm(&mut rig, ConnId(12), "other", 3, 22).len(), 2);
    let said = rig.message(PARENT, pipe_def_without(&[("w", 4), ("nobody", 1)]));
    assert_eq!(said[..2], ["close 11", "remove link 21"].map(String::from));
    assert_eq!(said[2..], key, "and nobody else's");
    // The ticket is good for a while yet, as a backup's and as a parent's: not here.
    let refused =
        |conn: u64| [format!("{conn} error me>- unauthorized hello"), format!("close {conn}")];
    assert_eq!(warm(&mut rig, ConnId(13), "w", 4, 23), refused(13));
    rig.accept(ConnId(14), "w");
    assert_eq!(rig.message(ConnId(14), child_hello("w", "me w 4 24 9", "me")), refused(14));
    // A newer one is the root's word that it may; the list is the same for a while.
    assert_eq!(warm(&mut rig, ConnId(15), "w", 5, 25).len(), 2);
    assert_eq!(rig.message(PARENT, pipe_def_without(&[("w", 4)])), [""; 0]);

    // One that has failed over before we heard of it is a child, and no KILL has come by here.
    let mut rig = Rig::attached();
    warm(&mut rig, WARM, "w", 3, 21);
    rig.open(21);
    rig.message(WARM, message(Some("w"), Some("me"), Body::Hello(Box::new(Hello::new(id("w"))))));
    assert_eq!(rig.core.child_conn(&id("w")), Some(WARM));
    let said = rig.message(PARENT, pipe_def_without(&[("w", 3)]));
    let out = ["close 11", "remove link 21", "2 childsupdate me>- -w/3"].map(String::from);
    assert_eq!(said[..3], out);

    // One that hears of it through us has its grace.
    let mut rig = Rig::with_child();
    rig.message(PARENT, kill("c", 5));
    assert_eq!(rig.message(PARENT, pipe_def_without(&[("c", 1)])), key);
    assert_eq!(pass(&mut rig, 5), [""; 0]);
    assert_eq!(pass(&mut rig, 1)[0], "close 10");
}

#[test]
fn only_the_root_says_who_is_removed() {
    let mut rig = Rig::with_child();
    warm(&mut rig, ConnId(11), "w", 3, 21);
    let forged = pipe_def_without(&[("w", 9)]);
    assert_eq!(rig.message(CHILD, forged.clone()), ["10 error me>- forged pipedef"]);
    let own = Message { from: Some(Address::Node(id("c"))), ..forged.clone() };
    assert_eq!(rig.message(CHILD, own), ["10 error me>c unauthorized pipedef"]);
    let above = Message { from: Some(Address::Node(id("p"))), ..forged };
    assert_eq!(rig.message(PARENT, above), ["2 error me>p unauthorized pipedef"]);
    assert!(rig.core.links.reserved(&id("w")).is_some());
}
