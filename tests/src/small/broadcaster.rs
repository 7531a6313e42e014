//! Somebody who speaks without a pause: Opus packets by the clock, without GStreamer.

use crate::wait::pause;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Opus: a packet each 20 ms.
const PACKET: Duration = Duration::from_millis(20);

/// Sends until it is dropped.
#[derive(Debug)]
pub struct Broadcaster {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Broadcaster {
    /// Sends to this port of a root.
    ///
    /// # Errors
    /// If there is no socket or thread for it.
    pub fn start(to: SocketAddr) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let socket = UdpSocket::bind(super::any())?;
        let thread = std::thread::Builder::new().name("broadcaster".into()).spawn(move || {
            let mut number = 0_u16;
            while !stopped.load(Ordering::Relaxed) {
                let mut packet = vec![0x80, 111];
                packet.extend(number.to_be_bytes());
                packet.extend((u32::from(number) * 960).to_be_bytes());
                packet.extend([0, 0, 0, 9, 0xfc, 1, 2, 3]);
                // A packet that the system does not take is a lost one.
                let _ = socket.send_to(&packet, to);
                number = number.wrapping_add(1);
                pause(PACKET);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Broadcaster {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
