use super::*;

#[test]
fn names_and_numbers_are_short() {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    assert_eq!(some_of(names.into_iter()), "a, b, c, d, e and 2 more");
    assert_eq!(some_of(["a", "b"].into_iter()), "a, b");
    assert_eq!([1_048_588, 999, -1234].map(thousands), ["1,048,588", "999", "-1,234"]);
    assert_eq!([count(0, "broker"), count(1, "broker"), count(2, "address")], ["0 brokers", "1 broker", "2 addresses"]);
}
