//! The child process of one ladder as the root sees it: its pipes, and its socket with what waits for it.

use super::job::{Job, SUBCOMMAND};
use super::wire::{self, Kind, Splitter};
use crate::ingest::layer::Packet;
use crate::ingest::tap::Gate;
use crate::sources::process::{self, Process};
use relay_node::media::api::FrameMarks;
use std::io;
use std::os::fd::OwnedFd;
use tokio::net::UnixStream;

/// Bytes that may wait for a child that does not read: more than two seconds of any source.
const MAX_WAITING: usize = 8 << 20;
/// Bytes read from a child at once.
const PIECE: usize = 64 * 1024;
/// Pieces read from a child before others have their turn.
const BATCH: usize = 8;
/// Marker bit and the first byte of RTP (RFC 3550 section 5.1).
const VERSION: u8 = 0x80;
const MARKER: u8 = 0x80;

/// A child, its pipes and its socket.
pub(super) struct Worker {
    pub(super) process: Process,
    pub(super) out_ended: bool,
    /// None when the child has closed it, or shall end.
    pub(super) socket: Option<UnixStream>,
    pub(super) splitter: Splitter,
    pub(super) waiting: Vec<u8>,
    pub(super) gate: Gate,
}

impl Worker {
    /// Starts one for a job.
    ///
    /// # Errors
    /// If the system has no process or socket for it.
    pub(super) fn start(job: &Job, stream: &str) -> anyhow::Result<Worker> {
        let mut waiting = Vec::new();
        wire::write(Kind::Job, 0, &serde_json::to_vec(job)?, &mut waiting);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let socket = Some(UnixStream::from_std(ours)?);
        let stdin = OwnedFd::from(theirs).into();
        let (process, _) = process::spawn(SUBCOMMAND, "ladder", stream, stdin)?;
        let (splitter, gate) = (Splitter::default(), Gate::default());
        Ok(Worker { process, out_ended: false, socket, splitter, waiting, gate })
    }

    /// A packet of the source for the child.
    pub(super) fn packet(&mut self, packet: &Packet) {
        let key = packet.marks.0 & FrameMarks::KEY_START != 0;
        if !self.gate.passes(key, self.waiting.len() < MAX_WAITING) || self.socket.is_none() {
            return;
        }
        let mut rtp =
            Vec::with_capacity(relay_node::media::sizes::RTP_HEADER + packet.payload.len());
        let marker = if packet.marker { MARKER } else { 0 };
        rtp.extend_from_slice(&[VERSION, packet.payload_type | marker]);
        // The lower half of the index is the sequence number, here as on the hops.
        rtp.extend_from_slice(&(packet.index.0 as u16).to_be_bytes());
        rtp.extend_from_slice(&packet.timestamp.to_be_bytes());
        rtp.extend_from_slice(&packet.ssrc.0.to_be_bytes());
        rtp.extend_from_slice(&packet.payload);
        wire::write(if key { Kind::Key } else { Kind::Rtp }, 0, &rtp, &mut self.waiting);
    }

    /// Writes what waits, as far as the child takes it.
    pub(super) fn send(&mut self) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        while !self.waiting.is_empty() {
            match socket.try_write(&self.waiting) {
                Ok(written) => {
                    self.waiting.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what the child has sent, some of it at once.
    pub(super) fn receive(&mut self) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        for _ in 0..BATCH {
            match socket.try_read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.splitter.push(piece.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
