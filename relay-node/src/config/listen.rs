//! Two things cannot listen at one place: said before anything is bound, and by name.

use super::ConfigError;
use std::net::SocketAddr;
use std::path::Path;

/// Checks that no two of these addresses (of one protocol) are the same; port 0 takes any free one.
///
/// # Errors
/// The key of the second one, and that of the first.
pub fn distinct(path: Option<&Path>, listeners: &[(&str, SocketAddr)]) -> Result<(), ConfigError> {
    for (n, (key, address)) in listeners.iter().enumerate() {
        let taken = listeners[..n].iter().find(|(_, earlier)| overlap(*earlier, *address));
        if let Some((earlier, _)) = taken {
            let message = format!("{address} is where {earlier} listens already");
            return Err(ConfigError::at(path, key, message));
        }
    }
    Ok(())
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wild = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0
        && a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (wild || a.ip() == b.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str]) -> Result<(), String> {
        let names = ["overlay.listen", "http.listen", "ops.listen"];
        let all = addresses.iter().zip(names).map(|(a, name)| (name, a.parse().unwrap()));
        distinct(None, &all.collect::<Vec<_>>()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_same_place_twice_is_named() {
        assert_eq!(
            check(&["0.0.0.0:7443", "127.0.0.1:8080", "127.0.0.1:7443"]).unwrap_err(),
            "ops.listen: 127.0.0.1:7443 is where overlay.listen listens already"
        );
        assert!(check(&["[::1]:80", "[::]:80"]).is_err());
    }

    #[test]
    fn other_places_are_not() {
        check(&["127.0.0.1:0", "127.0.0.1:0", "0.0.0.0:0"]).unwrap();
        check(&["127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:81"]).unwrap();
        check(&["0.0.0.0:80", "[::1]:80"]).unwrap();
    }
}
