//! Where the items of an answer stand in its request. Brokers mostly answer in the order in which they were asked, so
//! the next one is looked for first; only one that does not costs an index.

use std::collections::HashMap;
use std::hash::Hash;

/// The keys of a request in its order; each is there once.
#[derive(Debug)]
pub(crate) struct InOrder<K> {
    keys: Vec<K>,
    next: usize,
    places: HashMap<K, usize>,
}

impl<K: Clone + Eq + Hash> InOrder<K> {
    pub(crate) fn new(keys: Vec<K>) -> Self {
        Self { keys, next: 0, places: HashMap::new() }
    }

    /// The place of a key.
    pub(crate) fn place(&mut self, key: &K) -> Option<usize> {
        if self.keys.get(self.next) != Some(key) {
            if self.places.is_empty() {
                self.places = self.keys.iter().cloned().zip(0..).collect();
            }
            self.next = *self.places.get(key)?;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_found_in_whichever_order() {
        let mut keys = InOrder::new(vec!["a", "b", "c"]);
        assert_eq!(["a", "b"].map(|key| keys.place(&key)), [Some(0), Some(1)]);
        assert!(keys.places.is_empty(), "they came in order");
        assert_eq!(["a", "x", "c", "a", "b"].map(|key| keys.place(&key)), [Some(0), None, Some(2), Some(0), Some(1)]);
        assert_eq!(InOrder::new(Vec::new()).place(&"a"), None);
    }
}
