//! A stream's sources as operators ask for them over the API, and as the store keeps them: secrets are
//! sealed, and files lie below the directory that the configuration names for that.

use super::Refused;
use crate::config::{DEFAULT_LATENCY, Secret, SourceKind, SourceSection, check_sources};
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use utoipa::ToSchema;

/// What stands in place of a secret where a definition is shown.
pub const HIDDEN: &str = "(hidden)";

/// A source as an operator asks for it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceRequest {
    /// `srt`, `rtsp`, `file` or `slate`.
    #[schema(value_type = String, example = "srt")]
    pub kind: SourceKind,
    /// SRT (the root calls) and RTSP: where from.
    #[schema(example = "srt://encoder.example:9000")]
    pub uri: Option<String>,
    /// SRT: the address at which the root listens.
    #[schema(value_type = Option<String>, example = "0.0.0.0:9000")]
    pub listen: Option<SocketAddr>,
    /// File: which one; slate: its picture. Below the directory that the configuration names
    /// (`ingest.files`).
    pub path: Option<String>,
    /// File: begin again at its end.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    /// Slate: what stands on it.
    pub text: Option<String>,
    /// It is on air while nobody broadcasts.
    #[serde(default)]
    pub standby: bool,
    /// SRT: the id that the root says when it calls.
    pub stream_id: Option<String>,
    /// RTSP: who asks.
    pub user: Option<String>,
    /// SRT: the passphrase; RTSP: the password of `user`. It is kept sealed, and never shown.
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
    /// SRT and RTSP: how long to wait for packets that are late or lost, in milliseconds; default: 200.
    pub latency_ms: Option<u32>,
}

/// A source as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceDefinition {
    /// `srt`, `rtsp`, `file` or `slate`.
    #[schema(value_type = String, example = "srt")]
    pub kind: SourceKind,
    /// Where from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Where the root listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub listen: Option<SocketAddr>,
    /// Which file, below `ingest.files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Again and again.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    /// What stands on a slate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// On air while nobody broadcasts.
    #[serde(default)]
    pub standby: bool,
    /// What the root says when it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `(hidden)`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// How long late packets are waited for, in milliseconds.
    pub latency_ms: u32,
}

impl SourceRequest {
    fn kept(&self, secret: Option<String>) -> SourceDefinition {
        SourceDefinition {
            kind: self.kind,
            uri: self.uri.clone(),
            listen: self.listen,
            path: self.path.clone(),
            repeat: self.repeat,
            text: self.text.clone(),
            standby: self.standby,
            stream_id: self.stream_id.clone(),
            user: self.user.clone(),
            secret,
            latency_ms: self.latency_ms.unwrap_or(DEFAULT_LATENCY.as_millis() as u32),
        }
    }
}

impl SourceDefinition {
    /// As the configuration would have it, with its secret in clear and its file where it is.
    pub fn section(&self, secret: Option<Secret>, path: Option<PathBuf>) -> SourceSection {
        SourceSection {
            kind: self.kind,
            uri: self.uri.clone(),
            listen: self.listen,
            path,
            text: self.text.clone(),
            standby: self.standby,
            repeat: self.repeat,
            stream_id: self.stream_id.clone(),
            user: self.user.clone(),
            secret,
            secret_file: None,
            latency: Duration::from_millis(u64::from(self.latency_ms)),
        }
    }

    /// For being shown.
    pub fn hidden(self) -> SourceDefinition {
        SourceDefinition { secret: self.secret.map(|_| HIDDEN.to_owned()), ..self }
    }
}

/// Checks what an operator asks for, and seals the secrets.
///
/// # Errors
/// What makes no sense, and where.
pub fn resolve(
    store: &Store,
    files: Option<&Path>,
    stream: &str,
    requests: &[SourceRequest],
) -> Result<Vec<SourceDefinition>, Refused> {
    let at = |number: usize, key: &str, what: &str| {
        let dot = if key.is_empty() { "" } else { "." };
        Refused::Invalid(format!("sources[{number}]{dot}{key}: {what}"))
    };
    let mut sections = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        if request.kind == SourceKind::Rtmp {
            let what = "sources of kind \"rtmp\" stand in the configuration: encoders push there";
            return Err(at(number, "kind", what));
        }
        if request.secret.as_ref().is_some_and(|s| s.0 == HIDDEN) {
            return Err(at(number, "secret", "give it anew: what is shown is not the secret"));
        }
        let path = request.path.as_deref().map(|path| below(files, path)).transpose();
        let path = path.map_err(|what| at(number, "path", &what))?;
        sections.push(request.kept(None).section(request.secret.clone(), path));
    }
    check_sources(&sections).map_err(|(number, (key, what))| at(number, key, &what))?;
    let sealed = |request: &SourceRequest| -> Result<SourceDefinition, Refused> {
        let secret = request.secret.as_ref().map(|s| store.seal(stream, &s.0)).transpose()?;
        Ok(request.kept(secret))
    };
    requests.iter().map(sealed).collect()
}

/// The sources of a stream as they are started.
///
/// # Errors
/// If a secret can't be opened, or a file is not there any more.
pub fn open(
    store: &Store,
    files: Option<&Path>,
    stream: &str,
    kept: &[SourceDefinition],
) -> Result<Vec<SourceSection>, Refused> {
    let section = |(number, source): (usize, &SourceDefinition)| -> Result<_, Refused> {
        let secret = source.secret.as_deref().map(|s| store.unseal(stream, s)).transpose()?;
        let secret = secret.map(|secret| Secret(secret.as_str().to_owned()));
        let path = source.path.as_deref().map(|path| below(files, path)).transpose();
        let path = path.map_err(|what| Refused::Invalid(format!("sources[{number}].path: {what}")));
        Ok(source.section(secret, path?))
    };
    kept.iter().enumerate().map(section).collect()
}

/// Where a file is that an operator names.
fn below(files: Option<&Path>, path: &str) -> Result<PathBuf, String> {
    let Some(files) = files else {
        return Err(
            "files are for the configuration alone, unless it names a directory for them: \
                    ingest.files"
                .into(),
        );
    };
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.is_empty() || !Path::new(path).components().all(plain) {
        return Err("must lie below ingest.files: no / in front, and no ..".into());
    }
    let error = |error: std::io::Error| error.to_string();
    let root = files.canonicalize().map_err(|e| format!("ingest.files: {e}"))?;
    // Links are followed: what counts is where they lead.
    let whole = root.join(path).canonicalize().map_err(error)?;
    if !whole.starts_with(&root) || !whole.is_file() {
        return Err("must be a file below ingest.files".into());
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_below_the_directory_that_is_named_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        std::fs::create_dir_all(files.join("clips")).unwrap();
        for name in ["outside.mp4", "files/a.mp4", "files/clips/b.mp4"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, files.join(name)).unwrap();
        link("../outside.mp4", "out.mp4");
        link("a.mp4", "in.mp4");
        let found = |path: &str| below(Some(&files), path);
        for good in ["a.mp4", "clips/b.mp4", "in.mp4"] {
            assert!(found(good).unwrap().starts_with(files.canonicalize().unwrap()), "{good}");
        }
        let absolute = files.join("a.mp4").display().to_string();
        let bad =
            ["", "..", "../outside.mp4", "clips/../a.mp4", "/etc/passwd", &absolute, "out.mp4"];
        for bad in bad.into_iter().chain(["clips", "none.mp4", "./a.mp4"]) {
            assert!(found(bad).is_err(), "{bad}");
        }
        assert!(below(None, "a.mp4").unwrap_err().contains("ingest.files"));
    }
}
