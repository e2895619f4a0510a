//! The page and the cases name each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::cases::CASES;

const PAGE: &str = include_str!("../../docs/wire-facts.md");

/// The page's rows: their names, and the cases that each names.
fn rows(page: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let is_row = cells[0].strip_prefix(|c: char| c.is_ascii_uppercase()).is_some_and(|n| n.parse::<u32>().is_ok());
        assert!(is_row || cells[0] == "row", "neither a row nor a head: {line}");
        if is_row {
            assert_eq!(cells.len(), 4, "row, sent, answer, cases: {line}");
            rows.push((cells[0].to_owned(), cells[3].split("; ").map(str::to_owned).collect()));
        }
    }
    rows
}

#[test]
fn each_row_has_its_cases_and_each_case_its_row() {
    let rows = rows(PAGE);
    assert!(rows.len() > 40, "only {} rows found", rows.len());
    let page: BTreeMap<String, BTreeSet<String>> = rows.iter().cloned().collect();
    assert_eq!(page.len(), rows.len(), "a row's name is there twice");
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for case in CASES {
        let is_new = table.entry(case.row.to_owned()).or_default().insert(case.name.to_owned());
        assert!(is_new, "{} is there twice", case.name);
    }
    let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), CASES.len(), "a case's name is there twice");
    // Both ways at once: a row without a case, a case without a row, and a row that names another case.
    assert_eq!(page, table, "left: docs/wire-facts.md, right: the table of cases");
}

#[test]
fn a_row_is_read_from_the_page() {
    let page = "| row | sent | answer | shown by |\n|---|---|---|---|\n| P1 | a | b | one; two |\n";
    let names = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
    assert_eq!(rows(page), [("P1".to_owned(), names)]);
}
