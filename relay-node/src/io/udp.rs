//! Batched UDP: `recvmmsg` with GRO in, `sendmmsg` with GSO out, and a wake-up for the thread that
//! waits. The only module with `unsafe` code. It knows nothing of media: it moves datagrams.
//!
//! Linux only. Without GSO or GRO in the kernel (or on a route) it sends and receives one by one.
#![allow(unsafe_code)]

mod send;
mod wake;

#[cfg(test)]
mod tests;

pub use send::{SendBatch, SendReport};
pub use wake::{Ready, Waker};

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Segments of one GSO call: kernels before 6.9 take no more (`UDP_MAX_SEGMENTS`).
pub const MAX_GSO_SEGMENTS: usize = 64;

/// Bytes of one GSO call: 65,535 less the headers of IPv6 and UDP, rounded down.
pub const MAX_GSO_BYTES: usize = 65_000;

/// Room for what GRO merges into one message: a UDP payload is never larger.
const RECV_BUFFER: usize = 65_536;

/// How a socket is bound.
#[derive(Debug, Clone)]
pub struct UdpOptions {
    /// Several sockets on the same address, one per thread (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Wanted `SO_RCVBUF` in bytes; the kernel may give less.
    pub recv_buffer: usize,
    /// Wanted `SO_SNDBUF` in bytes; the kernel may give less.
    pub send_buffer: usize,
    /// Merge received datagrams (UDP GRO).
    pub gro: bool,
    /// Split sent runs in the kernel (UDP GSO).
    pub gso: bool,
}

impl Default for UdpOptions {
    fn default() -> Self {
        // 4 MiB hold half a second of 60 Mbit/s: longer than a thread is ever kept off its core.
        Self { reuse_port: false, recv_buffer: 4 << 20, send_buffer: 4 << 20, gro: true, gso: true }
    }
}

/// A non-blocking UDP socket that receives and sends in batches.
#[derive(Debug)]
pub struct UdpBatch {
    socket: Socket,
    local: SocketAddr,
    gro: bool,
    gso: AtomicBool,
    gso_failures: AtomicU32,
}

impl UdpBatch {
    /// Binds a socket. An IPv6 wildcard takes IPv4 as well.
    ///
    /// # Errors
    /// What the operating system says about the address or the socket.
    pub fn bind(addr: SocketAddr, options: &UdpOptions) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.set_reuse_port(options.reuse_port)?;
        // A smaller buffer than wanted is no reason not to start.
        let _ = socket.set_recv_buffer_size(options.recv_buffer);
        let _ = socket.set_send_buffer_size(options.send_buffer);
        socket.bind(&addr.into())?;
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the socket has no internet address"))?;
        let gro = options.gro && set_option(&socket, libc::UDP_GRO, 1).is_ok();
        // Setting 0 changes nothing and fails where the kernel does not know the option.
        let gso = options.gso && set_option(&socket, libc::UDP_SEGMENT, 0).is_ok();
        Ok(Self { socket, local, gro, gso: AtomicBool::new(gso), gso_failures: AtomicU32::new(0) })
    }

    /// Lets further sockets of this user share the port from now on (`SO_REUSEPORT`). A socket that
    /// is bound without and shares afterwards has seen that nobody else had the port.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn share_port(&self) -> io::Result<()> {
        self.socket.set_reuse_port(true)
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether received datagrams may come merged.
    pub fn gro(&self) -> bool {
        self.gro
    }

    /// Whether runs leave as one message.
    pub fn gso(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }

    /// Receives what is there, without waiting, and returns the number of messages (each one or
    /// more datagrams); 0 if nothing was there. What the batch held before is gone.
    ///
    /// # Errors
    /// Errors of the socket itself; those of a single datagram are skipped.
    pub fn recv(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.prepare();
        loop {
            // SAFETY: `prepare` has just pointed every header at an iovec, name and control buffer
            // that the batch owns, that do not move while it is borrowed, and whose lengths it
            // states; the count is that of the headers.
            let n = unsafe {
                libc::recvmmsg(
                    self.socket.as_raw_fd(),
                    batch.headers.as_mut_ptr(),
                    batch.headers.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if n >= 0 {
                batch.collect(n as usize);
                return Ok(n as usize);
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(0),
                io::ErrorKind::Interrupted => {}
                // Left by an ICMP message about an earlier datagram: not ours to stop for.
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {}
                _ => return Err(error),
            }
        }
    }
}

impl AsFd for UdpBatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn set_option(socket: &Socket, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            option,
            std::ptr::from_ref(&value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for one control message with an `int`, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 64]);

impl Control {
    const EMPTY: Control = Control([0; 64]);
}

#[derive(Clone, Copy)]
struct Received {
    from: SocketAddr,
    len: usize,
    segment: usize,
}

/// Buffers for one `recvmmsg`, reused.
pub struct RecvBatch {
    buffers: Vec<u8>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
    received: Vec<Received>,
}

// SAFETY: the raw pointers in `headers` and `iovecs` point into buffers that the batch owns and are
// set anew before each use, so it may move to another thread.
unsafe impl Send for RecvBatch {}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecvBatch({} of {} messages)", self.received.len(), self.names.len())
    }
}

impl RecvBatch {
    /// Room for `messages` (at least 1) messages of 64 KiB each.
    pub fn new(messages: usize) -> Self {
        let n = messages.clamp(1, 1024);
        // SAFETY: all-zero bytes are a valid value of these plain C structures.
        let (header, name) = unsafe {
            (
                MaybeUninit::<libc::mmsghdr>::zeroed().assume_init(),
                MaybeUninit::<libc::sockaddr_storage>::zeroed().assume_init(),
            )
        };
        Self {
            buffers: vec![0; n * RECV_BUFFER],
            headers: vec![header; n],
            iovecs: vec![libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; n],
            names: vec![name; n],
            controls: vec![Control::EMPTY; n],
            received: Vec::with_capacity(n),
        }
    }

    /// Every datagram of the last receive with its sender (IPv4 as IPv4, also on IPv6 sockets).
    pub fn segments(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [u8])> {
        self.buffers.chunks_exact_mut(RECV_BUFFER).zip(&self.received).flat_map(|(buffer, r)| {
            let from = r.from;
            buffer[..r.len].chunks_mut(r.segment).map(move |segment| (from, segment))
        })
    }

    fn prepare(&mut self) {
        self.received.clear();
        let buffers = self.buffers.chunks_exact_mut(RECV_BUFFER);
        for (i, buffer) in buffers.enumerate() {
            self.iovecs[i] =
                libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: RECV_BUFFER };
            let header = &mut self.headers[i];
            header.msg_len = 0;
            header.msg_hdr.msg_name = std::ptr::from_mut(&mut self.names[i]).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_hdr.msg_iov = std::ptr::from_mut(&mut self.iovecs[i]);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = std::ptr::from_mut(&mut self.controls[i]).cast();
            header.msg_hdr.msg_controllen = mem::size_of::<Control>() as _;
            header.msg_hdr.msg_flags = 0;
        }
    }

    fn collect(&mut self, n: usize) {
        for i in 0..n {
            let header = &self.headers[i];
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let len = if whole { (header.msg_len as usize).min(RECV_BUFFER) } else { 0 };
            let segment = gro_size(&header.msg_hdr).unwrap_or(len).max(1);
            let from = address(&self.names[i], header.msg_hdr.msg_namelen);
            // A sender without an internet address can't be answered: an empty entry keeps
            // entries and buffers in step.
            let (from, len) = from.map_or((UNKNOWN, 0), |from| (from, len));
            self.received.push(Received { from, len, segment });
        }
    }
}

const UNKNOWN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// The segment size in the UDP_GRO control message, if there is one.
fn gro_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled the control buffer that `prepare` set and stated its length;
    // the CMSG macros stay within it.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while let Some(c) = cmsg.as_ref() {
            if c.cmsg_level == libc::SOL_UDP && c.cmsg_type == libc::UDP_GRO {
                let value: libc::c_int = std::ptr::read_unaligned(libc::CMSG_DATA(cmsg).cast());
                return usize::try_from(value).ok().filter(|v| *v > 0);
            }
            cmsg = libc::CMSG_NXTHDR(header, cmsg);
        }
    }
    None
}

fn address(name: &libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    let len = len as usize;
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET if len >= mem::size_of::<libc::sockaddr_in>() => {
            // SAFETY: the family says that it is a `sockaddr_in`, which is smaller than the storage
            // and no more strictly aligned.
            let a = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(a.sin_port))))
        }
        libc::AF_INET6 if len >= mem::size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above, for `sockaddr_in6`.
            let a = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(a.sin6_addr.s6_addr);
            let port = u16::from_be(a.sin6_port);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, a.sin6_scope_id)),
            })
        }
        _ => None,
    }
}
