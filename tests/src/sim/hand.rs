//! What a test does to a simulation by hand: commands, messages put into a node's mouth, and asking who
//! is where.

use super::queue::What;
use super::world::Sim;
use relay_node::control::api::{Event, NodeCommand};
use root_node::core::api::RootCommand;
use soleil_protocol::{LinkId, NodeId};

impl Sim {
    /// Sends text to a node as if its neighbour on a connection had: for what no core would say.
    pub fn say(&mut self, from: usize, to: usize, xml: &str) {
        assert!(self.try_say(from, to, xml), "no connection between these nodes");
    }

    /// The same; `false` if there is no connection between these nodes (any more).
    pub fn try_say(&mut self, from: usize, to: usize, xml: &str) -> bool {
        let conns = self.connections_of(from).into_iter();
        let ends = conns.filter_map(|conn| self.ends.get(&(from, conn)));
        let conn = ends.filter(|end| end.peer == to).map(|end| end.peer_conn).next();
        if let Some(conn) = conn {
            self.push(self.now, What::Message { to, conn, xml: xml.to_owned() });
        }
        conn.is_some()
    }

    /// Gives an event to a node's core, if its process runs.
    pub fn give(&mut self, node: usize, event: Event<NodeCommand>) {
        let now = self.clock(node);
        if self.nodes[node].alive && !self.nodes[node].frozen {
            let began = (node == 0).then(|| self.stopwatch.now().mono);
            self.nodes[node].core.handle(now, event);
            if let Some(began) = began {
                let took = self.stopwatch.now().mono.since(began);
                self.root_took = (self.root_took.0 + took, self.root_took.1.max(took));
            }
            self.after(node);
        }
    }

    /// A command to a node.
    pub fn command(&mut self, node: usize, command: NodeCommand) {
        self.give(node, Event::Command(command));
    }

    /// A command to the root.
    pub fn root(&mut self, command: RootCommand) {
        if let RootCommand::Kill { node, .. } = &command
            && let Some(place) = self.place(node)
        {
            self.nodes[place].removed = true;
        }
        let now = self.clock(0);
        self.nodes[0].core.command(now, command);
        self.after(0);
    }

    /// How many connections are open (both ends).
    pub fn connections(&self) -> usize {
        self.ends.len() / 2
    }

    /// The place of the node with an id.
    pub fn place(&self, id: &NodeId) -> Option<usize> {
        self.named.get(id).copied()
    }

    /// The media link between a child and its parent, as the child's plane knows it.
    pub fn link_of(&self, child: usize) -> Option<LinkId> {
        let parent = self.nodes[child].core().parent()?;
        let parent = self.place(parent)?;
        let ours = &self.nodes[child].shadow.links;
        let used = ours.iter().filter(|(_, link)| !link.standby).map(|(id, _)| id);
        used.copied().find(|link| self.nodes[parent].shadow.links.contains_key(link))
    }
}
