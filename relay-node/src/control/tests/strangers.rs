//! Strangers that say HELLO: who becomes a child, and with which word the others are refused.

use super::rig::*;
use crate::control::api::*;
use crate::control::limits::*;
use soleil_protocol::message::*;
use soleil_protocol::*;

#[test]
fn a_stranger_becomes_a_child() {
    let mut rig = Rig::attached();
    assert_eq!(rig.accept(CHILD, "c"), [""; 0]);
    assert_eq!(rig.message(CHILD, message(None, None, ping())), ["10 pong me>-"]);
    assert_eq!(
        rig.message(CHILD, child_hello("c", "me c 1 20 9", "me")),
        ["add link 20 child", "10 hello me>c"]
    );
    assert_eq!(rig.open(20), ["2 childsupdate me>- +c"]);
    assert_eq!(rig.step(Event::Closed(CHILD)), ["remove link 20", "2 childsupdate me>- -c/1"]);
    assert_eq!(rig.step(Event::Closed(CHILD)), [""; 0]);
}

#[test]
fn tickets_that_do_not_hold() {
    let rows = [
        ("another parent's", "c", "you c 1 20 9", "unauthorized", "ticket"),
        ("not signed", "c", "garbage", "unauthorized", "ticket"),
        ("another child's", "c", "me d 1 20 9", "unauthorized", "ticket"),
        ("another key's", "c", "me c 1 20 8", "unauthorized", "ticket"),
        ("an older incarnation's", "c", "me c 0 20 9", "unauthorized", "replayed"),
        ("another name than TLS", "d", "me d 1 20 9", "forged", "forged"),
    ];
    for (what, name, ticket, code, why) in rows {
        let mut rig = Rig::attached();
        rig.accept(CHILD, "c");
        let said = rig.message(CHILD, child_hello(name, ticket, "me"));
        assert_eq!(said, [format!("10 error me>- {code} hello"), "close 10".into()], "{what}");
        assert_eq!(rig.core.subtree().len(), 0);
        assert_eq!(rig.refused, [why], "{what}");
    }
}

#[test]
fn a_ticket_makes_a_child_once() {
    let mut rig = Rig::with_child();
    rig.step(Event::Closed(CHILD));
    rig.accept(CHILD, "c");
    let again = child_hello("c", "me c 1 20 9", "me");
    assert_eq!(rig.message(CHILD, again), ["10 error me>- unauthorized hello", "close 10"]);
    assert_eq!(rig.refused, ["replayed"]);
    // A new one of the same node is good.
    rig.accept(CHILD, "c");
    let fresh = child_hello("c", "me c 2 21 9", "me");
    assert_eq!(rig.message(CHILD, fresh), ["add link 21 child", "10 hello me>c"]);
}

#[test]
fn a_backups_ticket_is_used_up_by_failing_over() {
    let mut rig = Rig::attached();
    let warm = || {
        let mut hello = Hello::new(id("w"));
        hello.incarnation = Incarnation(1);
        hello.ticket = Some(b"me w 1 30 9 9".to_vec());
        hello.nonce = Some(vec![4; 16]);
        hello.warm = true;
        message(Some("w"), Some("me"), Body::Hello(Box::new(hello)))
    };
    for _ in 0..2 {
        rig.accept(CHILD, "w");
        let said = rig.message(CHILD, warm());
        assert_eq!(said, ["add link 30 child standby", "10 hello me>w warm"]);
        assert_eq!(rig.step(Event::Closed(CHILD)), ["remove link 30"]);
    }
    rig.accept(CHILD, "w");
    rig.message(CHILD, warm());
    let plain = message(Some("w"), Some("me"), Body::Hello(Box::new(Hello::new(id("w")))));
    assert_eq!(rig.message(CHILD, plain), ["promote link 30"]);
    rig.step(Event::Closed(CHILD));
    assert!(rig.refused.is_empty(), "{:?}", rig.refused);
    rig.accept(CHILD, "w");
    assert_eq!(rig.message(CHILD, warm()), ["10 error me>- unauthorized hello", "close 10"]);
    assert_eq!(rig.refused, ["replayed"]);
}

#[test]
fn hellos_that_make_no_sense() {
    let mut hello = Hello::new(id("c"));
    hello.incarnation = Incarnation(1);
    let check = |change: fn(&mut Hello), to: &str, error: &str| {
        let mut rig = Rig::attached();
        rig.accept(CHILD, "c");
        let mut hello = hello.clone();
        hello.ticket = Some(b"me c 1 20 9".to_vec());
        hello.nonce = Some(vec![4; 16]);
        change(&mut hello);
        let said = rig.message(CHILD, message(Some("c"), Some(to), Body::Hello(Box::new(hello))));
        assert_eq!(said, [error, "close 10"]);
    };
    check(|h| h.version = 4, "me", "10 error me>- version hello");
    check(|h| h.nonce = None, "me", "10 error me>- malformed hello");
    check(|h| h.nonce = Some(vec![1; 15]), "me", "10 error me>- malformed hello");
    check(|h| h.ticket = None, "me", "10 error me>- unauthorized hello");
    check(|_| (), "other", "10 error me>- unknownNode hello");
    check(|_| (), "^", "10 error me>- unauthorized hello");
}

#[test]
fn no_room_and_no_children_for_leaves() {
    let mut rig = Rig::with_child();
    assert_eq!(rig.add_child(ConnId(11), "d", 21).len(), 3);
    assert_eq!(rig.add_child(ConnId(12), "e", 22), ["12 error me>- full hello", "close 12"]);
    assert_eq!(
        rig.add_child(ConnId(13), "d", 23)[..2],
        ["close 11", "remove link 21"],
        "a child that comes back takes its own place"
    );
    let mut leaf = Rig::new(Role::Leaf, 8);
    leaf.step(Event::Timeout);
    leaf.dialed(1, ROOT_CONN);
    leaf.message(ROOT_CONN, from_root(None, redirect(3_600 * SEC, vec![])));
    assert_eq!(leaf.add_child(CHILD, "c", 20), ["10 error me>- full hello", "close 10"]);
}

#[test]
fn the_media_link_of_another_child() {
    let mut rig = Rig::with_child();
    assert_eq!(
        rig.add_child(ConnId(11), "d", 20),
        ["11 error me>- unauthorized hello", "close 11"]
    );
}

#[test]
fn strangers_are_few_and_brief_and_say_hello_first() {
    let mut rig = Rig::attached();
    rig.accept(CHILD, "c");
    assert_eq!(
        rig.message(CHILD, message(Some("c"), Some("^"), bye())),
        ["close 10"],
        "BYE ends it"
    );
    rig.accept(CHILD, "c");
    assert_eq!(
        rig.message(CHILD, message(Some("c"), None, play(vec![]))),
        ["10 error me>- unauthorized playpipeline", "close 10"]
    );
    rig.accept(CHILD, "c");
    let said: Vec<String> = (0..6).flat_map(|_| Rig::quiet(rig.wait(SEC))).collect();
    assert_eq!(said, ["close 10"], "no HELLO in time");
    assert_eq!(rig.refused, ["unauthorized", "slow"]);
    let joiner = Peer::Joining { token: "1".into(), role: Role::Leaf };
    let remote = "192.0.2.1:1".parse().unwrap();
    let accepted = Event::Accepted { conn: CHILD, peer: joiner, remote };
    assert_eq!(rig.step(accepted), ["close 10"], "only the root takes joiners");
    for n in 0..MAX_STRANGERS as u64 + 10 {
        rig.accept(ConnId(100 + n), "c");
    }
    assert!(rig.core.links.strangers() <= MAX_STRANGERS);
    assert_eq!(rig.refused.last(), Some(&"crowded"));
}
