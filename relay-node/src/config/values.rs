//! Values as people write them: `10s`, `100M`, `host:port`. Functions for
//! `#[serde(deserialize_with = "…")]`, so that the structs hold the plain types.

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use soleil_protocol::message::HostPort;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Reads `250ms`, `10s`, `5m`, `2h`, `7d`.
///
/// # Errors
/// A sentence about the form.
pub fn parse_period(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no duration: write it like \"250ms\", \"10s\" or \"5m\"");
    let text_ = text.trim();
    let split = text_.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (number, unit) = text_.split_at(split);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refuse()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(refuse)
}

/// Reads a size or a rate: `1200`, `64k`, `2.5M`, `1G` (powers of 1000).
///
/// # Errors
/// A sentence about the form.
pub fn parse_quantity(text: &str) -> Result<u64, String> {
    let refuse = || format!("{text:?} is no quantity: write it like \"800k\", \"2.5M\" or \"1G\"");
    let trimmed = text.trim();
    let (number, factor) = match trimmed.char_indices().next_back() {
        Some((i, 'k' | 'K')) => (&trimmed[..i], 1_000),
        Some((i, 'M')) => (&trimmed[..i], 1_000_000),
        Some((i, 'G')) => (&trimmed[..i], 1_000_000_000),
        _ => (trimmed, 1u64),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Nine decimals are enough for the smallest unit of the largest factor.
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(refuse());
    }
    let whole: u64 = whole.parse().map_err(|_| refuse())?;
    let whole = whole.checked_mul(factor).ok_or_else(refuse)?;
    let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| refuse())?;
    let fraction = u128::from(fraction) * u128::from(factor) / 1_000_000_000;
    whole.checked_add(fraction as u64).ok_or_else(refuse)
}

/// Reads `host:port`, `192.0.2.1:7443` or `[2001:db8::1]:7443`.
///
/// # Errors
/// A sentence about the form.
pub fn parse_endpoint(text: &str) -> Result<HostPort, String> {
    let refuse = || format!("{text:?} is no address: write it like \"host.example:7443\"");
    let (host, port) = text.trim().rsplit_once(':').ok_or_else(refuse)?;
    let port: u16 = port.parse().map_err(|_| refuse())?;
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']').ok_or_else(refuse)?;
            inner.parse::<std::net::Ipv6Addr>().map_err(|_| refuse())?;
            inner
        }
        // The rest of an IPv6 address without brackets would hold more colons.
        None if host.contains(':') => return Err(refuse()),
        None => host,
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    // RFC 1035 section 2.3.4: a name has at most 255 bytes.
    if host.is_empty() || host.len() > 255 || !host.bytes().all(legal) || port == 0 {
        return Err(refuse());
    }
    Ok(HostPort { host: host.into(), port })
}

/// Writes an address as [`parse_endpoint`] reads it.
pub fn format_endpoint(endpoint: &HostPort) -> String {
    if endpoint.host.contains(':') {
        format!("[{}]:{}", endpoint.host, endpoint.port)
    } else {
        format!("{}:{}", endpoint.host, endpoint.port)
    }
}

/// serde: anything that is read from text by `FromStr`.
///
/// # Errors
/// What `FromStr` says.
pub fn text<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(de::Error::custom)
}

/// serde: as [`text`], for a key that may be absent.
///
/// # Errors
/// What `FromStr` says.
pub fn optional_text<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    text(deserializer).map(Some)
}

/// serde: a duration like `10s`.
///
/// # Errors
/// If it has not that form.
pub fn period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_period(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// serde: a quantity like `2.5M`, or a whole number.
///
/// # Errors
/// If it has not that form.
pub fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Quantity;
    impl Visitor<'_> for Quantity {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a quantity like \"2.5M\" or a whole number")
        }
        fn visit_i64<E: de::Error>(self, v: i64) -> Result<u64, E> {
            u64::try_from(v).map_err(|_| E::custom("it may not be negative"))
        }
        fn visit_u64<E: de::Error>(self, v: u64) -> Result<u64, E> {
            Ok(v)
        }
        fn visit_str<E: de::Error>(self, v: &str) -> Result<u64, E> {
            parse_quantity(v).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Quantity)
}

/// serde: an address like `host:port`, for a key that may be absent.
///
/// # Errors
/// If it has not that form.
pub fn optional_endpoint<'de, D: Deserializer<'de>>(d: D) -> Result<Option<HostPort>, D::Error> {
    parse_endpoint(&String::deserialize(d)?).map(Some).map_err(de::Error::custom)
}

/// serde: labels, as a table (`{ zone = "a" }`) or as a list (`["zone=a"]`).
///
/// # Errors
/// If it has neither form, or a name or value is longer than the protocol allows.
pub fn labels<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<(String, String)>, D::Error> {
    struct Labels;
    impl<'de> Visitor<'de> for Labels {
        type Value = Vec<(String, String)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("labels like { zone = \"a\" } or [\"zone=a\"]")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut labels = Vec::new();
            while let Some(entry) = map.next_entry()? {
                labels.push(entry);
            }
            Ok(labels)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut labels = Vec::new();
            while let Some(item) = seq.next_element::<String>()? {
                let (name, value) = item
                    .split_once('=')
                    .ok_or_else(|| de::Error::custom("a label has the form name=value"))?;
                labels.push((name.trim().to_string(), value.trim().to_string()));
            }
            Ok(labels)
        }
    }
    let labels = d.deserialize_any(Labels)?;
    let most = soleil_protocol::limits::MAX_LABELS;
    if labels.len() > most {
        return Err(de::Error::custom(format!("at most {most} labels")));
    }
    for (name, value) in &labels {
        for word in [name, value] {
            word_fits(word).map_err(de::Error::custom)?;
        }
        if name.is_empty() {
            return Err(de::Error::custom("a label needs a name"));
        }
    }
    Ok(labels)
}

/// serde: a short word (a region), as long as the protocol carries.
///
/// # Errors
/// If it is longer.
pub fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let word = String::deserialize(deserializer)?;
    word_fits(&word).map_err(de::Error::custom)?;
    Ok(word)
}

fn word_fits(word: &str) -> Result<(), String> {
    let most = soleil_protocol::limits::MAX_WORD;
    if word.len() > most || word.chars().any(char::is_control) {
        return Err(format!("{word:?} must have at most {most} bytes and no control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        assert_eq!(parse_period("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_period(" 10 s "), Ok(Duration::from_secs(10)));
        assert_eq!(parse_period("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["", "10", "s", "-1s", "1.5s", "10 years", "99999999999999999999s", "é"] {
            assert!(parse_period(bad).is_err(), "{bad}");
        }
        assert!(parse_period("18446744073709551615d").is_err());
    }

    #[test]
    fn quantities() {
        assert_eq!(parse_quantity("1200"), Ok(1200));
        assert_eq!(parse_quantity("2.5M"), Ok(2_500_000));
        assert_eq!(parse_quantity("64k"), Ok(64_000));
        assert_eq!(parse_quantity("1G"), Ok(1_000_000_000));
        for bad in ["", "M", ".5M", "1.M", "1T", "-1", "1 000", "99999999999G", "1e3", "é"] {
            assert!(parse_quantity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints() {
        for good in ["host.example:7443", "192.0.2.1:1", "[2001:db8::1]:7443"] {
            assert_eq!(format_endpoint(&parse_endpoint(good).unwrap()), good);
        }
        for bad in
            ["", "host", "host:", "host:0", "host:70000", ":1", "::1:80", "[x]:1", "a b:1", "é:1"]
        {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
        assert!(parse_endpoint(&format!("{}:1", "a".repeat(300))).is_err());
    }
}
