//! The page and the cases name each other.

use std::collections::BTreeSet;

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
    let named: BTreeSet<&str> = rows.iter().map(|(row, _)| row.as_str()).collect();
    assert_eq!(named.len(), rows.len(), "a row's name is there twice");
    let page: BTreeSet<String> =
        rows.iter().flat_map(|(row, cases)| cases.iter().map(move |case| format!("{row}: {case}"))).collect();
    let table: BTreeSet<String> = CASES.iter().map(|case| format!("{}: {}", case.row, case.name)).collect();
    let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), CASES.len(), "a case's name is there twice");
    let only_page: Vec<&String> = page.difference(&table).collect();
    let only_table: Vec<&String> = table.difference(&page).collect();
    assert!(only_page.is_empty(), "in docs/wire-facts.md, but no case: {only_page:#?}");
    assert!(only_table.is_empty(), "cases that docs/wire-facts.md does not name: {only_table:#?}");
}

#[test]
fn a_row_is_read_from_the_page() {
    let page = "| row | sent | answer | shown by |\n|---|---|---|---|\n| P1 | a | b | one; two |\n";
    let names = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
    assert_eq!(rows(page), [("P1".to_owned(), names)]);
}
