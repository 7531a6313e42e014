//! Sending: runs of equal datagrams to one address, gathered from where they lie and cut by the
//! kernel (UDP GSO).

use super::{Control, MAX_GSO_BYTES, MAX_GSO_SEGMENTS, UdpBatch};
use socket2::SockAddr;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

/// Messages of one `sendmmsg`: enough to make the call itself negligible.
const MAX_MESSAGES: usize = 64;

/// After so many refused GSO runs without one that went through, runs are no longer tried.
const MAX_GSO_FAILURES: u32 = 16;

#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    to: SocketAddr,
    first_iovec: usize,
    iovecs: usize,
    /// Size of every datagram but the last, which may be smaller.
    segment: usize,
    last: usize,
    pub(super) segments: usize,
    bytes: usize,
    /// The kernel has refused it as one message.
    pub(super) split: bool,
}

/// What has become of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendReport {
    /// Datagrams handed to the kernel.
    pub sent: usize,
    /// Datagrams that the kernel refused (no route, forbidden, too large).
    pub refused: usize,
    /// Datagrams that are left since the socket's buffer is full: call
    /// [`UdpBatch::send`] again once it is writable, or drop them.
    pub left: usize,
}

/// Datagrams to send, borrowed from where they lie (`'d`), with buffers that are reused.
pub struct SendBatch<'d> {
    pub(super) runs: Vec<Run>,
    iovecs: Vec<libc::iovec>,
    run: usize,
    /// Within the current run, if it goes out one by one.
    segment: usize,
    iovec: usize,
    headers: Vec<libc::mmsghdr>,
    names: Vec<SockAddr>,
    controls: Vec<Control>,
    planned: Vec<(usize, usize)>,
    data: PhantomData<&'d [u8]>,
}

// SAFETY: the pointers in `iovecs` come from `&'d [u8]`, which may go to another thread; those in
// `headers` point into the batch itself and are set anew before each use.
unsafe impl Send for SendBatch<'_> {}

impl std::fmt::Debug for SendBatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendBatch({} runs)", self.runs.len() - self.run)
    }
}

impl Default for SendBatch<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'d> SendBatch<'d> {
    /// An empty batch.
    pub fn new() -> Self {
        Self {
            runs: Vec::new(),
            iovecs: Vec::new(),
            run: 0,
            segment: 0,
            iovec: 0,
            headers: Vec::with_capacity(MAX_MESSAGES),
            names: Vec::with_capacity(MAX_MESSAGES),
            controls: vec![Control::EMPTY; MAX_MESSAGES],
            planned: Vec::with_capacity(MAX_MESSAGES),
            data: PhantomData,
        }
    }

    /// Forgets all datagrams and keeps the buffers, for data that lives elsewhere.
    pub fn reset<'n>(mut self) -> SendBatch<'n> {
        self.runs.clear();
        self.iovecs.clear();
        self.headers.clear();
        SendBatch {
            runs: self.runs,
            iovecs: self.iovecs,
            run: 0,
            segment: 0,
            iovec: 0,
            headers: self.headers,
            names: self.names,
            controls: self.controls,
            planned: self.planned,
            data: PhantomData,
        }
    }

    /// Whether nothing is left to send.
    pub fn is_empty(&self) -> bool {
        self.run >= self.runs.len()
    }

    /// Datagrams that are left to send.
    pub fn len(&self) -> usize {
        let left: usize =
            self.runs[self.run.min(self.runs.len())..].iter().map(|r| r.segments).sum();
        left - self.segment
    }

    /// Adds a datagram. It joins the run before it if that goes to the same address and sizes
    /// allow: all of a run are equal, only its last may be smaller.
    pub fn push(&mut self, to: SocketAddr, datagram: &'d [u8]) {
        self.push_parts(to, &[datagram]);
    }

    /// Adds a datagram that lies in several parts (empty parts are skipped).
    pub fn push_parts(&mut self, to: SocketAddr, parts: &[&'d [u8]]) {
        let size: usize = parts.iter().map(|p| p.len()).sum();
        if size == 0 {
            return;
        }
        let before = self.iovecs.len();
        self.iovecs.extend(
            parts
                .iter()
                .filter(|p| !p.is_empty())
                .map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() }),
        );
        let added = self.iovecs.len() - before;
        // The run at the cursor may be half sent already: a new one then.
        let open = self.runs.len() > self.run + usize::from(self.segment > 0);
        if let Some(run) = self.runs.last_mut().filter(|_| open)
            && run.to == to
            && run.last == run.segment
            && size <= run.segment
            && run.segments < MAX_GSO_SEGMENTS
            && run.bytes + size <= MAX_GSO_BYTES
            && !run.split
        {
            run.iovecs += added;
            run.segments += 1;
            run.bytes += size;
            run.last = size;
            return;
        }
        self.runs.push(Run {
            to,
            first_iovec: before,
            iovecs: added,
            segment: size,
            last: size,
            segments: 1,
            bytes: size,
            split: false,
        });
    }

    /// Builds the headers of the next messages, from the cursor on.
    fn plan(&mut self, gso: bool, v6: bool) {
        self.headers.clear();
        self.names.clear();
        self.planned.clear();
        let (mut run, mut segment, mut iovec) = (self.run, self.segment, self.iovec);
        while self.headers.len() < MAX_MESSAGES {
            let Some(r) = self.runs.get(run) else { break };
            let whole = gso && !r.split && segment == 0 && r.segments > 1;
            let first = r.first_iovec + iovec;
            let (count, segments) = if whole {
                (r.iovecs, r.segments)
            } else {
                let size = if segment + 1 == r.segments { r.last } else { r.segment };
                let mut covered = 0;
                let count = self.iovecs[first..]
                    .iter()
                    .take_while(|v| {
                        let more = covered < size;
                        covered += v.iov_len;
                        more
                    })
                    .count();
                (count, 1)
            };
            let to = match r.to {
                SocketAddr::V4(a) if v6 => {
                    SocketAddr::V6(SocketAddrV6::new(a.ip().to_ipv6_mapped(), a.port(), 0, 0))
                }
                other => other,
            };
            let i = self.headers.len();
            self.names.push(SockAddr::from(to));
            self.headers.push(message(&self.iovecs[first..first + count]));
            if whole {
                attach_segment_size(
                    &mut self.headers[i].msg_hdr,
                    &mut self.controls[i],
                    r.segment as u16,
                );
            }
            self.planned.push((segments, count));
            (segment, iovec) = (segment + segments, iovec + count);
            if segment == r.segments {
                (run, segment, iovec) = (run + 1, 0, 0);
            }
        }
        // Only now: `names` no longer grows.
        for (header, name) in self.headers.iter_mut().zip(&self.names) {
            header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = name.len();
        }
    }

    /// Moves the cursor over the first `n` planned messages and returns their datagrams.
    fn advance(&mut self, n: usize) -> usize {
        let mut datagrams = 0;
        for (segments, iovecs) in self.planned.drain(..n) {
            datagrams += segments;
            self.segment += segments;
            self.iovec += iovecs;
            if self.segment == self.runs[self.run].segments {
                (self.run, self.segment, self.iovec) = (self.run + 1, 0, 0);
            }
        }
        datagrams
    }
}

fn message(iovecs: &[libc::iovec]) -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid value of this plain C structure.
    let mut header = unsafe { MaybeUninit::<libc::mmsghdr>::zeroed().assume_init() };
    // `sendmmsg` only reads them.
    header.msg_hdr.msg_iov = iovecs.as_ptr().cast_mut();
    header.msg_hdr.msg_iovlen = iovecs.len() as _;
    header
}

fn attach_segment_size(header: &mut libc::msghdr, control: &mut Control, size: u16) {
    header.msg_control = std::ptr::from_mut(control).cast();
    // SAFETY: `control` is aligned for a header and larger than the space of one with a `u16`, and
    // the message points to it, so the CMSG macros stay within it.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(mem::size_of::<u16>() as u32) as _;
        let cmsg = libc::CMSG_FIRSTHDR(header);
        (*cmsg).cmsg_level = libc::SOL_UDP;
        (*cmsg).cmsg_type = libc::UDP_SEGMENT;
        (*cmsg).cmsg_len = libc::CMSG_LEN(mem::size_of::<u16>() as u32) as _;
        std::ptr::write_unaligned(libc::CMSG_DATA(cmsg).cast(), size);
    }
}

impl UdpBatch {
    /// Sends the batch without waiting. Whatever the socket's buffer does not take stays in it
    /// ([`SendReport::left`]); a datagram that the kernel refuses is skipped and counted.
    pub fn send(&self, batch: &mut SendBatch<'_>) -> SendReport {
        let mut report = SendReport::default();
        let v6 = self.local.is_ipv6();
        while !batch.is_empty() {
            batch.plan(self.gso(), v6);
            // SAFETY: `plan` has set every header to iovecs, a name and a control buffer that live
            // in the batch, and the iovecs to data that outlives it (`'d`); the kernel only reads.
            let n = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    batch.headers.as_mut_ptr(),
                    batch.headers.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            if n > 0 {
                if batch.planned.iter().take(n as usize).any(|(segments, _)| *segments > 1) {
                    self.gso_failures.store(0, Ordering::Relaxed);
                }
                report.sent += batch.advance(n as usize);
                continue;
            }
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            // ENOBUFS: the interface's queue is full; for us the same as a full socket.
            if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS)) {
                report.left = batch.len();
                return report;
            }
            let in_one = batch.planned.first().is_some_and(|(segments, _)| *segments > 1);
            if in_one && self.gso_refused(&error) {
                batch.runs[batch.run].split = true;
                continue;
            }
            report.refused += batch.advance(1);
        }
        report
    }

    /// Whether the error speaks against GSO rather than against the address. EIO: the route has no
    /// checksum offload; EINVAL, EMSGSIZE: segments larger than the route's MTU.
    fn gso_refused(&self, error: &io::Error) -> bool {
        let refused =
            matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE));
        if refused && self.gso_failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_GSO_FAILURES {
            self.gso.store(false, Ordering::Relaxed);
        }
        refused
    }
}
