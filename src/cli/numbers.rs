//! Numbers as people read them.

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Megabytes (10^6, as network links are sold) with one decimal.
pub(super) fn megabytes(bytes: f64) -> String {
    format!("{:.1}", bytes / 1e6)
}

/// `[0, 1, 2, 5]` as `0-2,5`. The numbers must be sorted.
pub(super) fn runs(numbers: &[i32]) -> String {
    let mut shown = String::new();
    for run in numbers.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        if !shown.is_empty() {
            shown.push(',');
        }
        match run {
            [first, .., last] => shown.push_str(&format!("{first}-{last}")),
            [only] => shown.push_str(&only.to_string()),
            [] => {}
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grouping() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), shown);
        }
        assert_eq!(megabytes(12_345_678.0), "12.3");
        assert_eq!(runs(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(runs(&[]), "");
    }
}
