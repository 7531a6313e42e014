//! `docs/whep.md` and the conformance tests name each other.

const TABLE: &str = include_str!("../../../../docs/whep.md");
const SOURCES: [&str; 6] = [
    include_str!("whep_auth.rs"),
    include_str!("whep_events.rs"),
    include_str!("whep_http.rs"),
    include_str!("whep_ice.rs"),
    include_str!("whep_layers.rs"),
    include_str!("whep_setup.rs"),
];

/// Names of functions that are marked as tests.
fn tests() -> Vec<&'static str> {
    let lines = SOURCES.iter().flat_map(|source| source.lines().zip(source.lines().skip(1)));
    lines
        .filter(|(mark, _)| mark.starts_with("#[tokio::test") || mark.starts_with("#[test]"))
        .filter_map(|(_, line)| line.split_once("fn ")?.1.split('(').next())
        .collect()
}

#[test]
fn the_table_names_every_conformance_test_and_nothing_else() {
    let rows = TABLE.lines().filter(|line| line.starts_with("| "));
    let named: Vec<&str> = rows
        .filter_map(|row| row.rsplit('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let tests = tests();
    assert!(tests.len() > 40, "{}", tests.len());
    for test in &tests {
        assert!(named.contains(test), "docs/whep.md does not name {test}");
    }
    for name in named {
        assert!(tests.contains(&name), "docs/whep.md names {name}, which there is not");
    }
}
