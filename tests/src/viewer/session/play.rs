//! What comes once connected: RTP, RTCP, and asking for what is missing.

use super::*;

impl Session {
    /// A packet of a load test's picture; `false` if it is something else.
    fn handle_bulk(&mut self, now: Now, data: &[u8]) -> bool {
        let (Some(bulk), Some(srtp)) = (&mut self.bulk, &mut self.srtp) else { return false };
        let Some(ssrc) = data.get(8..12) else { return false };
        if ssrc != bulk.ssrc.to_be_bytes() {
            return false;
        }
        let sequence = u16::from_be_bytes([data[2], data[3]]);
        bulk.receive(sequence, data.len());
        if u32::from(sequence) % self.options.open_one_in.max(1) == 0 {
            let header = Header::parse(data, None);
            match srtp.inbound.decrypt_rtp(data) {
                Ok(plain) => {
                    self.report.opened += 1;
                    if let Some(payload) = header.and_then(|h| h.payload(&plain)) {
                        bulk.opened(now, payload);
                    }
                }
                Err(_) => self.report.unopened += 1,
            }
        }
        true
    }

    pub(super) fn handle_rtp(&mut self, now: Now, data: &[u8]) {
        if self.timers.feedback.is_some()
            && let Some(id) = self.answer.as_ref().and_then(|a| a.twcc_id)
            && let Some(number) = rtp::transport_number(data, id)
        {
            self.arrivals.add(now.mono, number);
        }
        if self.handle_bulk(now, data) {
            return;
        }
        let (Some(answer), Some(srtp)) = (&self.answer, &mut self.srtp) else { return };
        let parsed = Header::parse(data, answer.capture_id);
        let meaning = parsed.and_then(|h| answer.payload(h.payload_type).map(|p| (h, p)));
        let Some((header, payload)) = meaning else {
            self.report.strange += 1;
            return;
        };
        let (codec, rtx) = match payload {
            Payload::Media(codec) => (codec, false),
            Payload::Rtx(apt) => match answer.payload(apt) {
                Some(Payload::Media(codec)) => (codec, true),
                _ => return,
            },
        };
        let waits_for_key = codec != Codec::Opus
            && self.streams.get(&header.ssrc).is_none_or(|(_, s)| s.first_key.is_none());
        let sampled = u32::from(header.sequence) % self.options.open_one_in.max(1) == 0;
        let mut plain = None;
        if rtx || waits_for_key || sampled {
            match srtp.inbound.decrypt_rtp(data) {
                Ok(packet) => plain = Some(packet),
                Err(_) => {
                    self.report.unopened += 1;
                    return;
                }
            }
            self.report.opened += 1;
        }
        if self.report.first_packet_ms.is_none() {
            self.report.first_packet_ms = Some(ms(now.mono, self.posted));
        }
        let body = plain.as_deref().and_then(|packet| header.payload(packet));
        if rtx {
            // RFC 4588: the original number, then the original payload.
            self.report.rtx_packets += 1;
            self.report.rtx_bytes += data.len() as u64;
            let Some([high, low, rest @ ..]) = body else {
                // Padding only: a probe.
                return;
            };
            let sequence = u16::from_be_bytes([*high, *low]);
            let key = rtp::starts_key_frame(codec, rest);
            let found = self.streams.values_mut().find(|(c, _)| *c == codec);
            if let Some((_, stream)) = found {
                if let Some(width) = rtp::width(codec, rest) {
                    stream.announce(header.timestamp, width);
                }
                stream.receive(now, &header, sequence, key, data.len());
            }
            return;
        }
        if !self.streams.contains_key(&header.ssrc) {
            if self.streams.len() >= MAX_STREAMS {
                return;
            }
            let is_video = codec != Codec::Opus;
            let rate = if is_video { 90_000 } else { 48_000 };
            self.streams.insert(header.ssrc, (codec, Stream::new(header.ssrc, rate, is_video)));
        }
        if let Some((_, stream)) = self.streams.get_mut(&header.ssrc) {
            let key = body.is_some_and(|body| rtp::starts_key_frame(codec, body));
            if let Some(width) = body.and_then(|body| rtp::width(codec, body)) {
                stream.announce(header.timestamp, width);
            }
            stream.receive(now, &header, header.sequence, key, data.len());
            if let Some(at) = stream.first_key
                && self.report.first_key_ms.is_none()
            {
                self.report.first_key_ms = Some(ms(at, self.posted));
            }
            if self.options.bulk.is_some() && stream.first_key.is_some() {
                self.bulk = Some(Bulk::new(header.ssrc, header.sequence));
            }
        }
    }

    pub(super) fn handle_rtcp(&mut self, now: Now, data: &[u8]) {
        let Some(srtp) = &mut self.srtp else { return };
        let Ok(plain) = srtp.inbound.decrypt_rtcp(data) else {
            self.report.unopened += 1;
            return;
        };
        for piece in rtp::parse_rtcp(&plain) {
            match piece {
                Rtcp::SenderReport(ssrc, ntp, _) => {
                    self.report.sender_reports += 1;
                    if let Some(bulk) = self.bulk.as_mut().filter(|b| b.ssrc == ssrc) {
                        bulk.sender_report(now.mono, ntp);
                    }
                    if let Some((_, stream)) = self.streams.get_mut(&ssrc) {
                        stream.sender_report(now.mono, ntp);
                    }
                }
                Rtcp::Bye(_) => self.report.byes += 1,
            }
        }
    }

    pub(super) fn repair(&mut self, now: Now) {
        let mut asks = Vec::new();
        for (_, stream) in self.streams.values_mut().filter(|(_, s)| s.has_missing()) {
            let wanted = stream.ask(now, self.rtt_us);
            if !wanted.is_empty() && self.options.nack {
                asks.push(rtp::nack(self.rtcp_ssrc, stream.ssrc, &wanted));
            }
        }
        for ask in asks {
            self.send_rtcp(&ask);
        }
    }

    /// A wave of what no good viewer sends.
    pub(super) fn abuse(&mut self) {
        let Some((_, stream)) = self.streams.values().find(|(c, _)| *c != Codec::Opus) else {
            return;
        };
        let (Some(srtp), Some(remote)) = (&mut self.srtp, self.remote) else { return };
        for _ in 0..ABUSE_WAVE {
            if self.options.abuse == Some(Abuse::Nacks) || self.replay.is_empty() {
                let ask = rtp::nack(self.rtcp_ssrc, stream.ssrc, &stream.latest(ABUSE_NUMBERS));
                let Ok(sealed) = srtp.outbound.encrypt_rtcp(&ask) else { return };
                self.replay = sealed.to_vec();
            }
            self.report.abuse.0 += 1;
            self.report.abuse.1 += self.replay.len() as u64;
            self.out.push_back((remote, self.replay.clone()));
        }
    }
}
