//! A small blocking HTTP/1.1 client: one request, one connection, no TLS. Enough for WHEP, ops
//! endpoints and bad requests on purpose.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Connect and each read or write may take this long.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Longer answers are refused.
const MAX_RESPONSE: u64 = 8 << 20;
/// As many redirects as browsers follow at most.
const MAX_REDIRECTS: usize = 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not an `http://host[:port]/path` URL.
    #[error("bad URL {0}")]
    Url(String),
    /// The connection failed.
    #[error("{url}: {error}")]
    Io {
        /// Where.
        url: String,
        /// Why.
        error: io::Error,
    },
    /// What came is not HTTP.
    #[error("{0}: not an HTTP answer")]
    Malformed(String),
    /// Redirected in circles.
    #[error("{0}: too many redirects")]
    Redirects(String),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Where it came from, after redirects.
    pub url: String,
    /// Status code.
    pub status: u16,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// How many redirects were followed.
    pub redirects: usize,
}

impl Response {
    /// A header field's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Splits `http://host:port/path` into authority and path.
///
/// # Errors
/// If it is another kind of URL.
pub fn split(url: &str) -> Result<(String, String), HttpError> {
    let bad = || HttpError::Url(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if authority.is_empty() {
        return Err(bad());
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    Ok((authority, if path.is_empty() { "/".to_owned() } else { path.to_owned() }))
}

/// What a `Location` means on an answer from `base`.
///
/// # Errors
/// If `base` is not a URL.
pub fn resolve(base: &str, location: &str) -> Result<String, HttpError> {
    if location.contains("://") {
        return Ok(location.to_owned());
    }
    let (authority, path) = split(base)?;
    if location.starts_with('/') {
        return Ok(format!("http://{authority}{location}"));
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Ok(format!("http://{authority}{folder}/{location}"))
}

/// Sends one request and follows no redirect.
///
/// # Errors
/// If there is no HTTP answer.
pub fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response, HttpError> {
    let failed = |error| HttpError::Io { url: url.to_owned(), error };
    let (authority, path) = split(url)?;
    let mut stream = connect(&authority).map_err(failed)?;
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" || method == "PATCH" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).map_err(failed)?;
    let mut answer = Vec::new();
    let read = stream.take(MAX_RESPONSE).read_to_end(&mut answer);
    // A server that refuses a long body may reset the connection after its answer.
    if let Err(error) = read
        && answer.is_empty()
    {
        return Err(failed(error));
    }
    parse(url, &answer).ok_or_else(|| HttpError::Malformed(url.to_owned()))
}

/// Sends a request and follows 307 and 308 with the same method and body (301, 302 likewise, as
/// nothing here sends forms).
///
/// # Errors
/// If there is no HTTP answer at the end.
pub fn follow(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response, HttpError> {
    let mut url = url.to_owned();
    for redirects in 0..=MAX_REDIRECTS {
        let mut response = request(method, &url, headers, body)?;
        response.redirects = redirects;
        match (response.status, response.header("location")) {
            (301 | 302 | 307 | 308, Some(location)) => url = resolve(&url, location)?,
            _ => return Ok(response),
        }
    }
    Err(HttpError::Redirects(url))
}

/// GET.
///
/// # Errors
/// If there is no HTTP answer.
pub fn get(url: &str) -> Result<Response, HttpError> {
    follow("GET", url, &[], &[])
}

fn connect(authority: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn parse(url: &str, answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    if status == 100 {
        return parse(url, &answer[end + 4..]);
    }
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()))
        .collect();
    let raw = &answer[end + 4..];
    let chunked = headers
        .iter()
        .any(|(n, v)| n.eq_ignore_ascii_case("transfer-encoding") && v.contains("chunked"));
    let body = if chunked { unchunk(raw)? } else { raw.to_vec() };
    Some(Response { url: url.to_owned(), status, headers, body, redirects: 0 })
}

fn unchunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = raw.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&raw[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        raw = &raw[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(raw.get(..size)?);
        raw = raw.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_and_resolved() {
        assert_eq!(split("http://a:1/b").unwrap(), ("a:1".to_owned(), "/b".to_owned()));
        assert_eq!(split("http://a").unwrap(), ("a:80".to_owned(), "/".to_owned()));
        assert_eq!(split("http://[::1]:8/").unwrap().0, "[::1]:8");
        assert!(split("https://a/").is_err());
        assert_eq!(resolve("http://a:1/b/c", "/d").unwrap(), "http://a:1/d");
        assert_eq!(resolve("http://a:1/b/c", "d").unwrap(), "http://a:1/b/d");
        assert_eq!(resolve("http://a:1/b/c", "http://x/").unwrap(), "http://x/");
    }

    #[test]
    fn answers_are_parsed() {
        let plain = parse("u", b"HTTP/1.1 201 Created\r\nLocation: /x\r\n\r\nv=0").unwrap();
        assert_eq!((plain.status, plain.header("location")), (201, Some("/x")));
        assert_eq!(plain.body, b"v=0");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(parse("u", chunked).unwrap().body, b"abc");
        assert!(parse("u", b"SSH-2.0").is_none());
    }
}
