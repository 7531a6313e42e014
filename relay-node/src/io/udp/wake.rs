//! Waiting for a socket, a wake-up or a deadline, whichever comes first: `ppoll` and an `eventfd`.

use super::UdpBatch;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Wakes a thread that is in [`UdpBatch::wait`]. Clones wake the same thread; many wake-ups
/// before it looks cost one system call.
#[derive(Debug, Clone)]
pub struct Waker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    pending: AtomicBool,
}

/// Why a wait ended; all false means that the time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// Datagrams can be received.
    pub readable: bool,
    /// The socket takes datagrams again (only if that was asked for).
    pub writable: bool,
    /// Somebody called [`Waker::wake`].
    pub woken: bool,
    /// The other descriptor is ready to be read.
    pub also: bool,
}

impl Waker {
    /// Makes a wake-up.
    ///
    /// # Errors
    /// No file descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; a descriptor that is returned belongs to nobody else.
        let fd = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self { inner: Arc::new(Inner { fd, pending: AtomicBool::new(false) }) })
    }

    /// Ends the wait, or the next one if nobody waits now.
    pub fn wake(&self) {
        if self.inner.pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let one: u64 = 1;
        // SAFETY: the pointer and the length describe `one`. Failure means that the counter is
        // full, that is, that a wake-up is pending anyway.
        unsafe {
            libc::write(self.inner.fd.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8);
        }
    }

    /// Takes the wake-up; work queued before a later `wake` is seen after this returns.
    fn take(&self) {
        let mut count: u64 = 0;
        // SAFETY: the pointer and the length describe `count`; the descriptor does not block.
        unsafe {
            libc::read(self.inner.fd.as_raw_fd(), std::ptr::from_mut(&mut count).cast(), 8);
        }
        // A swap, not a store: it synchronises with a `wake` that found the flag set.
        self.inner.pending.swap(false, Ordering::AcqRel);
    }
}

fn timespec(timeout: Duration) -> libc::timespec {
    // An hour at most: no timer of ours is longer, and the C types can't overflow.
    let timeout = timeout.min(Duration::from_secs(3600));
    libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as _,
    }
}

impl UdpBatch {
    /// Waits until the socket takes datagrams again; `false` if `timeout` was over before.
    pub fn wait_writable(&self, timeout: Duration) -> bool {
        let mut fd =
            libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        let time = timespec(timeout);
        // SAFETY: `fd` and `time` outlive the call, the count is 1, and a null mask leaves the
        // signals alone.
        let n = unsafe { libc::ppoll(&mut fd, 1, &time, std::ptr::null()) };
        n > 0 && fd.revents & libc::POLLOUT != 0
    }

    /// Waits until datagrams are there, `waker` is woken or `timeout` is over; with `writable`
    /// also until the socket can send.
    ///
    /// # Errors
    /// Errors of `ppoll` itself.
    pub fn wait(&self, timeout: Duration, waker: &Waker, writable: bool) -> io::Result<Ready> {
        self.wait_also(timeout, waker, writable, None)
    }

    /// Like [`wait`](Self::wait), and until another descriptor can be read (an `epoll` instance,
    /// for instance, with many behind it).
    ///
    /// # Errors
    /// Errors of `ppoll` itself.
    pub fn wait_also(
        &self,
        timeout: Duration,
        waker: &Waker,
        writable: bool,
        also: Option<BorrowedFd<'_>>,
    ) -> io::Result<Ready> {
        let events = libc::POLLIN | if writable { libc::POLLOUT } else { 0 };
        let mut fds = [
            libc::pollfd { fd: self.socket.as_raw_fd(), events, revents: 0 },
            libc::pollfd { fd: waker.inner.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd {
                // A negative one is passed over.
                fd: also.map_or(-1, |fd| fd.as_raw_fd()),
                events: libc::POLLIN,
                revents: 0,
            },
        ];
        let time = timespec(timeout);
        // SAFETY: `fds` and `time` outlive the call, the count is that of `fds`, and a null mask
        // leaves the signals alone.
        let n = unsafe { libc::ppoll(fds.as_mut_ptr(), 3, &time, std::ptr::null()) };
        if n < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(Ready::default()),
                _ => Err(error),
            };
        }
        let woken = fds[1].revents != 0;
        if woken {
            waker.take();
        }
        // An error on the socket is read by the next receive.
        let readable = fds[0].revents & (libc::POLLIN | libc::POLLERR | libc::POLLHUP) != 0;
        let writable = fds[0].revents & libc::POLLOUT != 0;
        Ok(Ready { readable, writable, woken, also: fds[2].revents != 0 })
    }
}
