//! Who this node is: which identities it takes, and the renewal of its certificate.

use super::NodeCore;
use super::api::Action;
use super::limits::{RENEW_AGAIN, RENEW_TRIES};
use super::timers::Timer;
use soleil_protocol::message::Identity;
use soleil_protocol::{Address, Body};
use std::time::Duration;

impl NodeCore {
    /// Asks for a new certificate along the tree; without a parent the next join brings one. A node
    /// that did not get one before the old one ends leaves: its parent would close the link, or is
    /// the one that keeps the answer back.
    pub(super) fn renew(&mut self) {
        let life = self.identity.as_ref().and_then(|i| self.vault.validity(&i.certificate));
        let left = life.map_or(u64::MAX, |(_, until)| until.0.saturating_sub(self.now.wall.0));
        let span = life.map_or(u64::MAX, |(from, until)| until.0.saturating_sub(from.0));
        let again = if left == 0 { u64::MAX } else { left.min((span / RENEW_TRIES).max(1)) };
        let again = Duration::from_micros(again);
        self.timers.set(Timer::Renew, self.now.mono.after(again.min(RENEW_AGAIN)));
        if left == 0 {
            return self.rejoin("the certificate has run out");
        }
        if let Some(conn) = self.way_up() {
            let hello = self.join_hello();
            self.send(conn, Some(Address::Root), Body::Hello(Box::new(hello)));
        }
    }

    /// Whether an identity may be taken. On the connection to the root itself, which TLS has
    /// proved, it may be another than before. What comes along the tree has passed through others:
    /// it renews the certificate and nothing else, above all not the key that tickets are checked
    /// with.
    pub(super) fn check_identity(&self, identity: &Identity, joining: bool) -> Result<(), String> {
        self.vault.check_identity(identity, self.now)?;
        let Some(old) = self.identity.as_ref().filter(|_| !joining) else {
            return if joining { Ok(()) } else { Err("there is nothing to renew".into()) };
        };
        if old.id != identity.id
            || old.authority != identity.authority
            || old.ticket_key != identity.ticket_key
        {
            return Err("a renewal changes the certificate only".into());
        }
        let end = |identity: &Identity| self.vault.validity(&identity.certificate).map(|v| v.1);
        if end(identity) < end(old) {
            return Err("it runs out before the one in use".into());
        }
        Ok(())
    }

    /// Takes the identity that the root gave.
    pub(super) fn take_identity(&mut self, identity: Identity) {
        if self.identity.as_ref().is_some_and(|old| old.id != identity.id) {
            // Children know us by the old id: their tickets and routes are void.
            self.drop_children("the parent has another name now");
            self.drop_reserves("the backup has another name now");
        }
        let life = self.vault.validity(&identity.certificate);
        if let Some((from, until)) = life {
            let (from, until, now) = (from.0, until.0, self.now.wall.0);
            let renew = from.saturating_add(until.saturating_sub(from) / 3 * 2);
            let wait = Duration::from_micros(renew.saturating_sub(now));
            self.timers.set(Timer::Renew, self.now.mono.after(wait));
        }
        self.identity = Some(identity.clone());
        self.act(Action::Identity(identity));
        // The backup has seen the old certificate only, and would end the link with it.
        self.drop_backup("a new certificate");
        self.keep_warm();
    }
}
