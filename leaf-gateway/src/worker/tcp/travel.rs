//! Connections that go to another worker: the one that listens takes the first frame, which names the
//! session, and hands the connection to the worker that has it.

use super::flow::number;
use super::frame::Deframer;
use super::places::Place;
use super::{State, Tcp};
use mio::net::TcpStream;
use soleil_protocol::Mono;
use std::net::SocketAddr;

/// A connection on its way.
#[derive(Debug)]
pub(in crate::worker) struct Stray {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    input: Deframer,
    /// What has come from it already.
    pub(in crate::worker) frames: Vec<Vec<u8>>,
}

impl Tcp {
    /// Lets a connection go that has shown no valid check.
    pub(in crate::worker) fn release(&mut self, flow: SocketAddr) -> Option<Stray> {
        let number = number(&flow)?;
        let fresh = |c: &super::Connection| c.flow == flow && c.state == State::Fresh;
        self.connections.get(&number).filter(|c| fresh(c))?;
        let mut c = self.connections.remove(&number)?;
        self.fresh.remove(&number);
        self.unread.retain(|n| *n != number);
        self.poll.registry().deregister(&mut c.stream).ok()?;
        let peer = SocketAddr::new(flow.ip().to_canonical(), flow.port());
        Some(Stray { stream: c.stream, peer, place: c.place, input: c.input, frames: Vec::new() })
    }

    /// Takes one over: under which address it is here, and what has come from it already.
    pub(in crate::worker) fn adopt(
        &mut self,
        now: Mono,
        stray: Stray,
    ) -> Option<(SocketAddr, Vec<Vec<u8>>)> {
        let Stray { stream, peer, place, input, frames } = stray;
        let flow = self.insert(now, stream, peer, place, input);
        if flow.is_none() {
            self.counts.refused += 1;
        }
        Some((flow?, frames))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, ROOMY, bench, connect, ended, framed, frames, until};
    use super::super::{MAX_FRESH, TcpLimits};
    use std::io::{Read, Write};

    #[test]
    fn a_connection_goes_on_at_another_worker_with_all_that_has_come() {
        let mut first = bench(ROOMY);
        let mut second = first.beside().unwrap();
        let mut client = connect(&first);
        // Two frames, and the beginning of a third.
        client.write_all(&[framed(b"one"), framed(b"two"), vec![0]].concat()).unwrap();
        let mut got = Vec::new();
        until(&mut first, NOW, "two frames", |tcp| {
            got.extend(frames(tcp));
            got.len() == 2
        });
        let flow = got[0].0;
        let mut stray = first.release(flow).unwrap();
        assert!(first.release(flow).is_none() && !first.is_open(flow));
        assert!(first.connections.is_empty() && first.fresh.is_empty());
        assert_eq!(first.next_event(), None, "it has not ended");
        stray.frames = got.into_iter().map(|(_, frame)| frame).collect();
        // What comes while it belongs to nobody.
        client.write_all(&[5]).unwrap();
        client.write_all(b"three").unwrap();
        let (flow, had) = second.adopt(NOW, stray).unwrap();
        assert_eq!(had, [b"one".to_vec(), b"two".to_vec()]);
        assert!(second.is_fresh(flow));
        second.admit(flow);
        let mut got = Vec::new();
        until(&mut second, NOW, "the third", |tcp| {
            got.extend(frames(tcp));
            got.len() == 1
        });
        assert_eq!(got[0], (flow, b"three".to_vec()));
        assert!(second.release(flow).is_none(), "it is a session's");
        second.send(NOW, flow, b"four");
        second.flush();
        let mut buffer = [0; 64];
        until(&mut second, NOW, "an answer", |_| client.read(&mut buffer).is_ok_and(|n| n == 6));
        assert_eq!(buffer[..6], framed(b"four"));
    }

    #[test]
    fn limits_hold_over_all_workers() {
        let mut first = bench(TcpLimits { total: 2, per_address: 2 });
        let mut second = first.beside().unwrap();
        let mut kept: Vec<_> = (0..2).map(|_| connect(&first)).collect();
        for client in &mut kept {
            client.write_all(&framed(b"first")).unwrap();
            let mut got = Vec::new();
            until(&mut first, NOW, "a frame", |tcp| {
                got.extend(frames(tcp));
                !got.is_empty()
            });
            second.adopt(NOW, first.release(got[0].0).unwrap()).unwrap();
        }
        let mut more = connect(&first);
        until(&mut first, NOW, "one too many", |_| ended(&mut more));
        drop(kept);
        until(&mut second, NOW, "the end", |tcp| tcp.connections.is_empty());
        assert!(first.places.is_empty());
    }

    #[test]
    fn those_without_a_check_are_bounded_where_they_come_to_as_well() {
        let mut first = bench(ROOMY);
        let mut second = first.beside().unwrap();
        let mut clients = Vec::new();
        for _ in 0..MAX_FRESH + 3 {
            let mut client = connect(&first);
            client.write_all(&framed(b"first")).unwrap();
            clients.push(client);
            let mut got = Vec::new();
            until(&mut first, NOW, "a frame", |tcp| {
                got.extend(frames(tcp));
                !got.is_empty()
            });
            second.adopt(NOW, first.release(got[0].0).unwrap()).unwrap();
        }
        assert_eq!((second.connections.len(), second.fresh.len()), (MAX_FRESH, MAX_FRESH));
        assert!(clients[..3].iter_mut().all(ended));
    }
}
