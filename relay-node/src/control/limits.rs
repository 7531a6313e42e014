//! Every number of the control core with the reason for its value. What a peer can make a node
//! hold or do is bounded by these; bounds on messages are in `soleil_protocol::limits`.

use std::time::Duration;

/// Connections that have not said HELLO. The root takes a storm of joiners at once; each costs
/// less than a kilobyte here.
pub const MAX_STRANGERS: usize = 1_024;

/// Pipelines known at a time, in definitions and in wishes: more streams than one tree is built
/// for.
pub const MAX_PIPELINES: usize = 64;

/// Layers of one pipeline. A ladder has about six for each track.
pub const MAX_LAYERS: usize = 32;

/// Key epochs of one pipeline at a time: the one in use and those that rings still hold.
pub const MAX_EPOCHS: usize = 4;

/// Containers kept of one child's STATS: one for each pipeline and one for the node.
pub const MAX_CONTAINERS: usize = MAX_PIPELINES + 1;

/// Messages a second on a link, on average. A root that polls 1,000 leaves every 2 s through one
/// relay needs 500; four times that leaves room.
pub const LINK_RATE: u32 = 2_000;

/// Messages that may come at once: two seconds' worth (a storm of joins below a relay).
pub const LINK_BURST: u32 = 4_000;

/// Messages a second from a child, on average, for each node of its subtree, itself included: STATS,
/// PONG, an answer to the root's question in 2 s, and room for wishes for pipelines and news of its
/// children. What all children of a node may send is less than what the node itself may, so however
/// many of them flood it, it is not cut off for passing that on (up to [`LINK_RATE`]).
pub const CHILD_RATE: u32 = 32;

/// Messages that may come from a child at once, likewise: to a new parent it announces its subtree and
/// asks for all its pipelines, of which there may be 64.
pub const CHILD_BURST: u32 = 256;

/// Of that a new child has half: above its parent nobody has reckoned with it yet, so what it sends at
/// once must leave its parent something. Enough for 64 wishes and the announcement of any subtree.
pub const NEW_CHILD_BURST: u32 = CHILD_BURST / 2;

/// Messages at once before HELLO: HELLO, PING and a mistake or two.
pub const STRANGER_BURST: u32 = 16;

/// Nodes that may keep a warm link to this one, for each child that it takes. The plan expects one of
/// their parents to die at a time, so many more may count on the same places than there are.
pub const RESERVES_PER_PLACE: usize = 8;

/// Messages a second on a warm link between a node and its backup: PING and PONG each 2 s from both
/// ends make one.
pub const RESERVE_RATE: u32 = 8;

/// Messages of one link that may be refused, refilled by one a second. A neighbour that is wrong
/// more often than that is broken.
pub const MAX_ERRORS: u32 = 32;

/// How often a link is probed (contract of the protocol: PING each 2 s).
pub const PING_INTERVAL: Duration = Duration::from_secs(2);

/// PINGs in a row without an answer that end a link.
pub const MAX_MISSED_PINGS: u32 = 3;

/// How long a connection may stay without HELLO.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a joiner may keep its connection to the root: it attaches within seconds or begins
/// anew.
pub const JOINER_LIFETIME: Duration = Duration::from_secs(20);

/// How long to wait for the root's answer to a join: a storm of joins is queued there.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a parent may take from the dial to its HELLO.
pub const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);

/// First pause before going back to the root.
pub const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// How often the pause is doubled while nobody answers at the root's address: it stays at 400 ms,
/// so that a root that starts again has its tree back within a second. A dial that meets nobody
/// costs the root nothing; one that a busy root does not answer takes its time-out first.
pub const DIAL_DOUBLINGS: u32 = 1;

/// Longest pause before going back to the root.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How often STATS go up.
pub const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// How long a pipeline that nobody wants is still taken from the parent: viewers that reload a
/// page, or the next one, find it warm.
pub const LINGER: Duration = Duration::from_secs(10);

/// When to ask a parent again that did not know a pipeline: its definition is on the way.
pub const PLAY_AGAIN: Duration = Duration::from_secs(1);

/// How long both parents serve during a move once the new one's media path is open: longer than a
/// repair takes.
pub const OVERLAP: Duration = Duration::from_millis(500);

/// How long a move waits for the new media path before the node goes back to the old parent. Less
/// than [`OPEN_MAX`].
pub const OVERLAP_MAX: Duration = Duration::from_secs(5);

/// How long a new parent's media path may take to open. It is tried many times in that while, so this
/// is a path that lets no datagram through; the root hears of it and may choose another parent.
pub const OPEN_MAX: Duration = Duration::from_secs(10);

/// By how much a REDIRECT may be older than the last one and count as overtaken by it. What is older
/// still comes from a root whose clock was set back, and is followed.
pub const OVERTAKEN: Duration = Duration::from_secs(10);

/// How soon a child may have the same layer resent from a position again. It needs that once after it
/// has come; what is lost later it asks for by number. Each costs up to a whole ring.
pub const REPLAY_PAUSE: Duration = Duration::from_millis(500);

/// How long a parent's control link is believed while its media are silent.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How long a leaf that the root does not ask for its statistics (every 2 s) is still ready: five
/// questions. Longer than a link takes to be given up, so that a tree that heals goes unnoticed. A node
/// that may have been lost sight of asks the root for a place after so long, if it has not spoken by then.
pub const ROOT_SILENCE: Duration = Duration::from_secs(10);

/// How long a relay that the root does not ask for its statistics (every 10 s) takes that for a pause:
/// three questions, and half of one.
pub const RELAY_SILENCE: Duration = Duration::from_secs(35);

/// The longest pause, and half of it again, before a root that has not spoken to a node is asked once
/// more for a place. The node has a parent, so there is no hurry.
pub const RETURN_MAX: Duration = Duration::from_secs(80);

/// How long a drain waits for the children to move.
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);

/// How long a child that was killed may stay after its grace: its BYE and what it sends on end
/// need a moment.
pub const EVICTION_DELAY: Duration = Duration::from_secs(1);

/// Removed children that are remembered so that they don't come back with the same ticket, which
/// is good for five minutes: more than a node has places.
pub const MAX_REMOVED: usize = 256;

/// Used tickets that are remembered: one is good for an hour at most, and a node that takes a new
/// child each second for an hour is broken.
pub const MAX_SPENT: usize = 4_096;

/// How wrong a clock may be to be believed: clocks that are kept by NTP are right to a second, and the
/// root's word is as old as its way here.
pub const MAX_SKEW: Duration = Duration::from_secs(60);

/// Backups that a node remembers: the plan names up to three.
pub const MAX_OFFERS: usize = 8;

/// First and longest pause before a backup that failed, or the next one, is dialed.
pub const WARM_AGAIN: Duration = Duration::from_millis(500);
/// See [`WARM_AGAIN`].
pub const WARM_PAUSE: Duration = Duration::from_secs(30);

/// How long a parent may say that it has no way to the root before it is left for a backup that has
/// one. When the root dies all say so, and find it out within this time of each other.
pub const CUT_OFF_BORNE: Duration = Duration::from_millis(100);

/// When a node whose parent and backup both have no way to the root first looks for another one, and how
/// long it waits between looks at most: the pause is doubled each time.
pub const CUT_OFF_LOOK: Duration = Duration::from_secs(2);
/// See [`CUT_OFF_LOOK`].
pub const CUT_OFF_LOOK_MAX: Duration = Duration::from_secs(60);

/// How long a parent must have had a way for the pauses between looks to begin anew.
pub const CUT_OFF_FORGOTTEN: Duration = Duration::from_secs(10);

/// From which look on the root itself is asked: after some ten seconds. If it was the root that was
/// gone, nodes that come back to it in good order come before those that ask.
pub const CUT_OFF_LOOKS: u32 = 3;

/// How long a backup's ticket is trusted to open a link: the root gives it anew each half hour, for an
/// hour.
pub const TICKET_TRUSTED: Duration = Duration::from_secs(25 * 60);

/// How long the forwarding plane may take to tell the positions that a new parent is asked for;
/// then those of its last report have to do.
pub const POSITIONS_TIMEOUT: Duration = Duration::from_millis(20);

/// When a renewal of the certificate that was not answered is asked for again; sooner if the
/// certificate is short-lived ([`RENEW_TRIES`]).
pub const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// A renewal is tried at least about this often per span of the certificate; it is begun when a third
/// of that is left.
pub const RENEW_TRIES: u64 = 12;
