//! Looks for the web pages, which are embedded into the binary.

use std::path::Path;

fn main() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/dist/index.html");
    println!("cargo::rerun-if-changed={}", page.display());
    if page.exists() {
        return;
    }
    let message = "web/dist is missing: `make web` builds the pages that root-node embeds";
    // A release without pages would be half a product; for `cargo check` and tests it is no matter.
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo::error={message}");
    } else {
        println!("cargo::warning={message}");
    }
}
