//! Where everything in a tree is to be reached.

use super::Tree;
use super::plan::layer_port;
use std::net::{Ipv4Addr, SocketAddr};

impl Tree {
    /// Where the root's pages are.
    #[must_use]
    pub fn http(&self) -> String {
        let host = if self.options.demo_ports { "localhost" } else { "127.0.0.1" };
        format!("http://{host}:{}", self.root_ports.http)
    }

    /// The watch page of a stream.
    #[must_use]
    pub fn watch_url(&self, stream: &str) -> String {
        format!("{}/watch/{stream}", self.http())
    }

    /// The root's WHEP address of a stream.
    #[must_use]
    pub fn whep_url(&self, stream: &str) -> String {
        format!("{}/whep/{stream}", self.http())
    }

    /// The root's WHIP address of a stream.
    #[must_use]
    pub fn whip_url(&self, stream: &str) -> String {
        format!("{}/whip/{stream}", self.http())
    }

    /// A leaf's HTTP address.
    #[must_use]
    pub fn leaf_http(&self, leaf: usize) -> String {
        format!("http://127.0.0.1:{}", self.leaf_http_port(leaf))
    }

    /// The port of it.
    #[must_use]
    pub fn leaf_http_port(&self, leaf: usize) -> u16 {
        self.leaf_ports[leaf].http
    }

    /// Where a leaf's viewers send their datagrams.
    #[must_use]
    pub fn viewer_port(&self, leaf: usize) -> u16 {
        self.leaf_ports[leaf].viewers
    }

    /// Where the root takes a stream's picture and sound.
    #[must_use]
    pub fn ingest(&self, stream: usize) -> (SocketAddr, SocketAddr) {
        let port = self.stream_ports[stream];
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        (at(port), at(port + 2))
    }

    /// Where the root takes one layer of a stream's picture, the best being 0.
    #[must_use]
    pub fn ingest_layer(&self, stream: usize, layer: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, layer_port(self.stream_ports[stream], layer)).into()
    }

    /// All TCP ports of the nodes, with names.
    #[must_use]
    pub fn tcp_ports(&self) -> Vec<(String, u16)> {
        let mut all = vec![
            ("root overlay".to_owned(), self.root_ports.overlay),
            ("root http".to_owned(), self.root_ports.http),
        ];
        all.extend(self.relay_ports.iter().map(|p| ("relay overlay".to_owned(), p.overlay)));
        for p in &self.leaf_ports {
            all.push(("leaf http".to_owned(), p.http));
            all.push(("leaf viewers".to_owned(), p.viewers));
        }
        all
    }

    /// All UDP ports of the nodes, with names.
    #[must_use]
    pub fn udp_ports(&self) -> Vec<(String, u16)> {
        let mut all = vec![("root media".to_owned(), self.root_ports.media)];
        for port in &self.stream_ports {
            for n in 0..4 {
                all.push(("ingest".to_owned(), port + n));
            }
        }
        all.extend(self.relay_ports.iter().map(|p| ("relay media".to_owned(), p.media)));
        for p in &self.leaf_ports {
            all.push(("leaf media".to_owned(), p.media));
            all.push(("leaf viewers".to_owned(), p.viewers));
        }
        all
    }
}
