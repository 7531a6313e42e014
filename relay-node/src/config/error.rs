//! What is wrong with a configuration, and where.

use std::path::{Path, PathBuf};

/// An error in the configuration. Its text is for the operator and names the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {message}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// Something in the file.
    #[error("{}:{line}: {}{message}", file.display(), key.as_ref().map_or(String::new(), |k| format!("{k}: ")))]
    File {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Which key, if the file can be read that far.
        key: Option<String>,
        /// What is wrong.
        message: String,
    },
    /// An environment variable.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A command-line flag.
    #[error("{flag}: {message}")]
    Flag {
        /// Its name with the dashes.
        flag: String,
        /// What is wrong.
        message: String,
    },
    /// Something that must be given is given nowhere.
    #[error("{key} is missing: give it in the file, as {variable}{}", flag.as_ref().map_or(String::new(), |f| format!(" or as {f}")))]
    Missing {
        /// The key, with its section.
        key: String,
        /// The variable that would set it.
        variable: String,
        /// The flag that would set it, if there is one.
        flag: Option<String>,
    },
    /// Anything that has no single place.
    #[error("{0}")]
    Other(String),
}

impl ConfigError {
    /// An error about a key (`section.key`) found after loading: names the variable if that set
    /// it, else the line of the file that did.
    pub fn at(path: Option<&Path>, key: &str, message: impl Into<String>) -> ConfigError {
        let message = message.into();
        let name = variable(key);
        if std::env::var_os(&name).is_some() {
            return ConfigError::Variable { name, message };
        }
        let text = path.and_then(|path| std::fs::read_to_string(path).ok());
        let line = text.as_deref().and_then(|text| super::place::line_of_key(text, key));
        match (path, line) {
            (Some(path), Some(line)) => {
                ConfigError::File { file: path.into(), line, key: Some(key.into()), message }
            }
            _ => ConfigError::Other(format!("{key}: {message}")),
        }
    }

    /// A key that must be given somewhere and is not.
    pub fn missing(key: &str, flag: Option<&str>) -> ConfigError {
        ConfigError::Missing {
            key: key.into(),
            variable: variable(key),
            flag: flag.map(str::to_string),
        }
    }
}

/// The variable that sets a key.
fn variable(key: &str) -> String {
    format!("{}{}", super::ENV_PREFIX, key.to_ascii_uppercase().replace('.', super::SEPARATOR))
}
