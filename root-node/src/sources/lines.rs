//! Lines of another process, with a bound on their length: what is longer is left out, and its place
//! is kept.

use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Reads lines of at most `limit` bytes.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    limit: usize,
    line: Vec<u8>,
    too_long: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// From there.
    pub fn new(from: R, limit: usize) -> Self {
        Self { from, limit, line: Vec::new(), too_long: false }
    }

    /// The next line without its end; `None` when there are no more. May be cancelled: nothing is
    /// lost.
    ///
    /// # Errors
    /// What reading says.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            let available = self.from.fill_buf().await?;
            if available.is_empty() {
                if self.line.is_empty() && !self.too_long {
                    return Ok(None);
                }
                return Ok(Some(self.take()));
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            let room = self.limit - self.line.len();
            self.too_long |= part.len() > room;
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.from.consume(used);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> String {
        let mut text = String::from_utf8_lossy(&self.line).into_owned();
        if self.too_long {
            text.push_str(" ...");
        }
        self.line.clear();
        self.too_long = false;
        text
    }
}
