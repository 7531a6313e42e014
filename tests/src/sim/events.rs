//! How a happening is given to a node, and how what the node wants is carried out.

use super::queue::What;
use super::report;
use super::wire::media_address;
use super::world::Sim;
use relay_node::control::api::{Action, ConnId, Event, LinkReport, PlaneReport, Vault};
use relay_node::media::api::{PeerSide, PlaneCommand, PlaneEvent};
use relay_node::media::packet::Sealer;
use relay_node::media::plane::Plane;
use root_node::core::api::RootOutput;
use soleil_protocol::message::{ErrorReport, MoveMode, WARM_VERSION};
use soleil_protocol::{Address, Body, Message};
use std::net::SocketAddr;

impl Sim {
    pub(super) fn happen(&mut self, what: What) {
        let Some(what) = self.held_back(what) else { return };
        let node = what.node();
        if self.nodes[node].frozen {
            if !matches!(what, What::Datagram { .. }) {
                self.parked.entry(node).or_default().push(what);
            }
            return;
        }
        match what {
            What::Wake(node) => self.wake(node),
            What::Path(node) => self.path(node),
            What::Dial { node, dial, target, since } => {
                if self.nodes[node].alive {
                    self.dial(node, dial, &target, since);
                }
            }
            What::Report(node) => {
                self.push(self.now + 1_000_000, What::Report(node));
                let plane = self.nodes[node].plane.as_ref();
                let report = match plane {
                    Some(plane) => report::of(&plane.stats()),
                    None => self.report_without_plane(node),
                };
                self.give(node, Event::PlaneReport(report));
            }
            What::Message { to, conn, xml } => self.deliver(to, conn, &xml),
            What::Accepted { to, conn, peer, from } => {
                self.note(to, "accepted", &conn.0.to_be_bytes());
                let remote = media_address(from);
                self.give(to, Event::Accepted { conn, peer, remote });
            }
            What::Dialed { to, dial, conn } => {
                self.note(to, "dialed", &dial.0.to_be_bytes());
                let local = media_address(to);
                self.give(to, Event::Dialed { dial, conn, local });
            }
            What::DialFailed { to, dial, refused } => {
                self.note(to, "dial failed", &dial.0.to_be_bytes());
                let error = "simulated".to_owned();
                self.give(to, Event::DialFailed { dial, error, refused });
            }
            What::Closed { to, conn } => {
                if self.ends.remove(&(to, conn)).is_some() {
                    self.note(to, "closed", &conn.0.to_be_bytes());
                    self.give(to, Event::Closed(conn));
                }
            }
            What::Datagram { to, from, mut bytes } => {
                self.note(to, "datagram", &bytes);
                let now = self.clock(to);
                let node = &mut self.nodes[to];
                if node.alive
                    && let Some(plane) = &mut node.plane
                {
                    plane.handle_datagram(now, from, &mut bytes, &mut node.sink);
                    self.after(to);
                }
            }
        }
    }

    pub(super) fn deliver(&mut self, to: usize, conn: ConnId, xml: &str) {
        if !self.ends.contains_key(&(to, conn)) || !self.nodes[to].alive {
            return;
        }
        self.nodes[to].traffic.count(xml);
        self.note(to, "message", xml.as_bytes());
        self.messages += 1;
        let event = match Message::from_xml(xml) {
            Ok(mut message) => {
                if self.breaks.as_mut().is_some_and(|breaks| breaks(to, &message)) {
                    self.close(to, conn);
                    return self.give(to, Event::Closed(conn));
                }
                self.as_its_version(to, &mut message);
                *self.kinds.entry(message.body.kind()).or_default() += 1;
                if let Body::Error(report) = &message.body {
                    self.errors.insert(report.text.clone());
                }
                Event::Message(conn, message)
            }
            Err(error) => Event::Malformed { conn, report: ErrorReport::from(error) },
        };
        self.give(to, event);
    }

    /// A node of version 1 reads nothing that came with version 2, and passes nothing of it on. What is
    /// said to it all the same is noted.
    fn as_its_version(&mut self, to: usize, message: &mut Message) {
        if self.nodes[to].version >= WARM_VERSION {
            return;
        }
        let unknown = match &mut message.body {
            Body::Hello(hello) => std::mem::take(&mut hello.warm),
            Body::Redirect(redirect) => {
                let newer = redirect.parents.iter().any(|parent| parent.version > 1);
                redirect.parents.iter_mut().for_each(|parent| parent.version = 1);
                newer
            }
            _ => false,
        };
        let id = self.nodes[to].id();
        let for_it = message.to.as_ref().is_none_or(|to| *to == Address::Node(id.clone()));
        if unknown && for_it {
            let kind = message.body.kind();
            self.unknown_words.insert(format!("{kind} to {id} from {:?}", message.from));
        }
    }

    pub(super) fn wake(&mut self, node: usize) {
        let now = self.clock(node);
        let entry = &mut self.nodes[node];
        if entry.next_wake <= self.now {
            entry.next_wake = u64::MAX;
        }
        if let Some(plane) = &mut entry.plane
            && entry.alive
            && plane.poll_timeout().is_some_and(|at| at <= now.mono)
        {
            plane.handle_timeout(now);
        }
        if entry.core.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.give(node, Event::Timeout);
        } else {
            self.after(node);
        }
    }

    /// Takes everything that a node wants done.
    pub(super) fn after(&mut self, node: usize) {
        loop {
            let now = self.clock(node);
            let entry = &mut self.nodes[node];
            if let Some(action) = entry.core.poll_action() {
                self.act(node, action);
                continue;
            }
            if let Some(output) = entry.core.poll_output() {
                self.output(output);
                continue;
            }
            let event = entry.plane.as_mut().and_then(Plane::poll_event);
            let Some(event) = event else { break };
            entry.core.handle(now, Event::Plane(event));
        }
        self.transmit(node);
        self.schedule(node);
    }

    pub(super) fn output(&mut self, output: RootOutput) {
        match output {
            RootOutput::View(view) => self.view = view,
            RootOutput::Key { pipeline, epoch, key } => {
                self.sealers.insert(pipeline, Sealer::new(&key, epoch));
            }
            RootOutput::KeyFrameWanted(..) => self.key_frames += 1,
            RootOutput::Remember(memory) => self.store.add(memory),
        }
    }

    pub(super) fn schedule(&mut self, node: usize) {
        let offset = self.clock(node).mono.0 - self.now;
        let entry = &mut self.nodes[node];
        if !entry.alive {
            return;
        }
        let plane = entry.plane.as_ref().and_then(Plane::poll_timeout);
        let next = entry.core.poll_timeout().into_iter().chain(plane).min();
        if let Some(next) = next {
            let at = next.0.saturating_sub(offset).max(self.now);
            if at < entry.next_wake {
                entry.next_wake = at;
                self.push(at, What::Wake(node));
            }
        }
    }

    /// What a node without a plane reports: its round trips, if distances matter here.
    fn report_without_plane(&self, node: usize) -> PlaneReport {
        let mut report = PlaneReport { cpu: 10.0, ..PlaneReport::default() };
        if self.far.is_zero() {
            return report;
        }
        for link in self.nodes[node].shadow.links.keys() {
            let hop = self.hops.get(link).copied().unwrap_or_default();
            if let (Some(parent), Some(child)) = (hop.parent, hop.child) {
                let rtt_ms = Some(2.0 * self.distance(parent, child) as f64 / 1_000.0);
                report.links.push(LinkReport { link: *link, rtt_ms, fraction_lost: Some(0.0) });
            }
        }
        report
    }

    /// Who has which media link.
    fn note_hop(&mut self, node: usize, command: &PlaneCommand) {
        match command {
            PlaneCommand::AddLink(link) => {
                let hop = self.hops.entry(link.id).or_default();
                match link.peer {
                    PeerSide::Parent => hop.child = Some(node),
                    PeerSide::Child => hop.parent = Some(node),
                }
            }
            PlaneCommand::RemoveLink(link) => {
                self.nodes[node].silent.remove(link);
                if let Some(hop) = self.hops.get_mut(link) {
                    hop.parent = hop.parent.filter(|place| *place != node);
                    hop.child = hop.child.filter(|place| *place != node);
                    if hop.parent.is_none() && hop.child.is_none() {
                        self.hops.remove(link);
                    }
                }
            }
            _ => {}
        }
    }

    /// Counts the root's orders to go to another parent.
    fn count_move(&mut self, node: usize, message: &Message) {
        let (0, Body::Redirect(redirect), Some(Address::Node(to))) =
            (node, &message.body, &message.to)
        else {
            return;
        };
        let first = redirect.parents.first().map(|parent| &parent.id);
        let Some(place) = self.named.get(to).filter(|_| first.is_some()) else { return };
        let (place, first) = (*place, first.cloned());
        let overlap = redirect.mode == MoveMode::Overlap && redirect.identity.is_none();
        // Who has failed over and is told of its old place once more is not moved.
        let new = self.nodes[place].told != first;
        let elsewhere = self.nodes[place].core().parent() != first.as_ref();
        self.moves += u64::from(overlap && new && elsewhere);
        self.nodes[place].told = first;
    }

    pub(super) fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Dial(dial, target) => self.dial(node, dial, &target, self.now),
            Action::Send(conn, message) => {
                self.count_move(node, &message);
                self.transport(node, conn, &message);
            }
            Action::Close(conn, _) => {
                if self.ends.contains_key(&(node, conn)) {
                    self.close(node, conn);
                }
            }
            Action::Plane(command) => {
                let now = self.clock(node);
                let opened = match &command {
                    PlaneCommand::AddLink(link) if self.nodes[node].plane.is_none() => {
                        Some(link.id)
                    }
                    _ => None,
                };
                self.note_hop(node, &command);
                self.nodes[node].plane_command(now, command);
                if let Some(link) = opened {
                    // Without a plane there is no path to open: it is taken as open.
                    let event = PlaneEvent::LinkOpen(link, SocketAddr::from(([192, 0, 2, 1], 1)));
                    self.nodes[node].core.handle(now, Event::Plane(event));
                }
            }
            // The driver uses none that is not valid by the machine's clock.
            Action::Identity(identity)
                if self.nodes[node].vault.check_identity(&identity, self.clock(node)).is_err() => {}
            Action::Identity(identity) => {
                self.named.insert(identity.id.clone(), node);
                self.nodes[node].identity = Some(identity);
            }
            Action::FailedOver => self.nodes[node].failovers += 1,
            Action::Refused { why, .. } => {
                *self.nodes[node].refused.entry(why.as_str()).or_default() += 1;
            }
            Action::Pipelines(_) | Action::Lacks(_) | Action::Reserve(_) => {}
            Action::Attached(yes) => {
                let now = self.now;
                let entry = &mut self.nodes[node];
                entry.attaches += u32::from(yes);
                if yes {
                    entry.attached_at = now;
                }
            }
            Action::Stopped(_) => self.nodes[node].stopped = true,
        }
    }
}
