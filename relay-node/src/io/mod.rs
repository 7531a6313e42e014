//! Everything that touches sockets: the UDP port and its thread, the control links and the
//! driver that runs a control core. No decision is made here (DESIGN 2).

pub mod accept;
mod bucket;
mod conn;
pub mod counters;
mod dial;
pub mod driver;
pub(crate) mod gate;
pub mod limits;
pub mod media_thread;
pub(crate) mod plane;
pub(crate) mod process;
mod tls_state;
pub mod udp;

#[cfg(test)]
mod tests;

use soleil_protocol::Role;

/// Checks join tokens when a client without a certificate connects to the root. It is called on a
/// task of the runtime, so it should not take longer than a look-up.
pub trait TokenCheck: Send + Sync {
    /// The role that the token grants, if it is known, has the right secret, has not run out and
    /// is not revoked. Compare secrets in constant time
    /// ([`crate::identity::encoding::same_secret`]).
    ///
    /// # Errors
    /// One sentence for the peer and the log; it must not tell more about the token than that it
    /// is refused, expired or revoked.
    fn check(&self, id: &str, secret: &str) -> Result<Role, String>;
}
