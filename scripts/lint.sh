#!/usr/bin/env bash
# Everything that can be found by looking. Called by `make lint`.
set -euo pipefail
cd "$(dirname "$0")/.."

make --no-print-directory web
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings

# Licences, bans and sources need no network. Known vulnerabilities do: `cargo deny check advisories`.
command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
cargo deny --offline --log-level error check bans licenses sources

(cd web && npm run --silent lint)
