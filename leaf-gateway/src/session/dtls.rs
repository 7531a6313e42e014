//! The DTLS server behind a small trait, so that the library can be replaced. Nothing here reads
//! sockets or clocks; the cryptography runs where the driver runs a [`DtlsJob`], never on the
//! media thread.
//!
//! `rtc-dtls` buffers what it is fed with (records of the next epoch, fragments of handshake
//! messages) with bounds of megabytes or none; [`RtcDtls`] feeds it within bounds of its own.

use bytes::BytesMut;
use relay_node::clock::Clock;
use relay_node::media::srtp::{DTLS_EXPORTER_LABEL, DTLS_EXPORTER_LEN, SrtpKeys};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::default_provider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error as RtcError;
use soleil_protocol::Mono;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroize;

/// Datagrams that a handshake may take: a browser needs about six; with every flight sent eight
/// times over (the library's number of tries) and a ClientHello in three pieces it is below this.
pub const MAX_HANDSHAKE_DATAGRAMS: u32 = 64;

/// Bytes that a handshake may take: a large ClientHello (post-quantum key shares, 2 KB) and a
/// certificate, several times over.
pub const MAX_HANDSHAKE_BYTES: usize = 64 * 1024;

/// Records that a handshake may take: a browser's flights have six at most, each sent eight times
/// over. The library's work to put a message together grows with the third power of its fragments:
/// one in 2,500 pieces (64 KB) took a handshake thread 1.4 s.
pub const MAX_HANDSHAKE_RECORDS: usize = 256;

/// Handshake records that are still looked at after the end of the handshake: repeats of the
/// client's last flight, when ours was lost (RFC 6347 section 4.2.4).
pub const MAX_REPEATS: u32 = 16;

/// Alerts that are looked at after the handshake. One closes the session; more are noise.
pub const MAX_ALERTS: u32 = 16;

/// The first wait before a flight is sent again. Browsers on good networks answer in tens of
/// milliseconds; RFC 6347 section 4.2.4.1 says one second for want of knowledge, too long for a
/// first picture within a second.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(400);

const RECORD_HEADER: usize = 13;
const RECORD_ALERT: u8 = 21;
const RECORD_HANDSHAKE: u8 = 22;

/// SHA-256 of a certificate (RFC 8122).
pub type Fingerprint = [u8; 32];

/// Whether a datagram is DTLS (RFC 7983 section 7).
pub fn is_dtls(data: &[u8]) -> bool {
    matches!(data.first(), Some(20..=63)) && data.len() >= 13
}

/// Whether a DTLS datagram begins with an alert or a part of a handshake.
pub(super) fn is_alert_or_handshake(data: &[u8]) -> bool {
    matches!(data.first(), Some(&(RECORD_ALERT | RECORD_HANDSHAKE)))
}

/// Keys for both directions, from a finished handshake.
#[derive(Debug, Clone)]
pub struct Handshaken {
    /// What the viewer sends with.
    pub client: SrtpKeys,
    /// What we send with.
    pub server: SrtpKeys,
    /// Of the certificate that the viewer showed.
    pub fingerprint: Fingerprint,
}

/// What happened.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The handshake is done.
    Complete(Box<Handshaken>),
    /// The peer has said goodbye.
    Closed,
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DtlsError {
    /// The client does not offer SRTP_AEAD_AES_128_GCM.
    #[error("the viewer does not offer SRTP_AEAD_AES_128_GCM")]
    NoGcm,
    /// The client showed no certificate.
    #[error("the viewer showed no certificate")]
    NoCertificate,
    /// More data than any handshake needs.
    #[error("the handshake took too many datagrams")]
    TooMuch,
    /// Nothing came back.
    #[error("the viewer stopped answering")]
    TimedOut,
    /// The library says no, or the peer did.
    #[error("the handshake failed")]
    Failed,
}

/// One DTLS association, server side.
pub trait Dtls: Send {
    /// Takes a datagram.
    ///
    /// # Errors
    /// The association is of no more use; what is left to send (an alert) should still be sent.
    fn handle(&mut self, now: Mono, datagram: &[u8]) -> Result<(), DtlsError>;
    /// The time of [`poll_timeout`](Dtls::poll_timeout) has come.
    ///
    /// # Errors
    /// As for [`handle`](Dtls::handle).
    fn handle_timeout(&mut self, now: Mono) -> Result<(), DtlsError>;
    /// The next datagram to be sent.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;
    /// The next event.
    fn poll_event(&mut self) -> Option<DtlsEvent>;
    /// When to call [`handle_timeout`](Dtls::handle_timeout).
    fn poll_timeout(&self) -> Option<Mono>;
    /// Says goodbye to the peer.
    fn close(&mut self, now: Mono);
}

/// The certificate and settings that all sessions of a process share.
#[derive(Clone)]
pub struct DtlsContext {
    config: Arc<HandshakeConfig>,
    fingerprint: Fingerprint,
    clock: Clock,
}

impl std::fmt::Debug for DtlsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DtlsContext(..)")
    }
}

/// The certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("can't set DTLS up: {0}")]
pub struct SetupError(String);

impl DtlsContext {
    /// Makes a certificate (ECDSA P-256, self-signed, for the life of this process). The clock
    /// only translates times for the library.
    ///
    /// # Errors
    /// [`SetupError`] if the cryptography library refuses.
    pub fn new(clock: Clock) -> Result<Self, SetupError> {
        let failed = |e: &dyn std::fmt::Display| SetupError(e.to_string());
        let provider = default_provider().map_err(|e| failed(&e))?;
        let certificate =
            Certificate::generate_self_signed(vec!["soleil".to_owned()], provider.crypto())
                .map_err(|e| failed(&e))?;
        let der = certificate.certificate.first().ok_or_else(|| failed(&"no certificate"))?;
        let fingerprint = sha256(der);
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate])
            // GCM alone: the library follows the client's order, and Chromium lists AES-CM first.
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // Certificates are checked against the offer's fingerprint (RFC 5763 section 5), by
            // the session.
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_flight_interval(FLIGHT_INTERVAL)
            .build(false, None)
            .map_err(|e| failed(&e))?;
        Ok(Self { config: Arc::new(config), fingerprint, clock })
    }

    /// Of our certificate, for the answer.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// A new association.
    pub fn server(&self) -> RtcDtls {
        RtcDtls {
            endpoint: Endpoint::new(LOCAL, TransportProtocol::UDP, Some(self.config.clone())),
            clock: self.clock,
            datagrams: 0,
            bytes: 0,
            records: 0,
            after: [0; 2],
            complete: false,
            events: Vec::new(),
        }
    }
}

/// The library tells associations apart by address; each of ours has an endpoint of its own, and
/// the viewer's address may change.
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2);

/// `rtc-dtls` as a [`Dtls`].
pub struct RtcDtls {
    endpoint: Endpoint,
    clock: Clock,
    datagrams: u32,
    bytes: usize,
    records: usize,
    after: [u32; 2],
    complete: bool,
    events: Vec<DtlsEvent>,
}

impl std::fmt::Debug for RtcDtls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RtcDtls(complete: {})", self.complete)
    }
}

impl RtcDtls {
    /// Whether the bounds allow the datagram; `Ok(false)` drops it quietly.
    fn admit(&mut self, datagram: &[u8]) -> Result<bool, DtlsError> {
        if !self.complete {
            self.datagrams += 1;
            self.bytes += datagram.len();
            self.records += records(datagram);
            let bounded = self.datagrams <= MAX_HANDSHAKE_DATAGRAMS
                && self.bytes <= MAX_HANDSHAKE_BYTES
                && self.records <= MAX_HANDSHAKE_RECORDS;
            return if bounded { Ok(true) } else { Err(DtlsError::TooMuch) };
        }
        let (kind, max) = match datagram.first() {
            Some(&RECORD_HANDSHAKE) => (0, MAX_REPEATS),
            Some(&RECORD_ALERT) => (1, MAX_ALERTS),
            // Application data: nobody has offered a data channel.
            _ => return Ok(false),
        };
        self.after[kind] += 1;
        Ok(self.after[kind] <= max)
    }

    fn finish(&mut self) -> Result<(), DtlsError> {
        let state = self.endpoint.get_connection_state(PEER).ok_or(DtlsError::Failed)?;
        if state.srtp_protection_profile() != SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm {
            return Err(DtlsError::NoGcm);
        }
        let certificate = state.peer_certificates.first().ok_or(DtlsError::NoCertificate)?;
        let exported = state
            .export_keying_material(DTLS_EXPORTER_LABEL, &[], DTLS_EXPORTER_LEN)
            .map_err(|_| DtlsError::Failed)?;
        let mut material = [0u8; DTLS_EXPORTER_LEN];
        let exported = exported.into_bytes();
        if exported.len() != material.len() {
            return Err(DtlsError::Failed);
        }
        material.copy_from_slice(&exported);
        let (client, server) = SrtpKeys::from_dtls_exporter(&material);
        material.zeroize();
        self.complete = true;
        let fingerprint = sha256(certificate);
        self.events.push(DtlsEvent::Complete(Box::new(Handshaken { client, server, fingerprint })));
        Ok(())
    }
}

impl Dtls for RtcDtls {
    fn handle(&mut self, now: Mono, datagram: &[u8]) -> Result<(), DtlsError> {
        if !self.admit(datagram)? {
            return Ok(());
        }
        let at = self.clock.instant(now);
        match self.endpoint.read(at, PEER, None, BytesMut::from(datagram)) {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.finish()?,
                        EndpointEvent::PeerClosed => self.events.push(DtlsEvent::Closed),
                        _ => {}
                    }
                }
                Ok(())
            }
            // After the handshake a record can be bad without the association being so: only an
            // authentic alert ends it.
            Err(RtcError::ErrAlertFatalOrClose) => Err(DtlsError::Failed),
            Err(_) if self.complete => Ok(()),
            Err(RtcError::ErrServerNoMatchingSrtpProfile) => Err(DtlsError::NoGcm),
            Err(error) => {
                tracing::debug!(%error, "DTLS handshake failed");
                Err(DtlsError::Failed)
            }
        }
    }

    fn handle_timeout(&mut self, now: Mono) -> Result<(), DtlsError> {
        let at = self.clock.instant(now);
        match self.endpoint.handle_timeout(PEER, at) {
            Err(_) if !self.complete => Err(DtlsError::TimedOut),
            _ => Ok(()),
        }
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.endpoint.poll_transmit().map(|t| t.message.to_vec())
    }

    fn poll_event(&mut self) -> Option<DtlsEvent> {
        if self.events.is_empty() { None } else { Some(self.events.remove(0)) }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        let at = self.endpoint.poll_timeout(&PEER)?;
        let start = self.clock.instant(Mono(0));
        Some(Mono(at.saturating_duration_since(start).as_micros() as u64))
    }

    fn close(&mut self, now: Mono) {
        let at = self.clock.instant(now);
        let _ = self.endpoint.stop(at, PEER);
    }
}

/// Records in a datagram (RFC 6347 section 4.1), cut ones included.
fn records(mut datagram: &[u8]) -> usize {
    let mut n = 0;
    while !datagram.is_empty() {
        n += 1;
        let Some(length) = datagram.get(RECORD_HEADER - 2..RECORD_HEADER) else { break };
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        datagram = datagram.get(RECORD_HEADER + length..).unwrap_or_default();
    }
    n
}

/// SHA-256 of a DER certificate.
pub fn sha256(der: &[u8]) -> Fingerprint {
    let mut out = [0; 32];
    out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, der).as_ref());
    out
}

/// Handshake work that a session hands out: the association and what came for it. The session
/// gets it back as a [`DtlsDone`].
pub struct DtlsJob {
    pub(super) dtls: Box<dyn Dtls>,
    pub(super) input: Vec<Vec<u8>>,
    pub(super) timeout: bool,
}

/// A job that has run.
pub struct DtlsDone {
    /// `None` if it was lost with a job that broke.
    pub(super) dtls: Option<Box<dyn Dtls>>,
    pub(super) output: Vec<Vec<u8>>,
    pub(super) events: Vec<DtlsEvent>,
    pub(super) result: Result<(), DtlsError>,
}

impl std::fmt::Debug for DtlsJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DtlsJob({} datagrams)", self.input.len())
    }
}

impl std::fmt::Debug for DtlsDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DtlsDone({:?})", self.result)
    }
}

impl DtlsJob {
    /// Does the cryptography (about a millisecond for the flight that signs). Should the library
    /// panic at what a stranger sends, that association alone is over.
    pub fn run(self, now: Mono) -> DtlsDone {
        let run = std::panic::AssertUnwindSafe(|| self.run_unguarded(now));
        std::panic::catch_unwind(run).unwrap_or_else(|_| {
            tracing::error!("the DTLS library has panicked; the session ends");
            let result = Err(DtlsError::Failed);
            DtlsDone { dtls: None, output: Vec::new(), events: Vec::new(), result }
        })
    }

    fn run_unguarded(self, now: Mono) -> DtlsDone {
        let DtlsJob { mut dtls, input, timeout } = self;
        let mut result = Ok(());
        for datagram in &input {
            result = dtls.handle(now, datagram);
            if result.is_err() {
                break;
            }
        }
        if timeout && result.is_ok() && dtls.poll_timeout().is_some_and(|t| t <= now) {
            result = dtls.handle_timeout(now);
        }
        let output = std::iter::from_fn(|| dtls.poll_transmit()).collect();
        let events = std::iter::from_fn(|| dtls.poll_event()).collect();
        DtlsDone { dtls: Some(dtls), output, events, result }
    }
}
