//! Configuration: a TOML file, overlaid by environment variables, overlaid by flags (the binaries
//! do the last). Every error names the file, line and key, or the variable.
//!
//! A configuration is a struct with `#[serde(default, deny_unknown_fields)]` all the way down, so
//! that each source can be checked by itself; what must be present is checked afterwards, with
//! [`ConfigError::missing`] and [`ConfigError::at`].

pub mod candidates;
pub mod flags;
pub mod ice_servers;
pub mod listen;
pub mod reach;
pub mod sections;
pub mod values;

mod error;
mod place;

pub use error::ConfigError;

use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// The prefix of our environment variables: `SOLEIL_NODE__NAME` is `name` in `[node]`.
pub const ENV_PREFIX: &str = "SOLEIL_";
/// Longest configuration file that is read, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;
/// What stands between section and key in a variable's name. Variables without it are not ours:
/// container platforms set things like `SOLEIL_ROOT_SERVICE_HOST` by themselves.
const SEPARATOR: &str = "__";

/// Reads the configuration: file first (none: defaults), then the process' environment.
///
/// # Errors
/// What is wrong, and where: [`ConfigError`].
pub fn load<T: DeserializeOwned>(path: Option<&Path>, env_prefix: &str) -> Result<T, ConfigError> {
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load_with(path, env_prefix, vars)
}

/// As [`load`], with the environment as an argument.
///
/// # Errors
/// As [`load`].
pub fn load_with<T: DeserializeOwned>(
    path: Option<&Path>,
    env_prefix: &str,
    vars: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut table = match path {
        Some(path) => read_file::<T>(path)?,
        None => Table::new(),
    };
    let mut vars: Vec<(String, String)> = vars
        .into_iter()
        .filter(|(name, _)| {
            name.strip_prefix(env_prefix).is_some_and(|rest| rest.contains(SEPARATOR))
        })
        .collect();
    vars.sort();
    for (name, text) in &vars {
        let keys = name.strip_prefix(env_prefix).unwrap_or(name).to_ascii_lowercase();
        let keys: Vec<&str> = keys.split(SEPARATOR).collect();
        overlay::<T>(&mut table, name, &keys, text)?;
    }
    table.try_into().map_err(|e: toml::de::Error| ConfigError::Other(e.to_string()))
}

fn read_file<T: DeserializeOwned>(path: &Path) -> Result<Table, ConfigError> {
    let unreadable =
        |what: String| ConfigError::Unreadable { file: path.to_path_buf(), message: what };
    let length = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
    if length > MAX_FILE {
        return Err(unreadable(format!("longer than {MAX_FILE} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    let at = |e: &toml::de::Error| {
        let offset = e.span().map_or(0, |s| s.start);
        ConfigError::File {
            file: path.to_path_buf(),
            line: place::line_of(&text, offset),
            key: place::key_at(&text, offset),
            message: e.message().to_string(),
        }
    };
    // Once as the configuration, for errors that know their place, and once as a plain table, to
    // put the environment's values over it.
    toml::from_str::<T>(&text).map_err(|e| at(&e))?;
    toml::from_str::<Table>(&text).map_err(|e| at(&e))
}

/// Puts a variable's value into the table, in the first form that the configuration accepts there:
/// text, a TOML value (number, boolean, list), or a list with commas.
fn overlay<T: DeserializeOwned>(
    table: &mut Table,
    name: &str,
    keys: &[&str],
    text: &str,
) -> Result<(), ConfigError> {
    let mut candidates = vec![Value::String(text.to_string())];
    let literal = toml::from_str::<Table>(&format!("v = {text}")).ok();
    // One line holds one value: "1\nx = 2" is none.
    candidates.extend(literal.filter(|t| t.len() == 1).and_then(|mut t| t.remove("v")));
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    candidates.push(Value::Array(items.map(|item| Value::String(item.into())).collect()));
    let mut refusal = String::new();
    for value in candidates {
        let mut alone = Table::new();
        let tried = place(&mut alone, keys, value.clone())
            .and_then(|()| alone.try_into::<T>().map_err(|e| e.message().to_string()));
        match tried {
            Ok(_) => {
                return place(table, keys, value)
                    .map_err(|message| ConfigError::Variable { name: name.into(), message });
            }
            Err(message) if refusal.is_empty() => refusal = message,
            Err(_) => {}
        }
    }
    Err(ConfigError::Variable { name: name.into(), message: refusal })
}

fn place(table: &mut Table, keys: &[&str], value: Value) -> Result<(), String> {
    let Some((last, sections)) = keys.split_last() else {
        return Err("names no key".into());
    };
    if keys.iter().any(|key| key.is_empty()) {
        return Err("names no key".into());
    }
    let mut table = table;
    for section in sections {
        let entry =
            table.entry((*section).to_string()).or_insert_with(|| Value::Table(Table::new()));
        table = entry.as_table_mut().ok_or_else(|| format!("{section:?} is no section"))?;
    }
    table.insert((*last).to_string(), value);
    Ok(())
}

#[cfg(test)]
mod tests;
