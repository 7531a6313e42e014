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

/// Where a message's bytes are described.
#[derive(Debug, Clone, Copy)]
enum Pieces {
    /// First and number of a run's iovecs.
    Run(usize, usize),
    /// First and number of iovecs that were cut out of a run.
    Cut(usize, usize),
}

/// A message to be.
#[derive(Debug, Clone, Copy)]
struct Planned {
    segments: usize,
    pieces: Pieces,
    /// The kernel cuts it into datagrams of this size.
    cut: Option<u16>,
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
    /// Pieces of iovecs for datagrams that go out one by one.
    pieces: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    names: Vec<SockAddr>,
    controls: Vec<Control>,
    planned: Vec<Planned>,
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
            pieces: Vec::new(),
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
        self.pieces.clear();
        self.headers.clear();
        SendBatch {
            runs: self.runs,
            iovecs: self.iovecs,
            run: 0,
            segment: 0,
            pieces: self.pieces,
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

    /// Adds a datagram that lies in several parts (empty parts are skipped). What continues the
    /// bytes before it becomes one piece with them: a run that was written in one go is a single
    /// piece for the kernel.
    pub fn push_parts(&mut self, to: SocketAddr, parts: &[&'d [u8]]) {
        let size: usize = parts.iter().map(|p| p.len()).sum();
        if size == 0 {
            return;
        }
        // The run at the cursor may be half sent already: a new one then.
        let open = self.runs.len() > self.run + usize::from(self.segment > 0);
        let joins = open
            && self.runs.last().is_some_and(|run| {
                run.to == to
                    && run.last == run.segment
                    && size <= run.segment
                    && run.segments < MAX_GSO_SEGMENTS
                    && run.bytes + size <= MAX_GSO_BYTES
                    && !run.split
            });
        if !joins {
            self.runs.push(Run {
                to,
                first_iovec: self.iovecs.len(),
                iovecs: 0,
                segment: size,
                last: size,
                segments: 0,
                bytes: 0,
                split: false,
            });
        }
        let Some(run) = self.runs.last_mut() else { return };
        run.segments += 1;
        run.bytes += size;
        run.last = size;
        for part in parts.iter().filter(|p| !p.is_empty()) {
            if let Some(before) = self.iovecs.last_mut().filter(|_| run.iovecs > 0)
                && before.iov_base.cast_const().cast::<u8>().wrapping_add(before.iov_len)
                    == part.as_ptr()
            {
                before.iov_len += part.len();
                continue;
            }
            self.iovecs.push(libc::iovec {
                iov_base: part.as_ptr().cast_mut().cast(),
                iov_len: part.len(),
            });
            run.iovecs += 1;
        }
    }

    /// Builds the headers of the next messages, from the cursor on.
    fn plan(&mut self, gso: bool, v6: bool) {
        self.headers.clear();
        self.names.clear();
        self.planned.clear();
        self.pieces.clear();
        let (mut run, mut segment) = (self.run, self.segment);
        while self.planned.len() < MAX_MESSAGES {
            let Some(r) = self.runs.get(run) else { break };
            let alone = r.segments == 1;
            let whole = segment == 0 && (alone || (gso && !r.split));
            let planned = if whole {
                let pieces = Pieces::Run(r.first_iovec, r.iovecs);
                Planned { segments: r.segments, pieces, cut: (!alone).then_some(r.segment as u16) }
            } else {
                let size = if segment + 1 == r.segments { r.last } else { r.segment };
                let from = self.pieces.len();
                let iovecs = &self.iovecs[r.first_iovec..r.first_iovec + r.iovecs];
                cut(iovecs, segment * r.segment, size, &mut self.pieces);
                let pieces = Pieces::Cut(from, self.pieces.len() - from);
                Planned { segments: 1, pieces, cut: None }
            };
            let to = match r.to {
                SocketAddr::V4(a) if v6 => {
                    SocketAddr::V6(SocketAddrV6::new(a.ip().to_ipv6_mapped(), a.port(), 0, 0))
                }
                other => other,
            };
            self.names.push(SockAddr::from(to));
            segment += planned.segments;
            if segment >= r.segments {
                (run, segment) = (run + 1, 0);
            }
            self.planned.push(planned);
        }
        // Only now: `names` and `pieces` no longer grow.
        let controls = self.controls.iter_mut();
        for ((planned, name), control) in self.planned.iter().zip(&self.names).zip(controls) {
            let iovecs = match planned.pieces {
                Pieces::Run(from, count) => &self.iovecs[from..from + count],
                Pieces::Cut(from, count) => &self.pieces[from..from + count],
            };
            let mut header = message(iovecs);
            header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = name.len();
            if let Some(size) = planned.cut {
                attach_segment_size(&mut header.msg_hdr, control, size);
            }
            self.headers.push(header);
        }
    }

    /// Moves the cursor over the first `n` planned messages and returns their datagrams.
    fn advance(&mut self, n: usize) -> usize {
        let mut datagrams = 0;
        for planned in self.planned.drain(..n) {
            datagrams += planned.segments;
            self.segment += planned.segments;
            if self.segment >= self.runs[self.run].segments {
                (self.run, self.segment) = (self.run + 1, 0);
            }
        }
        datagrams
    }
}

/// The part of `iovecs` that is `size` bytes long and begins `skip` bytes in.
fn cut(iovecs: &[libc::iovec], mut skip: usize, mut size: usize, out: &mut Vec<libc::iovec>) {
    for v in iovecs {
        if skip >= v.iov_len {
            skip -= v.iov_len;
            continue;
        }
        let len = (v.iov_len - skip).min(size);
        if len == 0 {
            break;
        }
        let base = v.iov_base.cast::<u8>().wrapping_add(skip);
        out.push(libc::iovec { iov_base: base.cast(), iov_len: len });
        (skip, size) = (0, size - len);
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
                if batch.planned.iter().take(n as usize).any(|p| p.segments > 1) {
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
            let in_one = batch.planned.first().is_some_and(|p| p.segments > 1);
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
