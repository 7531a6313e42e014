//! A way to the root. A parent that lives but has lost its own way up would be taken for one whose
//! source is idle: its heartbeats go on. So it says with each of them that it is cut off
//! ([`crate::media::rtcp::CUT_OFF_NAME`]), and a child whose backup does not say so goes there. When
//! the root itself is gone everybody says it, and everybody stays.

use super::NodeCore;
use super::api::Action;
use super::limits::CUT_OFF_BORNE;
use super::timers::Timer;
use crate::media::api::PlaneCommand;
use soleil_protocol::LinkId;
use std::collections::BTreeSet;

/// What is known of ways to the root.
#[derive(Debug, Default)]
pub(super) struct CutOff {
    /// Media links to parents and backups that say that they are cut off.
    links: BTreeSet<LinkId>,
    /// The parent has said so, and the backup has not, for long enough.
    borne: bool,
    /// What we have told our children.
    said: bool,
}

impl NodeCore {
    /// A parent or a backup says that it is cut off, or no longer.
    pub(super) fn on_cut_off(&mut self, media: LinkId, cut_off: bool) {
        if cut_off {
            self.up.cut_off.links.insert(media);
        } else {
            self.up.cut_off.links.remove(&media);
        }
        let up = &mut self.up;
        let parents = [&up.parent, &up.old].into_iter().flatten().map(|p| p.media);
        let known: BTreeSet<LinkId> = parents.chain(up.reserve.media()).collect();
        up.cut_off.links.retain(|link| known.contains(link));
    }

    /// The parent has been cut off for a while.
    pub(super) fn on_cut_off_timeout(&mut self) {
        self.up.cut_off.borne = true;
    }

    /// Whether the backup could take over and has a way to the root.
    fn has_another_way(&self) -> bool {
        let link = self.backup().and_then(|_| self.backup_link());
        link.is_some_and(|(_, media)| !self.up.cut_off.links.contains(&media))
    }

    /// Whether nothing can come from the root just now, as far as this node knows.
    fn is_cut_off(&self) -> bool {
        let served = self.up.old.as_ref().is_some_and(|old| old.open);
        match &self.up.parent {
            None => true,
            Some(parent) if !parent.open => !served,
            Some(parent) => {
                self.up.cut_off.links.contains(&parent.media) && !self.has_another_way()
            }
        }
    }

    /// Leaves a parent that is cut off if the backup is not, and tells the children if there is no
    /// way, or one again.
    pub(super) fn mind_the_way(&mut self) {
        if self.is_root() || self.stopped {
            return;
        }
        let says = |links: &BTreeSet<LinkId>, media| links.contains(media);
        let parent = self.up.parent.as_ref().filter(|p| says(&self.up.cut_off.links, &p.media));
        // When ways come back, the backup's may be known a hop sooner than the parent's: the time begins
        // anew, or all would go to whoever has one first.
        if parent.is_none() || !self.has_another_way() {
            self.up.cut_off.borne = false;
            self.timers.clear(&Timer::CutOff);
        } else if !self.up.cut_off.borne {
            self.timers.set_if_idle(Timer::CutOff, self.now.mono.after(CUT_OFF_BORNE));
        } else if self.fail_over("the parent has no way to the root") {
            self.up.cut_off.borne = false;
        }
        let cut_off = self.is_cut_off();
        if std::mem::replace(&mut self.up.cut_off.said, cut_off) != cut_off {
            self.act(Action::Plane(PlaneCommand::SayCutOff(cut_off)));
        }
    }
}
