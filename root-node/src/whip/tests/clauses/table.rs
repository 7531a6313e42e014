//! `docs/whip.md` and the tests of clauses name each other.

const TABLE: &str = include_str!("../../../../../docs/whip.md");
const SOURCES: [&str; 6] = [
    include_str!("constraints.rs"),
    include_str!("ice.rs"),
    include_str!("request.rs"),
    include_str!("service.rs"),
    include_str!("../parts.rs"),
    include_str!("../peer.rs"),
];

/// Names of functions that are marked as tests.
fn tests() -> Vec<&'static str> {
    let lines = SOURCES.iter().flat_map(|source| source.lines().zip(source.lines().skip(1)));
    lines
        .filter(|(mark, _)| mark.starts_with("#[tokio::test") || mark.starts_with("#[test]"))
        .filter_map(|(_, line)| line.split_once("fn ")?.1.split('(').next())
        .collect()
}

/// Whether a test is named after a section.
fn of_a_clause(test: &str) -> bool {
    test.starts_with('s') && test[1..].starts_with(|c: char| c.is_ascii_digit())
}

#[test]
fn the_table_names_every_test_of_a_clause() {
    let table = TABLE.split("\n## ").find(|part| part.starts_with("Clauses")).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).map(|row| {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let clause = cells.next().unwrap_or_default();
        (clause, cells.next_back().unwrap_or_default())
    });
    let named: Vec<(&str, &str)> = rows
        .flat_map(|(clause, cell)| {
            cell.split('`').skip(1).step_by(2).map(move |test| (clause, test))
        })
        .collect();
    let tests = tests();
    assert!(tests.iter().filter(|test| of_a_clause(test)).count() > 40, "{tests:?}");
    for test in tests.iter().filter(|test| of_a_clause(test)) {
        assert!(named.iter().any(|(_, name)| name == test), "docs/whip.md does not name {test}");
    }
    for (clause, name) in named {
        assert!(tests.contains(&name), "docs/whip.md names {name}, which there is not");
        let section = format!("s{}_", clause.replace('.', "_"));
        assert!(!of_a_clause(name) || name.starts_with(&section), "{name} beside {clause}");
    }
}
