//! A parent that has lost its way to the root: who says so, who leaves it, and who stays.

use super::failover::{silent, with_backup};
use super::rig::*;
use crate::control::api::*;
use crate::media::api::PlaneEvent;
use soleil_protocol::*;

fn cut_off(link: u64, cut_off: bool) -> Event<NodeCommand> {
    Event::Plane(PlaneEvent::CutOff(LinkId(link), cut_off))
}

#[test]
fn a_parent_that_is_cut_off_is_left_for_a_backup_that_is_not() {
    let mut rig = with_backup();
    assert_eq!(rig.step(cut_off(5, true)), [""; 0]);
    assert!(!rig.cut_off, "it has another way");
    assert_eq!(Rig::quiet(rig.wait(99 * MS)), [""; 0]);
    assert_eq!(
        rig.wait(MS),
        ["3 hello me>q", "promote link 6", "3 childsupdate me>- +c", "dial 4 r"]
    );
    assert_eq!((rig.core.parent(), rig.failovers, rig.cut_off), (Some(&id("q")), 1, false));
    // The old one is kept for the overlap, as any other.
    assert_eq!(Rig::quiet(rig.wait(500 * MS)), ["2 bye me>-", "close 2", "remove link 5"]);
}

#[test]
fn a_parent_that_is_cut_off_for_a_moment_is_kept() {
    let mut rig = with_backup();
    rig.step(cut_off(5, true));
    rig.wait(60 * MS);
    rig.step(cut_off(5, false));
    rig.wait(60 * MS);
    rig.step(cut_off(5, true));
    assert_eq!(Rig::quiet(rig.wait(60 * MS)), [""; 0], "the time begins anew");
    assert_eq!(rig.core.parent(), Some(&id("p")));
}

#[test]
fn where_the_backup_is_cut_off_too_everybody_stays_and_says_so() {
    let mut rig = with_backup();
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, true));
    assert!(rig.cut_off, "at once: nobody below shall come here");
    assert_eq!(Rig::quiet(rig.wait(SEC)), [""; 0]);
    assert_eq!((rig.core.parent(), rig.core.backup()), (Some(&id("p")), Some(&id("q"))));
    // The backup's way back is known a moment before the parent's: everybody stays.
    assert_eq!(rig.step(cut_off(6, false)), [""; 0]);
    assert!(!rig.cut_off);
    assert_eq!(Rig::quiet(rig.wait(60 * MS)), [""; 0]);
    rig.step(cut_off(5, false));
    assert_eq!(Rig::quiet(rig.wait(SEC)), [""; 0]);
    // The parent's does not come back.
    rig.step(cut_off(6, true));
    rig.step(cut_off(5, true));
    rig.step(cut_off(6, false));
    let said = Rig::quiet(rig.wait(100 * MS));
    assert_eq!(said[..2], ["3 hello me>q", "promote link 6"]);
}

#[test]
fn who_has_lost_its_way_says_so_until_it_has_one_again() {
    let mut rig = Rig::with_child();
    assert!(!rig.cut_off);
    rig.step(silent(5));
    assert!(rig.cut_off, "and there is no backup");
    rig.open(5);
    assert!(!rig.cut_off);
    rig.step(Event::Closed(PARENT));
    assert!(rig.cut_off);
}
