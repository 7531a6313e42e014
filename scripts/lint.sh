#!/usr/bin/env bash
# Everything that can be found by looking. Called by `make lint`.
set -euo pipefail
cd "$(dirname "$0")/.."

make --no-print-directory web
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings

# Known vulnerabilities are a check of their own, since its database is fetched: `cargo deny check advisories`.
command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
cargo deny --log-level error check bans licenses sources

(cd web && npm run --silent lint)
