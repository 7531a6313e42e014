//! Getting connected: ICE checks, the DTLS handshake, SRTP's keys.

use super::*;

impl Session {
    pub(super) fn handle_stun(&mut self, now: Now, from: SocketAddr, data: &[u8]) {
        let provider = self.identity.provider.clone();
        match self.secrets.read(provider.crypto(), from, data) {
            Some(Incoming::Request { answer, nominates }) => {
                self.report.server_checks += 1;
                self.out.push_back((from, answer));
                if nominates && self.remote.is_none() {
                    self.nominated = Some(from);
                    self.follow_nomination(now);
                }
            }
            Some(Incoming::Success(transaction)) => {
                let Some((to, sent)) = self.checks.remove(&transaction) else { return };
                self.last_consent = now.mono;
                self.report.consents += 1;
                self.rtt_us = now.mono.0 - sent.0;
                self.checks.retain(|_, (_, sent)| now.mono.0 - sent.0 < CONSENT_EXPIRES_US);
                if self.remote.is_none() && self.role == Role::Controlling {
                    self.select(now, to);
                }
            }
            Some(Incoming::Failure(_)) => self.report.strange += 1,
            None => self.report.strange += 1,
        }
    }

    /// Takes the path that a controlling server has chosen, once its description is here.
    pub(super) fn follow_nomination(&mut self, now: Now) {
        if self.role == Role::Controlled
            && self.answer.is_some()
            && let Some(to) = self.nominated.take()
        {
            self.select(now, to);
        }
    }

    fn select(&mut self, now: Now, to: SocketAddr) {
        self.remote = Some(to);
        self.last_consent = now.mono;
        self.timers.check = None;
        self.timers.consent = Some(after(now.mono, self.options.consent_us));
        self.start_dtls(now, to);
    }

    pub(super) fn start_dtls(&mut self, now: Now, remote: SocketAddr) {
        let mut dtls = Endpoint::new(self.local, TransportProtocol::UDP, None);
        let config = self.identity.config.clone();
        if let Err(error) = dtls.connect(self.clock.instant(now.mono), remote, config, None) {
            return self.fail(&format!("DTLS: {error}"));
        }
        self.dtls = Some(dtls);
        let before = self.out.len();
        self.flush_dtls();
        if self.role == Role::Controlled {
            self.hello = self.out.range(before..).map(|(_, data)| data.clone()).collect();
            self.timers.hello = Some(after(now.mono, HELLO_FIRST_US));
        }
    }

    pub(super) fn flush_dtls(&mut self) {
        if let Some(dtls) = &mut self.dtls {
            while let Some(transmit) = dtls.poll_transmit() {
                self.out.push_back((transmit.transport.peer_addr, transmit.message.to_vec()));
            }
        }
    }

    pub(super) fn handle_dtls(&mut self, now: Now, from: SocketAddr, data: &[u8]) {
        self.timers.hello = None;
        let Some(dtls) = &mut self.dtls else { return };
        let events = dtls.read(self.clock.instant(now.mono), from, None, BytesMut::from(data));
        match events {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.connect(now, from),
                        EndpointEvent::PeerClosed => {
                            self.report.closed_by_server = true;
                            self.report.state = State::Closed;
                            self.timers = Timers::default();
                        }
                        _ => {}
                    }
                }
            }
            Err(error) => {
                if self.srtp.is_none() {
                    self.fail(&format!("DTLS: {error}"));
                }
            }
        }
        self.flush_dtls();
    }

    pub(super) fn connect(&mut self, now: Now, remote: SocketAddr) {
        let Some(state) = self.dtls.as_ref().and_then(|d| d.get_connection_state(remote)) else {
            return;
        };
        let wanted = self.answer.as_ref().map(|a| a.fingerprint.as_str()).unwrap_or_default();
        match secure::srtp(state, wanted, &self.identity) {
            Ok((inbound, outbound, profile)) => {
                self.srtp = Some(Srtp { inbound, outbound });
                self.report.state = State::Connected;
                self.report.srtp = Some(profile.to_owned());
                self.report.connected_ms = Some(ms(now.mono, self.posted));
                self.connected = Some(now.mono);
                self.timers.give_up = None;
                self.timers.repair = Some(after(now.mono, REPAIR_EVERY_US));
                self.timers.abuse = self.options.abuse.map(|_| now.mono);
                self.timers.reports = Some(after(now.mono, self.options.report_us));
                if self.answer.as_ref().is_some_and(|a| a.twcc_id.is_some()) {
                    self.timers.feedback = self.options.feedback_us.map(|us| after(now.mono, us));
                }
                self.timers.key_frame = Some(after(now.mono, PLI_PATIENCE_US));
            }
            Err(error) => self.fail(&error),
        }
    }

    pub(super) fn check(&mut self, now: Now, to: SocketAddr) {
        let mut transaction = [0; 12];
        self.rng.fill(&mut transaction);
        let provider = self.identity.provider.clone();
        if let Some(request) =
            self.secrets.request(provider.crypto(), transaction, self.role, self.tie_breaker)
        {
            self.checks.insert(transaction, (to, now.mono));
            self.out.push_back((to, request));
        }
    }
}
