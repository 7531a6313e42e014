//! Where a message goes: one pure function (thesis figure 3.1, PROTOCOL "Routing").
//!
//! The rows of the rule are in [`route`]. Which child leads to which node is in [`SubtreeTable`].
//! What a message *does* (and whether its sender may ask for it) is not decided here.

mod table;
#[cfg(test)]
mod tests;

pub use table::{Applied, SubtreeTable};

use crate::address::Address;
use crate::ids::NodeId;
use crate::message::Message;

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// This node made it itself.
    Local,
    /// Over the link to the parent, whose id is given.
    Parent(&'a NodeId),
    /// Over the link to this child.
    Child(&'a NodeId),
}

/// The node that decides.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its own id.
    pub me: &'a NodeId,
    /// Whether it is the root.
    pub root: bool,
    /// Who is below it.
    pub below: &'a SubtreeTable,
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is for this node.
    Handle,
    /// It is for everybody: handle it (unless this node made it) and send it to every child
    /// except the one given.
    HandleAndDown {
        /// The child that it came from.
        except: Option<NodeId>,
    },
    /// Send it to the parent.
    Up,
    /// Send it to this child.
    Down(NodeId),
    /// Nobody of that name, or only back where it came from: answer
    /// [`crate::message::ErrorCode::UnknownNode`] to the sender.
    Unknown,
    /// `from` is not the neighbour's to use: do not handle it, answer
    /// [`crate::message::ErrorCode::Forged`] to the neighbour.
    Forged,
}

/// Decides where a message goes. See [`route_addresses`].
pub fn route(place: &Place<'_>, arrival: Arrival<'_>, message: &Message) -> Decision {
    route_addresses(place, arrival, message.from.as_ref(), message.to.as_ref())
}

/// Decides by the addresses alone:
///
/// | `to` | decision |
/// | --- | --- |
/// | absent | handle; only the neighbour itself may send it |
/// | this node, or `^` at the root | handle |
/// | `*` | handle, and down to every child except where it came from |
/// | `^` | up |
/// | a descendant | down to the child whose subtree has it |
/// | anything else | up; unknown at the root |
///
/// A message never goes back on the link it came from: such a one is unknown. Before all that,
/// `from` is checked: a child speaks for itself and its subtree, the parent's side for everybody
/// else, and only the parent's side for `^`.
pub fn route_addresses(
    place: &Place<'_>,
    arrival: Arrival<'_>,
    from: Option<&Address>,
    to: Option<&Address>,
) -> Decision {
    if !may_speak(place, arrival, from, to) {
        return Decision::Forged;
    }
    match to {
        None if arrival == Arrival::Local => Decision::Unknown,
        None => Decision::Handle,
        Some(Address::Root) if place.root => Decision::Handle,
        Some(Address::Root) => up(place, arrival),
        Some(Address::All) => Decision::HandleAndDown {
            except: match arrival {
                Arrival::Child(child) => Some(child.clone()),
                Arrival::Local | Arrival::Parent(_) => None,
            },
        },
        Some(Address::Node(id)) if id == place.me => Decision::Handle,
        Some(Address::Node(id)) => match place.below.next_hop(id) {
            Some(child) if arrival == Arrival::Child(child) => Decision::Unknown,
            Some(child) => Decision::Down(child.clone()),
            None => up(place, arrival),
        },
    }
}

fn up(place: &Place<'_>, arrival: Arrival<'_>) -> Decision {
    if place.root || matches!(arrival, Arrival::Parent(_)) {
        Decision::Unknown
    } else {
        Decision::Up
    }
}

/// Whether the neighbour may use this `from`.
fn may_speak(
    place: &Place<'_>,
    arrival: Arrival<'_>,
    from: Option<&Address>,
    to: Option<&Address>,
) -> bool {
    match (arrival, from) {
        (Arrival::Local, None) => true,
        (Arrival::Local, Some(Address::Root)) => place.root,
        (Arrival::Local, Some(Address::Node(id))) => id == place.me,
        (_, Some(Address::All)) => false,
        (_, None) => true,
        (Arrival::Child(_), Some(Address::Root)) => false,
        (Arrival::Child(child), Some(Address::Node(id))) => {
            id == child || (to.is_some() && place.below.is_behind(child, id))
        }
        // The root is above us: whether it is the parent itself, it alone can know.
        (Arrival::Parent(_), Some(Address::Root)) => !place.root,
        (Arrival::Parent(parent), Some(Address::Node(id))) => {
            id == parent || (to.is_some() && id != place.me && place.below.next_hop(id).is_none())
        }
    }
}
