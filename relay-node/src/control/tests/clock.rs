//! A machine whose clock is wrong: it goes by the root's.

use super::rig::*;
use crate::control::api::*;
use soleil_protocol::*;

/// A relay whose clock is an hour behind the root's, with a certificate that by the root's clock
/// lives for half an hour from now on.
fn behind() -> (Rig, u64) {
    let mut rig = Rig::new(Role::Relay, 2);
    rig.root_ahead_ms = 3_600_000;
    rig.step(Event::Timeout);
    rig.dialed(1, ROOT_CONN);
    let root = rig.now.wall.0 + 3_600 * SEC;
    let answer = from_root(None, redirect(root + 1_800 * SEC, vec![offer("p", 5)]));
    assert_eq!(rig.message(ROOT_CONN, answer), ["identity me", "dial 2 p"]);
    rig.dialed(2, PARENT);
    rig.message(PARENT, greeting("p", "me"));
    rig.open(5);
    (rig, root)
}

/// Lets time pass while the parent answers its PINGs; what is said apart from the clockwork.
fn pass(rig: &mut Rig, secs: u64) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..secs {
        rig.answer_ping(PARENT);
        said.extend(Rig::quiet(rig.wait(SEC)));
    }
    said
}

#[test]
fn what_it_says_and_when_it_renews_goes_by_the_roots_clock() {
    let (mut rig, root) = behind();
    let time = |rig: &mut Rig| {
        rig.core.handle(rig.now, Event::Command(NodeCommand::Drain("over".into())));
        std::iter::from_fn(|| rig.core.poll_action())
            .find_map(|action| match action {
                Action::Send(_, message) => Some(message.time.0),
                _ => None,
            })
            .expect("a BYE")
    };
    // By its own clock the certificate would be good for an hour and a half more, by the root's it
    // ends in half an hour: the node asks for another one in time, and goes when none comes.
    let said = pass(&mut rig, 1_790);
    assert!(said.contains(&"2 hello me>^".to_owned()), "{said:?}");
    let said = pass(&mut rig, 20);
    assert!(said.contains(&"2 bye me>-".to_owned()), "{said:?}");
    let (mut rig, _) = behind();
    let said = time(&mut rig);
    assert!(said.abs_diff(root / 1_000) < 2_000, "{said}");
}

#[test]
fn a_clock_that_is_set_later_changes_nothing() {
    let (mut rig, _) = behind();
    // Somebody sets it right, and then a day too far.
    rig.now.wall.0 += 3_600 * SEC;
    assert_eq!(pass(&mut rig, 5), [""; 0]);
    rig.now.wall.0 += 86_400 * SEC;
    assert_eq!(pass(&mut rig, 5), [""; 0]);
    assert_eq!(rig.core.parent().map(NodeId::as_str), Some("p"));
}

/// A clock that is nearly right is believed: it is kept by somebody, and ours drifts.
#[test]
fn a_clock_that_is_off_by_seconds_is_believed() {
    let mut rig = Rig::new(Role::Relay, 2);
    rig.root_ahead_ms = 30_000;
    rig.step(Event::Timeout);
    rig.dialed(1, ROOT_CONN);
    let until = rig.now.wall.0 + 100 * SEC;
    rig.message(ROOT_CONN, from_root(None, redirect(until, vec![offer("p", 5)])));
    rig.dialed(2, PARENT);
    rig.message(PARENT, greeting("p", "me"));
    rig.open(5);
    let said = pass(&mut rig, 90);
    assert!(!said.iter().any(|s| s.contains("bye")), "70 s left by the root's clock: {said:?}");
}
